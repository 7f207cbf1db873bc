"""Blocks of symbols as tasks on a real local Ray: the same results, lost workers, errors, Ctrl-C."""

import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import ray
from support.machine import processes
from support.machine.processes import fails, lost_once, waits
from support.releases.release import made_run

from common.archive import files as archive_files
from common.archive.reader import Archive, read_archive
from common.errors import ArchiveError
from common.prices import window_blocks
from common.release.registry import Registry
from common.synthetic.market import MarketConfig, write_market
from train.pipeline import training as running
from train.publish.publish import publish_run
from train.run.blocks import RayTasks, engine_for

pytestmark = pytest.mark.integration
FIGURES = ("calibration.json", "performance_matrix.csv", "insights.json", "worth.json")


@pytest.fixture(scope="module")
def tasks() -> Iterator[RayTasks]:
    # Workers do not have the tests' folders on their path.
    ray.cloudpickle.register_pickle_by_value(processes)
    with engine_for(1, 1, 2) as engine:
        assert isinstance(engine, RayTasks) and engine.slots == 2
        yield engine


def test_an_archive_read_by_tasks_is_the_archive_read_here(tasks, tmp_path, monkeypatch):
    write_market(tmp_path, MarketConfig(symbols=12, first_day="2022-01-03", last_day="2023-12-29"))
    here = read_archive(tmp_path)
    monkeypatch.setattr(archive_files, "PART_LINES", 700)
    monkeypatch.setattr(archive_files, "BLOCK_ROWS", 1_500)
    there = read_archive(tmp_path, tasks)
    for field in fields(Archive):
        pd.testing.assert_frame_equal(
            getattr(there, field.name), getattr(here, field.name), check_exact=True, obj=field.name
        )


def test_a_release_published_by_tasks_has_the_figures_of_one_published_here(tasks, tmp_path, monkeypatch):
    run, registry = made_run(tmp_path), Registry(tmp_path)

    def published(name, *engine):
        return publish_run(run.folder, run.spec, run.panel, run.plan, {}, registry, name, *engine).release

    here = published("here")
    monkeypatch.setattr(window_blocks, "BLOCK_SYMBOLS", 1)
    there = published("there", tasks)
    for name in FIGURES:
        assert there.file(name).read_bytes() == here.file(name).read_bytes(), name
    forecasts = [pd.read_parquet(release.file("test_forecasts.parquet")) for release in (here, there)]
    pd.testing.assert_frame_equal(*forecasts, check_exact=True)  # the files differ in their row groups


def test_a_task_is_repeated_if_its_worker_is_lost(tasks, tmp_path):
    results = [tasks.submit(lost_once, tmp_path / str(number), returns=2) for number in range(4)]
    assert [list(tasks.values(pair)) for pair in results] == [[1, 2]] * 4


def test_an_error_of_a_task_is_raised_when_its_result_is_requested(tasks):
    with pytest.raises(ArchiveError, match="no such archive"):
        list(tasks.values([tasks.submit(fails)]))


def test_tasks_end_when_the_driver_is_interrupted(tmp_path):
    tasks = RayTasks()
    for _ in range(3):
        tasks.submit(waits, tmp_path)
    until = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 2
    tasks.cancel()
    while any(_is_running(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(_is_running(pid) for pid in pids)


def test_a_small_universe_is_published_without_ray():
    assert running.PUBLISHED_ON_RAY > 500
    with engine_for(66, running.PUBLISHED_ON_RAY) as engine:
        assert not isinstance(engine, RayTasks)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
