"""A run's prices and windows as mapped files, and windows processed in blocks."""

import contextlib
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from support.prices.panel import SYMBOLS, made_panel

from common.errors import ArchiveError
from common.exchange.universe import Universe
from common.network.channels import BLOCK, frozen, sigma
from common.network.mixture import OUTPUTS
from common.presets import train_config
from common.prices import window_blocks
from common.prices.windows import Windows
from common.release.bundle import GENERAL
from train.pipeline.training import execute, plan_run
from train.run.arrays import MappedDataset, has_arrays, open_dataset, save_arrays
from train.run.dataset import RunDataset, RunSpec, bundles_dir
from train.run.feed import VALID_WINDOWS, FitData
from train.run.plan import Plan
from train.workers.queue import TaskQueue
from train.workers.tasks import run_task, weights_of

PANEL = made_panel()
SETTINGS = {"window": {"size": 12, "horizons": [1, 5]}}


def dataset_of(folder: Path, preset: str = "residual", sha: str | None = None) -> RunDataset:
    universe = Universe.from_symbols(SYMBOLS, specific=SYMBOLS[:2])
    settings = SETTINGS if preset == "residual" else {"window": {"size": 12, "horizons": [1]}}
    spec = RunSpec(train_config(preset, settings), universe, PANEL.source, sha or PANEL.fingerprint())
    dataset = RunDataset(folder, spec, PANEL)
    dataset.spec.save(folder)
    return dataset


def assert_same(mine: Windows, theirs: Windows) -> None:
    for name in ("end", "symbol", "counted", "last_price", "cutoff", "target"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
    assert np.array_equal(mine.change, theirs.change, equal_nan=True)


@pytest.mark.parametrize(("preset", "symbols"), [("residual", 2), ("residual", 256), ("v4_log", 2)])
def test_a_mapped_dataset_equals_the_one_that_was_written(tmp_path, monkeypatch, preset, symbols):
    monkeypatch.setattr(window_blocks, "BLOCK_SYMBOLS", symbols)
    dataset = dataset_of(tmp_path, preset)
    save_arrays(dataset)
    mapped = MappedDataset(tmp_path, dataset.spec)
    assert mapped.representation.as_dict() == dataset.representation.as_dict()
    assert (mapped.network_shape, mapped.limits) == (dataset.network_shape, dataset.limits)
    for job in (GENERAL, *SYMBOLS):
        assert mapped.stock_ids(job) == dataset.stock_ids(job)
        train, valid, test = dataset.parts_of(job, training=True)
        for mine, theirs in zip(
            mapped.parts_of(job, training=True), (train.take(~frozen(train)), valid, test), strict=True
        ):
            assert_same(mine, theirs)
            if len(theirs):
                inputs = [
                    source.representation.inputs(w) for source, w in ((mapped, mine), (dataset, theirs))
                ]
                assert np.array_equal(*inputs)


def test_the_windows_of_one_stock_equal_a_search_of_all_windows(tmp_path):
    dataset = dataset_of(tmp_path)
    save_arrays(dataset)
    for source in (dataset, MappedDataset(tmp_path, dataset.spec)):
        for symbol in (*SYMBOLS, "NOT THERE"):
            for mine, part in zip(source.parts_of(symbol, training=False), source.parts, strict=True):
                names = np.array(part.series.symbols)[part.symbol]
                assert_same(mine, part.take(names == symbol))


@pytest.mark.parametrize("preset", ["residual", "v4_log"])
def test_a_mapped_dataset_gives_the_general_fit_the_same_data(tmp_path, preset):
    dataset = dataset_of(tmp_path, preset)
    save_arrays(dataset)
    mapped = MappedDataset(tmp_path, dataset.spec).general_data
    train, valid, _ = dataset.parts_of(GENERAL, training=True)
    data = FitData(train, valid, dataset.representation, dataset.stock_ids(GENERAL)).prepare()
    assert mapped.prepared and mapped.prepare() is mapped and mapped.stock_ids == data.stock_ids
    assert_same(mapped.train, data.train)
    assert_same(mapped.valid, data.valid)
    assert 0 < len(mapped.train) < len(train)


def test_a_process_that_maps_the_prices_copies_none_of_them(tmp_path):
    dataset = dataset_of(tmp_path)
    save_arrays(dataset)
    train = MappedDataset(tmp_path, dataset.spec).general_data.train
    series = [getattr(train.series, field.name) for field in fields(train.series) if field.name != "symbols"]
    for array in [*series, train.end, train.symbol, train.counted]:
        assert isinstance(array.base, np.memmap) and not array.flags.writeable


def test_arrays_are_written_again_only_for_other_data(tmp_path):
    dataset, close = dataset_of(tmp_path), tmp_path / "arrays" / "close.npy"
    save_arrays(dataset)
    before = close.stat().st_mtime_ns
    save_arrays(dataset)
    assert close.stat().st_mtime_ns == before
    other = dataset_of(tmp_path, sha="other data")
    assert not has_arrays(tmp_path, other.spec)
    save_arrays(other)
    assert close.stat().st_mtime_ns > before and has_arrays(tmp_path, other.spec)


def test_a_run_is_opened_from_its_arrays_if_they_exist_and_else_from_its_panel(tmp_path):
    dataset = dataset_of(tmp_path)
    PANEL.save(tmp_path / "panel.parquet")
    opened = open_dataset.__wrapped__(tmp_path)
    assert not isinstance(opened, MappedDataset) and np.array_equal(opened.series.close, dataset.series.close)
    save_arrays(dataset)
    (tmp_path / "panel.parquet").unlink()
    opened = open_dataset.__wrapped__(tmp_path)
    assert isinstance(opened, MappedDataset) and np.array_equal(opened.series.close, dataset.series.close)


def test_a_run_with_another_panel_is_refused(tmp_path):
    dataset_of(tmp_path, sha="other data")
    PANEL.save(tmp_path / "panel.parquet")
    with pytest.raises(ArchiveError, match="not the data this run was planned with"):
        open_dataset.__wrapped__(tmp_path)


SMALL = {
    **SETTINGS,
    "seeds": 1,
    "split": {"train_share": 0.6, "valid_share": 0.2},
    "network": {"embedding_dim": 2, "lstm_units": [4], "dense_units": 4},
    "minimum_windows": 10,
    **{name: {"epochs": 2, "batch_size": 32} for name in ("general", "scratch", "finetune")},
}


class HereFleet:
    """A fleet of one worker in this process, which opens the run's folder like any worker."""

    opened: ClassVar[list[RunDataset]] = []

    def __init__(self, plan: Plan, run_dir: Path, **_: object) -> None:
        self._plan, self._run_dir = plan, run_dir
        self.queue = TaskQueue(plan, run_dir)

    def train(self) -> None:
        dataset = open_dataset.__wrapped__(self._run_dir)
        self.opened.append(dataset)
        for task in self._plan.tasks:
            run_task(dataset, task)
            self.queue.done(task.id)

    def snapshot(self) -> list[dict[str, Any]]:
        return self.queue.snapshot()

    def workers(self) -> int:
        return 1


def test_training_on_mapped_arrays_gives_bit_identical_networks(tmp_path, monkeypatch):
    """Workers map what the driver wrote; datasets computed by each would give the same networks."""
    monkeypatch.setattr("train.pipeline.training.ray_session", lambda **_: contextlib.nullcontext(1))
    monkeypatch.setattr("train.workers.fleet.Fleet", HereFleet)
    universe = Universe.from_symbols(SYMBOLS, specific=["MOVES"])
    run = plan_run(train_config("residual", SMALL), universe, PANEL, tmp_path / "home")
    execute(run, mode="silent", hand_over=False, refit=False)
    (mapped,) = HereFleet.opened
    assert isinstance(mapped, MappedDataset) and has_arrays(run.folder, run.spec)
    copies = RunDataset(tmp_path / "copies", run.spec, PANEL)
    for task in run.plan.tasks:
        run_task(copies, task)
    fits = [task for task in run.plan.tasks if task.epochs]
    assert {task.phase for task in fits} == {"seed", "scratch", "finetune"}
    for task in fits:
        for mine, theirs in zip(
            weights_of(mapped.run_dir, task.id), weights_of(copies.run_dir, task.id), strict=True
        ):
            assert np.array_equal(mine, theirs), task.id
    for path in sorted(bundles_dir(run.folder).rglob("model.onnx")):
        other = bundles_dir(tmp_path / "copies") / path.relative_to(bundles_dir(run.folder))
        assert path.read_bytes() == other.read_bytes()


def test_a_window_takes_eight_bytes_and_one_per_horizon(tmp_path):
    windows = dataset_of(tmp_path).windows
    arrays = (windows.end, windows.symbol, windows.counted)
    assert sum(array.nbytes for array in arrays) == len(windows) * (8 + 2)


def test_prepare_keeps_what_moves_and_few_enough_validation_windows(tmp_path):
    dataset = dataset_of(tmp_path)
    train, valid, _ = dataset.parts
    many = valid.take(np.resize(np.arange(len(valid)), 2 * VALID_WINDOWS + 7))
    ready = FitData(train, many, dataset.representation, {}).prepare()
    assert len(ready.train) == (~frozen(train)).sum() < len(train)
    assert len(ready.valid) == VALID_WINDOWS and not frozen(ready.valid).any()
    assert ready.prepare() is ready


def test_windows_processed_in_blocks_equal_windows_one_by_one(tmp_path):
    dataset = dataset_of(tmp_path)
    chosen = np.random.default_rng(0).integers(0, len(dataset.windows), 2 * BLOCK + 3)
    windows, some = dataset.windows.take(chosen), np.arange(0, 2 * BLOCK + 3, 97)
    outputs = np.random.default_rng(1).uniform(0.01, 0.99, (len(windows), 2, OUTPUTS)).astype(np.float32)
    prices = dataset.representation.prices(windows, outputs)
    for row in some:
        one = windows.take(np.array([row]))
        assert sigma(one)[0] == sigma(windows)[row] and frozen(one)[0] == frozen(windows)[row]
        assert np.array_equal(
            dataset.representation.inputs(one)[0], dataset.representation.inputs(windows)[row]
        )
        alone = dataset.representation.prices(one, outputs[row : row + 1])
        for field in fields(alone):
            mine, theirs = getattr(alone, field.name)[0], getattr(prices, field.name)[row]
            assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")


def test_a_change_is_the_difference_of_logs_of_all_closes_to_the_last_bit(tmp_path):
    windows = dataset_of(tmp_path).windows
    logs = np.log(windows.series.close)
    target = windows.target
    expected = np.where(windows.counted, logs[target] - logs[windows.end][:, None], np.nan)
    assert np.array_equal(windows.change, expected, equal_nan=True)
    assert np.isfinite(windows.change).mean() > 0.5
