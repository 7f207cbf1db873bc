"""What a run does when a node joins, when a network is cut, and when the head is lost."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
    get_or_create_autoscaling_coordinator,
)
from support.machine.cluster import (
    Hosts,
    epochs_written,
    hosts,
    results,
    small_run,
)
from support.machine.hosts import second_host, why_no_hosts
from support.machine.waiting import until

import train.workers.fleet
from bench.chaos.elsewhere import end_node
from cluster.connect.session import ray_session
from cluster.local.cluster import down, up
from common.errors import RayUnavailable
from common.prices.panel import Panel
from common.release.bundle import GENERAL
from train.pipeline.training import Run
from train.run.plan import stored_epochs, stored_result
from train.workers.fleet import Fleet

pytestmark = [pytest.mark.integration, pytest.mark.long]
SEED, SCRATCH = f"{GENERAL}/seed-0", "ABSA/scratch-0"
eventually = functools.partial(until, patience_s=150, every_s=0.1)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Ray and we notice sooner what is lost or has joined than by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.workers.fleet, "GROW_S", 1.0)
        patch.setattr(train.workers.fleet, "OVER_S", 1.0)
        patch.setenv("RAY_health_check_timeout_ms", "1000")
        yield


@dataclass
class Story:
    """A run on one host that a second joins, is cut off from in the middle of a task, and comes back to."""

    run: Run
    workers: list[int] = field(default_factory=list)
    """How many there were before the second host joined, and after."""
    took: str = ""
    """What the second host was at when it was cut off."""
    epoch: int = 0
    """How far it was."""
    at_cut: dict[Path, int] = field(default_factory=dict)
    """Finished tasks, and when each was finished."""
    elsewhere: dict[Path, int] = field(default_factory=dict)
    """The same once another worker had finished what the second host was at."""
    alive: list[bool] = field(default_factory=list)
    """Whether Ray took the second host for alive at the cut, and before it healed."""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    """Ray's and our processes on the second host a while after it had healed."""


@pytest.fixture(scope="module")
def story(small_panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    if reason := why_no_hosts():
        pytest.skip(reason)
    run = small_run(small_panel, tmp_path_factory.mktemp("home"), general=250, scratch=150)
    with second_host() as second, hosts(second) as cluster, ThreadPoolExecutor() as pool:
        with ray_session(address=cluster.address, shared=run.home):
            tasks = len(run.plan.tasks)
            fleet = Fleet(run.plan, run.folder, workers=tasks, log_dir=run.folder / "ray", silence_s=6.0)
            side = pool.submit(happening, Story(run), cluster, fleet)
            fleet.train()
            snapshot = side.result()
            snapshot.jobs = fleet.snapshot()
        yield snapshot


def happening(story: Story, cluster: Hosts, fleet: Fleet) -> Story:
    folder = story.run.folder

    def on_second() -> dict[str, Any] | None:
        there = cluster.on_second()
        running = [job for job in fleet.snapshot() if job["state"] == "running" and job["epoch"] >= 2]
        return next((job for job in running if job["pid"] in there), None)

    eventually(lambda: stored_epochs(folder, SEED))
    story.workers.append(fleet.workers())
    cluster.join()
    ray.get(get_or_create_autoscaling_coordinator().__ray_call__.remote(lambda self: self._tick()))
    job = eventually(on_second)
    cluster.second.cut()
    story.workers.append(fleet.workers())
    story.took, story.epoch = f"{job['job']}/{job['phase']}", job["epoch"]
    story.at_cut, story.alive = results(folder), [second_is_alive(cluster)]
    eventually(lambda: stored_result(folder, story.took))
    story.elsewhere, story.alive = results(folder), [*story.alive, second_is_alive(cluster)]
    cluster.second.heal()
    eventually(lambda: not cluster.named_on_second() & {"raylet", "ray::RayTrainWo"})
    story.left = cluster.named_on_second()
    return story


def second_is_alive(cluster: Hosts) -> bool:
    return any(node["Alive"] for node in ray.nodes() if node["NodeManagerAddress"] == cluster.second.ip)


def test_a_node_that_joins_in_the_middle_of_a_run_takes_tasks(story: Story):
    assert story.workers == [1, 2]
    assert story.took in (SEED, SCRATCH) and story.epoch >= 2


def test_a_run_ends_although_a_nodes_network_was_cut_in_the_middle_of_a_task(story: Story):
    assert story.alive == [True, False]
    assert {job["state"] for job in story.jobs} == {"done"}


def test_trials_finished_at_the_interruption_or_elsewhere_are_not_written_again(story: Story):
    final = results(story.run.folder)
    assert {path: final[path] for path in story.at_cut} == story.at_cut
    assert {path: final[path] for path in story.elsewhere} == story.elsewhere
    epochs = [epoch["epoch"] for epoch in stored_result(story.run.folder, story.took)["history"]]
    assert epochs == list(range(1, len(epochs) + 1))


def test_a_node_that_was_cut_off_repeats_no_more_than_the_epoch_it_was_at(story: Story):
    counts = epochs_written(story.run.folder)
    assert counts.total() <= len(counts) + 1


def test_a_node_that_returns_too_late_has_no_running_work(story: Story):
    assert "raylet" not in story.left and "ray::RayTrainWo" not in story.left


def test_after_the_head_was_lost_the_same_cluster_and_run_are_started_again_and_nothing_done_is_repeated(
    small_panel: Panel, tmp_path: Path
):
    run = small_run(small_panel, tmp_path, general=100_000)
    cluster, _ = up(tmp_path, 1, 1)
    try:
        with ThreadPoolExecutor() as pool, ray_session(address=cluster.address, shared=tmp_path):
            side = pool.submit(
                lambda: (eventually(lambda: stored_epochs(run.folder, SEED)), end_node(cluster, "node-0"))
            )
            with pytest.raises(RayUnavailable, match="the same command continues"):
                Fleet(run.plan, run.folder, workers=1, log_dir=run.folder / "ray").train()
            side.result()
        before = stored_epochs(run.folder, SEED)
        again, started = up(tmp_path, 1, 1)
        assert started == 1 and again.id != cluster.id
        with ThreadPoolExecutor() as pool, ray_session(address=again.address, shared=tmp_path):
            fleet = Fleet(run.plan, run.folder, workers=1, log_dir=run.folder / "ray")

            def enough() -> None:
                eventually(lambda: len(stored_epochs(run.folder, SEED)) > len(before) + 3)
                ray.get(fleet.queue.abort.remote("enough is seen"))

            side = pool.submit(enough)
            fleet.train()
            side.result()
        assert stored_epochs(run.folder, SEED)[: len(before)] == before
        counts = epochs_written(run.folder)
        assert counts.total() <= len(counts) + 1
    finally:
        down(tmp_path)
