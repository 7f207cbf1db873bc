"""A small real release without training: fresh networks, which say "no change", exported and published.

The first one with its settings costs a few seconds a run of the tests, the next ones a hundredth of that.
"""

import functools
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from common.archive.reader import read_archive
from common.exchange.universe import Universe, load_universe
from common.network.build import build_network
from common.network.mixture import OUTPUTS
from common.presets import train_config
from common.prices.panel import Panel
from common.release.manifest import MANIFEST, Release, read_manifest, write_manifest
from common.release.registry import Registry
from common.synthetic.market import MarketConfig, write_market
from support.once import once
from support.prices.panel import SPEC, SYMBOLS, made_panel
from train.fit.state import save_weights
from train.pipeline.training import Run, plan_run
from train.publish.publish import publish_run
from train.run.dataset import RunDataset, bundles_dir
from train.run.plan import Plan
from train.run.refit import RefitResult
from train.workers.tasks import run_task

DAYS = 320
UNIVERSE = Universe.from_symbols(SYMBOLS, specific=["MOVES"])
"""MOVES has a model of its own; SHORT has fewer closes than a window; FROZEN never moves."""
SETTINGS = {
    "seeds": 1,
    "window": SPEC.model_dump(),
    "split": {"train_share": 0.6, "valid_share": 0.2},
    "network": {"embedding_dim": 2, "lstm_units": [4], "dense_units": 4},
    "minimum_windows": 50,
    "finetune": None,
}
SYNTHETIC, REAL = "synthetic made", "archive made"


def made_run(
    home: Path,
    *,
    source: str = SYNTHETIC,
    preset: str = "residual",
    shift: float = 0.0,
    **settings: Any,
) -> Run:
    """A run below ``home`` whose every task is done: `train.pipeline.training.execute` only has to publish
    it.

    Parameters
    ----------
    source : what its data are called
    preset : ``residual`` or ``v4_log`` (one day ahead)
    shift : added to what every network says, in spreads of the change, and the models are trusted whatever
        validation score: 0 is naive, a few hundredths a little worse, 50 absurd
    settings : changes to ``SETTINGS``
    """
    changes = json.dumps(settings, sort_keys=True)
    panel = Panel(_panel().frame, source)
    run = plan_run(_config(preset, changes), UNIVERSE, panel, home)
    if not run.folder.exists():
        made = once(f"made run {preset} {changes}", partial(_train, preset, changes))
        shutil.copytree(made / "run", run.folder)
        panel.save(run.folder / "panel.parquet")
        _shifted(run.folder, shift)
    return run


def made_release(home: Path, release_id: str = "made", **choices: Any) -> Release:
    """A release below ``home``, not in production; ``choices`` as for `made_run`."""
    text = json.dumps(choices, sort_keys=True)
    return _copied(once(f"made release {text}", partial(_publish, text)), home, release_id)


def _copied(made: Path, home: Path, release_id: str) -> Release:
    original, registry = Registry(made).resolve("original"), Registry(home)
    staging = registry.stage(release_id)
    shutil.copytree(original.path, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    return registry.publish(staging, release_id, info=original.info)


def made_exchange(home: Path, release_id: str, *, shift: float = 0.0) -> Release:
    """A release of the exchange's 66 stocks over a synthetic market, all horizons; random networks, and
    ``shift`` as for `made_run`."""
    return _copied(once(f"made exchange {shift}", partial(_publish_exchange, shift)), home, release_id)


def pretend_refitted(refit: Run) -> None:
    """Do the tasks of a refit with slightly other weights than the evaluated ones, instead of training."""
    dataset = RunDataset(refit.folder, refit.spec, refit.panel)
    fresh = build_network(dataset.network_shape, refit.spec.config.network, seed=0).get_weights()
    rng = np.random.default_rng(3)
    weights = [array + rng.normal(0, 0.01, array.shape).astype(array.dtype) for array in fresh]
    _pretend_trained(dataset, refit.plan, weights)


def refitted_release(home: Path, release_id: str = "refitted") -> Release:
    """A release that serves other networks than its figures are measured on."""
    run = made_run(home)
    refit = run.refit(None)
    pretend_refitted(refit)
    refitted = RefitResult(bundles_dir(refit.folder), refit.spec.refit)
    registry = Registry(home)
    return publish_run(
        run.folder, run.spec, run.panel, run.plan, {}, registry, release_id, refit=refitted
    ).release


def doctored(
    release: Release, change: Callable[[Path], object] = lambda folder: None, **info: Any
) -> Release:
    """The release with its files and ``info`` changed and its manifest rewritten: complete, but wrong."""
    change(release.path)
    (release.path / MANIFEST).unlink()
    write_manifest(release.path, release.id, release.info | info)
    return read_manifest(release.path)


@functools.cache
def _panel() -> Panel:
    return made_panel(DAYS)


def _train(preset: str, changes: str, folder: Path) -> None:
    run = plan_run(_config(preset, changes), UNIVERSE, _panel(), folder)
    dataset = RunDataset(folder / "run", run.spec, run.panel)
    weights = build_network(dataset.network_shape, run.spec.config.network, seed=0).get_weights()
    _pretend_trained(dataset, run.plan, weights)


def _pretend_trained(dataset: RunDataset, plan: Plan, weights: list[np.ndarray]) -> None:
    for task in plan.tasks:
        if task.phase == "bundle":
            run_task(dataset, task)
            continue
        dataset.task_dir(task.id).mkdir(parents=True)
        save_weights(dataset.task_dir(task.id) / "weights.npz", weights)
        result = {"history": [], "best_epoch": 1}
        (dataset.task_dir(task.id) / "result.json").write_text(json.dumps(result))


def _publish(choices: str, home: Path) -> None:
    run = made_run(home, **json.loads(choices))
    publish_run(run.folder, run.spec, run.panel, run.plan, {}, Registry(home), "original")


def _publish_exchange(shift: float, home: Path) -> None:
    write_market(home / "market", MarketConfig(first_day="2022-01-03", last_day="2023-12-29"))
    panel = Panel.from_archive(read_archive(home / "market"), SYNTHETIC)
    config = _config("residual", json.dumps({"window": {"horizons": [1, 5, 10, 30]}}))
    run = plan_run(config, load_universe(), panel, home)
    panel.save(run.folder / "panel.parquet")
    dataset, rng = RunDataset(run.folder, run.spec, panel), np.random.default_rng(5)
    fresh = build_network(dataset.network_shape, config.network, seed=0).get_weights()
    weights = [array + rng.normal(0, 0.2, array.shape).astype(array.dtype) for array in fresh]
    _pretend_trained(dataset, run.plan, weights)
    _shifted(run.folder, shift)
    publish_run(run.folder, run.spec, panel, run.plan, {}, Registry(home), "original")


def _config(preset: str, changes: str) -> Any:
    near = {"window": {"size": SPEC.size, "horizons": [1]}} if preset == "v4_log" else {}
    return train_config(preset, SETTINGS | near | json.loads(changes))


def _shifted(run_dir: Path, shift: float) -> None:
    for path in bundles_dir(run_dir).rglob("model.onnx") if shift else ():
        _shift(path, shift)
        _trust(path.with_name("metadata.json"))


def _shift(path: Path, by: float) -> None:
    """Add ``by`` to everything a mixture network says but the probability of a move."""
    model = onnx.load(path)
    graph, amounts = model.graph, np.full((1, 1, OUTPUTS), by, dtype=np.float32)
    amounts[..., 1] = 0
    last = next(node for node in graph.node if graph.output[0].name in node.output)
    last.output[list(last.output).index(graph.output[0].name)] = "unshifted"
    graph.initializer.append(onnx.numpy_helper.from_array(amounts, "shift"))
    graph.node.append(onnx.helper.make_node("Add", ["unshifted", "shift"], [graph.output[0].name]))
    onnx.save(model, path)


def _trust(path: Path) -> None:
    def trusted(value: Any) -> Any:
        if isinstance(value, dict):
            return {symbol: trusted(item) for symbol, item in value.items()}
        return [True for _ in value] if isinstance(value, list) else True

    metadata = json.loads(path.read_bytes())
    if factors := metadata.get("factors"):
        factors |= {name: [1.0] * len(factors["horizons"]) for name in ("published", "raw")}
    path.write_text(json.dumps(metadata | {"beats_naive": trusted(metadata["beats_naive"])}))
