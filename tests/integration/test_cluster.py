"""A real cluster of two nodes on this machine: joining it, sending it jobs, losing a node."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from ray.util.placement_group import placement_group_table
from support.machine.cluster import (
    command,
    environment,
    epochs_written,
    nsecast,
    prepared,
    results,
    small_run,
)
from support.machine.processes import running
from support.machine.waiting import until

from bench.chaos.elsewhere import end_node
from cluster.connect.local_cluster import LocalCluster, read
from cluster.connect.ports import listeners
from cluster.connect.processes import processes_with_mark
from cluster.connect.session import ray_session
from cluster.local.cluster import down
from common.errors import RayUnavailable
from common.prices.panel import Panel
from common.release.bundle import GENERAL
from train.pipeline.training import Run
from train.run.dataset import RunDataset
from train.run.plan import stored_result
from train.workers.fleet import Fleet
from train.workers.tasks import run_task

pytestmark = [pytest.mark.integration, pytest.mark.long]
LONG = 60
"""Epochs of which many are left when the slower of two workers is at its third."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A storage root; the cluster that tests leave up for the next one ends with the last."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        yield folder
    finally:
        down(folder)


def nodes_up(home: Path) -> list[int]:
    cluster = read(home)
    return [node for node in range(cluster.nodes) if cluster.runs(node)] if cluster else []


@pytest.fixture
def cluster(home: Path) -> LocalCluster:
    """A cluster of two nodes, restored if earlier tests changed it."""
    if nodes_up(home) != [0, 1]:
        down(home)
        done = nsecast("cluster", "up", "--nodes", "2", home=home)
        assert done.returncode == 0, done.stderr
    return read(home)


@pytest.fixture
def one_lost(home: Path, request: pytest.FixtureRequest) -> LocalCluster:
    """A cluster of two nodes of which the second is lost."""
    if nodes_up(home) != [0]:
        end_node(request.getfixturevalue("cluster"), "node-1")
    return read(home)


@pytest.fixture
def any_cluster(home: Path, request: pytest.FixtureRequest) -> LocalCluster:
    """A cluster, of however many nodes."""
    return read(home) if nodes_up(home) else request.getfixturevalue("cluster")


def test_both_nodes_are_alive_and_starting_them_again_does_nothing(cluster: LocalCluster, home: Path):
    again = nsecast("cluster", "up", "--nodes", "2", home=home)
    assert again.returncode == 0 and "was up already" in again.stdout
    status = json.loads(nsecast("cluster", "status", "--json", home=home).stdout)
    assert [(node["ip"], node["state"], node["cpus"]) for node in status["nodes"]] == [
        ("127.0.0.2", "ALIVE", 1),
        ("127.0.0.3", "ALIVE", 1),
    ]
    other = nsecast("cluster", "up", "--nodes", "1", home=home)
    assert other.returncode == 1 and "cluster down" in other.stderr


def test_dashboard_and_job_server_are_on_loopback_and_ask_for_the_token(cluster: LocalCluster):
    port = int(cluster.dashboard.rpartition(":")[2])
    assert {socket.address for socket in listeners(cluster.processes) if socket.port == port} == {"127.0.0.1"}
    assert httpx.get(f"{cluster.dashboard}/api/jobs/", timeout=10).status_code == 401
    wrong = {"Authorization": "Bearer nobody"}
    assert httpx.get(f"{cluster.dashboard}/api/jobs/", headers=wrong, timeout=10).status_code == 403


def test_a_jobs_output_is_streamed_and_its_exit_code_is_the_commands(cluster: LocalCluster, home: Path):
    known = nsecast("cluster", "submit", "--", "models", "--json", home=home)
    assert (known.returncode, known.stdout) == (0, "[]\n"), known.stderr
    unknown = nsecast("cluster", "submit", "--", "models", "verify", "no-such-release", home=home)
    assert unknown.returncode == 1 and "no-such-release" in unknown.stdout
    assert nsecast("cluster", "submit", "--", "train", "--no-such-option", home=home).returncode == 2


def test_a_command_with_the_job_servers_address_runs_there(cluster: LocalCluster, home: Path):
    done = nsecast("backtest", "--address", cluster.dashboard, home=home)
    assert done.returncode == 1 and done.stderr.startswith("job raysubmit_")
    assert done.stdout.startswith("error: ") and str(home) in done.stdout


def test_ctrl_c_stops_the_job(cluster: LocalCluster, home: Path):

    def begun() -> set[Path]:
        return set((home / "runs").glob("*/run.json"))

    before = begun()
    with running(
        command("cluster", "submit", "--", "train", "--quick"),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr.readline().startswith("job raysubmit_")
        until(lambda: begun() != before, patience_s=120)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=90) == 130
    [record] = [json.loads(path.read_bytes()) for path in begun() - before]
    assert record["state"] == "interrupted"


def test_an_address_without_a_cluster_is_an_error_that_says_what_to_check():
    with (
        pytest.raises(RayUnavailable, match=r"127\.0\.0\.2:1: .*Check the address"),
        ray_session(address="127.0.0.2:1"),
    ):
        pass


@pytest.fixture
def run(small_panel: Panel, home: Path) -> Run:
    return small_run(small_panel, home, general=LONG, scratch=LONG)


def test_a_node_that_is_lost_repeats_nothing_finished_and_changes_no_figure(
    cluster: LocalCluster, run: Run, tmp_path: Path
):
    seen: dict[str, object] = {}
    over = threading.Event()

    def lose_a_node(fleet: Fleet) -> None:
        doomed = processes_with_mark(f"{cluster.id}/node-1")
        while not over.wait(0.05):
            jobs = [job for job in fleet.snapshot() if job["state"] == "running" and job["epoch"] >= 3]
            doomed = (
                doomed
                if any(job["pid"] in doomed for job in jobs)
                else processes_with_mark(f"{cluster.id}/node-1")
            )
            if len(jobs) == 2 and any(job["pid"] in doomed for job in jobs):
                seen["results"] = results(run.folder)
                seen["ended"] = end_node(cluster, "node-1")
                break
        while not over.wait(0.2) and fleet.workers() != 1:
            pass
        seen["workers"] = fleet.workers()
        seen["places"] = {group["state"] for group in placement_group_table().values()}

    with ray_session(address=cluster.address, shared=run.home) as cpus:
        assert cpus == 2
        fleet = Fleet(run.plan, run.folder, workers=cpus, log_dir=run.folder / "ray")
        side = threading.Thread(target=lose_a_node, args=(fleet,), daemon=True)
        side.start()
        try:
            fleet.train()
            jobs = fleet.snapshot()
        finally:
            over.set()
            side.join()
    assert seen["ended"] >= 2, "the node was not ended in the middle of the training"
    assert seen["workers"] == 1
    assert seen["places"] <= {"CREATED", "REMOVED"}, "a place is looked for where no node is"
    assert {job["state"] for job in jobs} == {"done"}
    after = results(run.folder)
    assert {path: after[path] for path in seen["results"]} == seen["results"]
    counts = epochs_written(run.folder)
    assert counts[(f"{GENERAL}/seed-0", LONG)] == 1
    assert counts.total() <= len(counts) + 1, "more than the one epoch under way was repeated"

    quiet = prepared(Run(run.id, tmp_path / "quiet", run.home, run.spec, run.plan, run.panel))
    dataset = RunDataset(quiet.folder, quiet.spec, quiet.panel)
    for task in sorted(quiet.plan.tasks, key=lambda task: len(task.needs)):
        run_task(dataset, task)
    for task in run.plan.tasks:
        disturbed, undisturbed = stored_result(run.folder, task.id), stored_result(quiet.folder, task.id)
        for name in ("loss", "val_loss") if task.epochs else ():
            got = [epoch[name] for epoch in disturbed["history"]]
            assert got == pytest.approx([epoch[name] for epoch in undisturbed["history"]], rel=2e-3)


def test_the_same_command_starts_a_lost_node_again_and_a_larger_number_adds_one(
    one_lost: LocalCluster, home: Path
):
    assert nodes_up(home) == [0]
    grown = nsecast("cluster", "up", "--nodes", "3", home=home)
    assert grown.returncode == 0 and "2 started now" in grown.stdout, grown.stderr
    status = json.loads(nsecast("cluster", "status", "--json", home=home).stdout)
    assert [(node["ip"], node["state"]) for node in status["nodes"]] == [
        ("127.0.0.2", "ALIVE"),
        ("127.0.0.3", "ALIVE"),
        ("127.0.0.4", "ALIVE"),
    ]
    assert status["address"] == one_lost.address and read(home) == replace(one_lost, nodes=3)


def test_down_leaves_no_process_and_touches_no_other(any_cluster: LocalCluster, home: Path):
    with running(["sleep", "600"]) as bystander:
        done = nsecast("cluster", "down", home=home)
        assert done.returncode == 0 and done.stdout.startswith("ended ")
        assert processes_with_mark(any_cluster.id) == {} and not Path(any_cluster.folder).exists()
        assert bystander.poll() is None
    status = nsecast("cluster", "status", home=home)
    assert status.returncode == 1 and "cluster up" in status.stderr
    assert nsecast("cluster", "down", home=home).stdout == "no cluster was up\n"
