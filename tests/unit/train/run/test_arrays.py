"""A run's prices and windows on storage, mapped by every process; and windows worked on some at a time."""

import contextlib
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from support.panel import SYMBOLS, made_panel

from common.errors import ArchiveError
from common.exchange.universe import Universe
from common.network.channels import BLOCK, frozen, sigma
from common.network.mixture import OUTPUTS
from common.presets import train_config
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


def bench(folder: Path, preset: str = "residual", sha: str | None = None) -> RunDataset:
    universe = Universe.from_symbols(SYMBOLS, specific=SYMBOLS[:2])
    settings = SETTINGS if preset == "residual" else {"window": {"size": 12, "horizons": [1]}}
    spec = RunSpec(train_config(preset, settings), universe, PANEL.source, sha or PANEL.fingerprint())
    made = RunDataset(folder, spec, PANEL)
    made.spec.save(folder)
    return made


def assert_same(mine: Windows, theirs: Windows) -> None:
    for name in ("end", "symbol", "counted", "last_price", "cutoff", "target"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
    assert np.array_equal(mine.change, theirs.change, equal_nan=True)


@pytest.mark.parametrize("preset", ["residual", "v4_log"])
def test_a_mapped_workbench_is_like_the_one_it_was_written_by(tmp_path, preset):
    made = bench(tmp_path, preset)
    save_arrays(made)
    found = MappedDataset(tmp_path, made.spec)
    assert found.representation.as_dict() == made.representation.as_dict()
    assert (found.network_shape, found.limits) == (made.network_shape, made.limits)
    for job in (GENERAL, *SYMBOLS):
        assert found.stock_ids(job) == made.stock_ids(job)
        train, valid, test = made.parts_of(job, training=True)
        for mine, theirs in zip(
            found.parts_of(job, training=True), (train.take(~frozen(train)), valid, test), strict=True
        ):
            assert_same(mine, theirs)
            if len(theirs):
                inputs = [each.representation.inputs(w) for each, w in ((found, mine), (made, theirs))]
                assert np.array_equal(*inputs)


def test_the_windows_of_one_stock_are_those_that_a_look_at_every_window_finds(tmp_path):
    made = bench(tmp_path)
    save_arrays(made)
    for given in (made, MappedDataset(tmp_path, made.spec)):
        for symbol in (*SYMBOLS, "NOT THERE"):
            for mine, part in zip(given.parts_of(symbol, training=False), given.parts, strict=True):
                names = np.array(part.series.symbols)[part.symbol]
                assert_same(mine, part.take(names == symbol))


@pytest.mark.parametrize("preset", ["residual", "v4_log"])
def test_the_general_fit_is_given_the_same_by_a_mapped_workbench(tmp_path, preset):
    made = bench(tmp_path, preset)
    save_arrays(made)
    found = MappedDataset(tmp_path, made.spec).general_data
    train, valid, _ = made.parts_of(GENERAL, training=True)
    data = FitData(train, valid, made.representation, made.stock_ids(GENERAL)).made_ready()
    assert found.ready and found.made_ready() is found and found.stock_ids == data.stock_ids
    assert_same(found.train, data.train)
    assert_same(found.valid, data.valid)
    assert 0 < len(found.train) < len(train)


def test_nothing_of_the_prices_is_copied_into_a_process_that_maps_them(tmp_path):
    made = bench(tmp_path)
    save_arrays(made)
    train = MappedDataset(tmp_path, made.spec).general_data.train
    series = [getattr(train.series, field.name) for field in fields(train.series) if field.name != "symbols"]
    for array in [*series, train.end, train.symbol, train.counted]:
        assert isinstance(array.base, np.memmap) and not array.flags.writeable


def test_what_is_there_is_not_written_again_unless_it_is_of_other_data(tmp_path):
    made, close = bench(tmp_path), tmp_path / "arrays" / "close.npy"
    save_arrays(made)
    before = close.stat().st_mtime_ns
    save_arrays(made)
    assert close.stat().st_mtime_ns == before
    other = bench(tmp_path, sha="other data")
    assert not has_arrays(tmp_path, other.spec)
    save_arrays(other)
    assert close.stat().st_mtime_ns > before and has_arrays(tmp_path, other.spec)


def test_a_run_is_opened_by_its_arrays_where_they_are_there_else_by_its_panel(tmp_path):
    made = bench(tmp_path)
    PANEL.save(tmp_path / "panel.parquet")
    opened = open_dataset.__wrapped__(tmp_path)
    assert not isinstance(opened, MappedDataset) and np.array_equal(opened.series.close, made.series.close)
    save_arrays(made)
    (tmp_path / "panel.parquet").unlink()
    opened = open_dataset.__wrapped__(tmp_path)
    assert isinstance(opened, MappedDataset) and np.array_equal(opened.series.close, made.series.close)


def test_a_run_whose_panel_is_not_its_own_is_refused(tmp_path):
    bench(tmp_path, sha="other data")
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
    """A fleet of one worker in this process, which opens the run's folder as any worker does."""

    opened: ClassVar[list[RunDataset]] = []

    def __init__(self, plan: Plan, run_dir: Path, **_: object) -> None:
        self._plan, self._run_dir = plan, run_dir
        self.queue = TaskQueue(plan, run_dir)

    def train(self) -> None:
        bench = open_dataset.__wrapped__(self._run_dir)
        self.opened.append(bench)
        for task in self._plan.tasks:
            run_task(bench, task)
            self.queue.done(task.id)

    def snapshot(self) -> list[dict[str, Any]]:
        return self.queue.snapshot()

    def workers(self) -> int:
        return 1


def test_a_plain_training_maps_its_arrays_and_its_networks_are_the_same_to_the_last_bit(
    tmp_path, monkeypatch
):
    """The workers of any training map what the driver wrote; copies of their own would give the same."""
    monkeypatch.setattr("train.pipeline.training.ray_session", lambda **_: contextlib.nullcontext(1))
    monkeypatch.setattr("train.workers.fleet.Fleet", HereFleet)
    universe = Universe.from_symbols(SYMBOLS, specific=["MOVES"])
    run = plan_run(train_config("residual", SMALL), universe, PANEL, tmp_path / "home")
    execute(run, mode="silent", hand_over=False)
    (mapped,) = HereFleet.opened
    assert isinstance(mapped, MappedDataset) and has_arrays(run.folder, run.spec)
    copies = RunDataset(tmp_path / "copies", run.spec, PANEL)
    for task in run.plan.tasks:
        run_task(copies, task)
    fits = [task for task in run.plan.tasks if task.epochs]
    assert {task.phase for task in fits} == {"seed", "scratch", "finetune"}
    for task in fits:
        for mine, theirs in zip(weights_of(mapped, task.id), weights_of(copies, task.id), strict=True):
            assert np.array_equal(mine, theirs), task.id
    for path in sorted(bundles_dir(run.folder).rglob("model.onnx")):
        other = bundles_dir(tmp_path / "copies") / path.relative_to(bundles_dir(run.folder))
        assert path.read_bytes() == other.read_bytes()


def test_a_window_takes_eight_bytes_and_one_for_each_horizon(tmp_path):
    windows = bench(tmp_path).windows
    arrays = (windows.end, windows.symbol, windows.counted)
    assert sum(array.nbytes for array in arrays) == len(windows) * (8 + 2)


def test_made_ready_keeps_what_moves_and_few_enough_to_judge_by(tmp_path):
    made = bench(tmp_path)
    train, valid, _ = made.parts
    many = valid.take(np.resize(np.arange(len(valid)), 2 * VALID_WINDOWS + 7))
    ready = FitData(train, many, made.representation, {}).made_ready()
    assert len(ready.train) == (~frozen(train)).sum() < len(train)
    assert len(ready.valid) == VALID_WINDOWS and not frozen(ready.valid).any()
    assert ready.made_ready() is ready


def test_windows_worked_on_in_blocks_equal_windows_one_by_one(tmp_path):
    made = bench(tmp_path)
    chosen = np.random.default_rng(0).integers(0, len(made.windows), 2 * BLOCK + 3)
    windows, some = made.windows.take(chosen), np.arange(0, 2 * BLOCK + 3, 97)
    outputs = np.random.default_rng(1).uniform(0.01, 0.99, (len(windows), 2, OUTPUTS)).astype(np.float32)
    prices = made.representation.prices(windows, outputs)
    for row in some:
        one = windows.take(np.array([row]))
        assert sigma(one)[0] == sigma(windows)[row] and frozen(one)[0] == frozen(windows)[row]
        assert np.array_equal(made.representation.inputs(one)[0], made.representation.inputs(windows)[row])
        alone = made.representation.prices(one, outputs[row : row + 1])
        for field in fields(alone):
            mine, theirs = getattr(alone, field.name)[0], getattr(prices, field.name)[row]
            assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")


def test_a_change_is_the_difference_of_logs_of_all_closes_to_the_last_bit(tmp_path):
    windows = bench(tmp_path).windows
    logs = np.log(windows.series.close)
    target = windows.target
    expected = np.where(windows.counted, logs[target] - logs[windows.end][:, None], np.nan)
    assert np.array_equal(windows.change, expected, equal_nan=True)
    assert np.isfinite(windows.change).mean() > 0.5
