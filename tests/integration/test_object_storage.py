"""A storage root in real S3 servers: one that honours conditional writes, and one that ignores them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from support.cluster import small_plan
from support.processes import Killed, running
from support.release import REAL, made_release, made_run
from support.store import Wire, environment, free_port, make_bucket, moto, objects, rclone
from support.waiting import until
from typer.testing import CliRunner

from cluster.local.cluster import down, up
from common import storage
from common.errors import ConfigError, GateClosed
from common.prices.panel import Panel
from common.release.forecasts import ReleasedModels
from common.release.manifest import MANIFEST
from common.release.registry import Registry
from nsecast import app
from train.pipeline.training import Run, execute
from train.run.dataset import RunDataset, RunSpec
from train.run.plan import EpochProgress, finished
from train.workers.tasks import run_task, weights_of

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 6


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses by name; both have a bucket."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "bucket").mkdir()
    with moto() as careful, rclone(folder) as careless:
        make_bucket(careful, "bucket")
        yield {"moto": careful, "rclone": careless}


@pytest.fixture
def place(servers, tmp_path, monkeypatch, request, no_mirrors) -> SimpleNamespace:
    """A storage root of the test's own; `machine` is its path on a machine that has seen nothing of it."""
    name = getattr(request, "param", "moto")
    url = f"s3://bucket/{tmp_path.name}"

    def use(server: str) -> None:
        for key, value in environment(server).items():
            monkeypatch.setenv(key, value)

    def machine(cache: str, *, through: str | None = None) -> Path:
        use(through or servers[name])
        monkeypatch.setenv("NSECAST_CACHE", str(tmp_path / cache))
        return storage.home(url)

    return SimpleNamespace(name=name, server=servers[name], url=url, machine=machine, folder=tmp_path)


both = pytest.mark.parametrize("place", ["moto", "rclone"], indirect=True)


@pytest.mark.parametrize(
    ("place", "through"), [("moto", 0), ("moto", 1_500_000), ("rclone", 1_500_000)], indirect=["place"]
)
def test_a_publish_whose_connection_is_cut_shows_nothing_and_the_same_command_completes_it(
    place, through, monkeypatch
):
    wire = Wire(place.server)
    here = place.machine("here", through=wire.url)
    made_release(here, "before")
    Registry(here).promote("before")
    run = made_run(here, source=REAL)
    storage.push(run.folder)
    publish = Registry.publish

    def cut(registry, staging, release_id, *, info):
        wire.cut_after(through)
        return publish(registry, staging, release_id, info=info)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "publish", cut)
        with pytest.raises(storage.StorageError, match="the object store failed"):
            execute(run, mode="silent", hand_over=False)
    assert wire.is_cut

    there = Registry(place.machine("there"))
    assert [each.id for each in there.releases()] == ["before"]
    assert there.production() == "before" and there.verify("production").id == "before"
    left = {key for key in objects(there.folder) if key.startswith(f"releases/{run.release_id}/")}
    assert bool(left) == bool(through) and not [key for key in left if key.endswith(MANIFEST)]

    wire.mend()
    outcome, before = execute(run, mode="silent", hand_over=False)
    assert (outcome.release.id, before) == (run.release_id, False)
    assert there.verify(run.release_id).files == outcome.release.files
    assert there.production() == "before"
    there.promote(run.release_id)
    assert Registry(here).rollback().id == "before"
    wire.close()


def test_of_two_machines_that_promote_at_the_same_moment_one_wins(place):
    here, there = (Registry(place.machine(name)) for name in ("here", "there"))
    for name in ("r0", "r1", "r2"):
        staging = here.stage(name)
        (staging / "weights").write_text(name)
        here.publish(staging, name, info={})
    here.promote("r0")
    start = threading.Barrier(2)

    def move(registry: Registry, release_id: str, before: str | None) -> None:
        start.wait()
        try:
            registry.promote(release_id, instead_of=before)
            outcomes.append("won")
        except GateClosed:
            outcomes.append("lost")

    for turn in range(8):
        outcomes: list[str] = []
        before = here.production()
        wanted = [name for name in ("r0", "r1", "r2") if name != before]
        threads = [
            threading.Thread(target=move, args=(registry, name, before))
            for registry, name in zip((here, there), wanted, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["lost", "won"]
        assert len(here.history()) == turn + 2 and here.history() == there.history()


@both
def test_a_run_that_is_at_work_elsewhere_is_named(place, caplog):
    here, there = (place.machine(name) for name in ("here", "there"))
    with storage.claim(here / "runs/r.lock", "run r"):
        said = rf"run r is at work already, in process {os.getpid()} on "
        with pytest.raises(ConfigError, match=said), storage.claim(there / "runs/r.lock", "run r"):
            pass
    with storage.claim(there / "runs/r.lock", "run r"):
        pass
    assert ("ignores conditional writes" in caplog.text) == (place.name == "rclone")


def planned(panel: Panel, home: Path) -> Run:
    return small_plan(panel, home, general=EPOCHS, scratch=3, specific=("ABSA", "COOP"))


@both
def test_a_fit_goes_on_on_a_machine_that_has_nothing_and_repeats_no_epoch(place, small_panel, tmp_path):
    run = planned(small_panel, place.machine("driver"))
    run.panel.save(run.folder / "panel.parquet")
    run.spec.save(run.folder)
    task = next(task for task in run.plan.tasks if task.id == "general/seed-0")
    seen: list[int] = []

    def note(progress: EpochProgress) -> None:
        seen.append(progress.epoch)
        if len(seen) in (1, 4):
            raise Killed

    for name in ("first", "second"):
        with pytest.raises(Killed):
            run_task(bench_of(place.machine(name) / "runs" / run.id), task, note)
    third = bench_of(place.machine("third") / "runs" / run.id)
    run_task(third, task, note)
    assert seen == list(range(1, EPOCHS + 1))
    assert finished(run.folder, task.id)["epochs"] == EPOCHS
    keys = objects(run.home)
    assert f"runs/{run.id}/tasks/{task.id}/weights.npz" in keys
    assert f"runs/{run.id}/tasks/{task.id}/state.npz" not in keys

    whole = RunDataset(tmp_path / "plain", run.spec, run.panel)
    run_task(whole, task)
    for one, other in zip(weights_of(third, task.id), weights_of(whole, task.id), strict=True):
        np.testing.assert_array_equal(one, other)


def bench_of(folder: Path) -> RunDataset:
    return RunDataset(folder, RunSpec.load(folder), Panel.load(storage.current(folder / "panel.parquet")))


def test_a_fleet_trains_apart_from_its_driver_and_a_machine_with_nothing_answers_from_the_store(
    place, small_panel, monkeypatch
):
    """Two nodes and the driver have folders of their own, as on different machines; another process reads."""
    run = planned(small_panel, place.machine("driver"))
    with two_nodes(place.folder, monkeypatch) as address:
        outcome, before = execute(run, workers=2, mode="silent", address=address)
    assert not before and not outcome.failed
    first, second = (
        {
            path.parent.parts[-2:]: path.parent
            for path in (place.folder / node).glob("*/runs/*/tasks/*/*/result.json")
        }
        for node in ("node-0", "node-1")
    )
    assert first.keys() - second.keys() and second.keys() - first.keys(), "each node has tasks of its own"
    for seed in filter(None, (found.get(("general", "seed-0")) for found in (first, second))):
        assert {path.name for path in seed.iterdir()} == {"result.json", "weights.npz"}
    assert list((run.folder / "tensorboard").rglob("events.*")), "what workers logged is with the driver"

    there = place.machine("there")
    assert Registry(there).production() == run.release_id
    again, before = execute(planned(small_panel, there), workers=2, mode="silent")
    assert before and again.release.files == outcome.release.files
    assert (again.rows == outcome.rows) or json.dumps(again.rows) == json.dumps(outcome.rows)

    answered = elsewhere(place, "reader", "predict", "ABSA", "COOP", "--home", place.url, "--json")
    found = {each["symbol"]: each for each in json.loads(answered.stdout)["predictions"]}
    assert {each["release"] for each in found.values()} == {run.release_id}
    mine = ReleasedModels(outcome.release)
    assert {symbol: each["prediction"] for symbol, each in found.items()} == {
        symbol: mine.forecast(symbol)[0].published for symbol in found
    }
    assert (place.folder / "reader" / "cache").is_dir()
    last = small_panel.history("ABSA")["close"].iloc[-1]
    assert found.keys() == {"ABSA", "COOP"} and found["ABSA"]["last_price"] == pytest.approx(last)
    listed = CliRunner().invoke(app, ["runs", "--home", place.url, "--json"])
    assert [(each["id"], each["state"]) for each in json.loads(listed.stdout)] == [(run.id, "done")]


@contextmanager
def two_nodes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Ray cluster whose two nodes keep their files in folders of their own."""
    home = folder / "cluster"
    home.mkdir()
    try:
        for number in range(2):
            monkeypatch.setenv("NSECAST_CACHE", str(folder / f"node-{number}"))
            cluster, _ = up(home, number + 1, 1)
        yield cluster.address
    finally:
        down(home)


def elsewhere(place: SimpleNamespace, name: str, *words: str) -> SimpleNamespace:
    """The command in a process of its own that shares nothing with this one but the store."""
    folder = place.folder / name
    folder.mkdir()
    there = {"HOME": str(folder), "NSECAST_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "nsecast", *words],
        cwd=folder,
        env=os.environ | there,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(stdout=done.stdout)


def test_a_server_serves_from_the_store_and_follows_it(place):
    """The command itself, on a machine that has nothing."""
    here = place.machine("here")
    for name in ("one", "two"):
        made_release(here, name)
    Registry(here).promote("one")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "nsecast", "serve", "--port", str(port), "--no-haproxy"]
    command += ["--home", place.url]
    cached = os.environ | {"NSECAST_CACHE": str(place.folder / "server")}
    with (
        (place.folder / "log").open("w") as log,
        running(command, cwd=ROOT, env=cached, stdout=log, stderr=log) as process,
    ):
        until(lambda: get(f"{url}/readyz") == 200 or process.poll() is not None, patience_s=120)
        assert process.poll() is None, (place.folder / "log").read_text()
        body = {"symbol": "MOVES", "horizon": "1d"}
        assert httpx.post(f"{url}/api/v4/predict", json=body, timeout=30).json()["symbol"] == "MOVES"
        Registry(here).promote("two")
        until(lambda: httpx.get(f"{url}/api/v4/health", timeout=30).json()["release"] == "two", patience_s=30)
        assert httpx.post(f"{url}/api/v4/predict", json=body, timeout=30).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert [key for key in objects(here) if key.startswith("served/") and key.endswith(".parquet")]


def get(url: str) -> int:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.HTTPError:
        return 0
