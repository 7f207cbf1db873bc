"""A storage root in real S3 servers: one that honours conditional writes, and one that ignores them."""

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest
from support.machine.processes import running
from support.machine.waiting import until
from support.releases.release import REAL, made_release, made_run
from support.serving.serve_command import serve_command
from support.storage.store import Wire, free_port, objects

from common import storage
from common.errors import ConfigError, GateClosed
from common.release.manifest import MANIFEST
from common.release.registry import Registry
from train.pipeline.training import execute

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
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
    storage.upload(run.folder)
    publish = Registry.publish

    def cut(registry, staging, release_id, *, info):
        wire.cut_after(through)
        return publish(registry, staging, release_id, info=info)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "publish", cut)
        with pytest.raises(storage.StorageError, match="the object store failed"):
            execute(run, mode="silent", hand_over=False, refit=False)
    assert wire.is_cut

    there = Registry(place.machine("there"))
    assert [release.id for release in there.releases()] == ["before"]
    assert there.production() == "before" and there.verify("production").id == "before"
    left = {key for key in objects(there.folder) if key.startswith(f"releases/{run.release_id}/")}
    assert bool(left) == bool(through) and not [key for key in left if key.endswith(MANIFEST)]

    wire.mend()
    outcome, before = execute(run, mode="silent", hand_over=False, refit=False)
    assert (outcome.release.id, before) == (run.release_id, False)
    assert there.verify(run.release_id).files == outcome.release.files
    assert there.production() == "before"
    there.promote(run.release_id)
    assert Registry(here).rollback().id == "before"
    wire.close()


def test_exactly_one_of_two_simultaneous_promotions_wins(place):
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
    with storage.lock_or_fail(here / "runs/r.lock", "run r"):
        message = rf"run r is at work already, in process {os.getpid()} on "
        with pytest.raises(ConfigError, match=message), storage.lock_or_fail(there / "runs/r.lock", "run r"):
            pass
    with storage.lock_or_fail(there / "runs/r.lock", "run r"):
        pass
    assert ("ignores conditional writes" in caplog.text) == (place.name == "rclone")


@pytest.mark.long
def test_a_server_serves_from_the_store_and_follows_it(place):
    """The command itself, on a machine that has nothing."""
    here = place.machine("here")
    for name in ("one", "two"):
        made_release(here, name)
    Registry(here).promote("one")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = serve_command(place.url, "--no-haproxy", port=port)
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
