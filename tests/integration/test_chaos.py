"""Faults of a real server under load, in their short form: nothing fails twice, no answer mixes releases.

What the bench finds is held against a client that knows nothing of the bench, and against the disk.
"""

import hashlib
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from support.machine.waiting import until
from support.releases.release import made_exchange

from bench.chaos.disk import publish_killed
from bench.chaos.faults import Bench, killed, reloaded, steady
from bench.chaos.home import prepared
from bench.chaos.result import Row
from bench.chaos.server import served
from common.release.manifest import MANIFEST, Release
from common.release.registry import Registry
from common.release.released_models import ReleasedModels

pytestmark = [pytest.mark.integration, pytest.mark.long]
A_SECOND = 25.0
SYMBOL = "SCOM"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return made_exchange(tmp_path_factory.mktemp("source"), "made", shift=0.3)


@pytest.fixture(scope="module")
def bench(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("home")
    releases = prepared(release, home)
    with served(home) as server:
        yield Bench(server, home, releases, A_SECOND, rng=random.Random(3))


@dataclass
class Witness:
    """Asks one question over and over while a scenario runs, a second time after half a second if need be."""

    bench: Bench
    tries: list[list[int]] = field(default_factory=list)
    """Statuses of each question; 0: no answer."""
    answers: list[tuple[str, float]] = field(default_factory=list)
    """Release and price of each answer."""

    def __enter__(self) -> "Witness":
        until(lambda: self._serves() == Registry(self.bench.home).production())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _serves(self) -> str:
        return httpx.get(f"{self.bench.server.url}/api/v4/health", timeout=30).json()["release"]

    def _ask(self) -> None:
        with httpx.Client(base_url=self.bench.server.url, timeout=30) as client:
            while not self._over.wait(0.05):
                statuses: list[int] = []
                while len(statuses) < 2 and statuses != [200]:
                    time.sleep(0.5 if statuses else 0)
                    statuses.append(self._once(client))
                self.tries.append(statuses)

    def _once(self, client: httpx.Client) -> int:
        try:
            answer = client.post("/api/v4/predict", json={"symbol": SYMBOL})
        except httpx.TransportError:
            return 0
        if answer.status_code == 200:
            body = answer.json()
            self.answers.append((body["release"], body["prediction"]))
        return answer.status_code

    @property
    def truth(self) -> dict[str, float]:
        """What each release says."""
        registry = Registry(self.bench.home)
        return {
            name: ReleasedModels(registry.open(name)).forecast(SYMBOL)[0].published
            for name in self.bench.releases
        }

    def saw(self, *releases: str, failed: bool = False) -> bool:
        """Whether all answers were right, and of exactly these releases; ``failed``: a first try may fail."""
        allowed = ([200], [0, 200], [503, 200]) if failed else ([200],)
        assert [item for item in self.tries if item not in allowed] == []
        truth = self.truth
        assert len(set(truth.values())) == len(truth), "or nobody could tell them apart"
        assert [answer for answer in self.answers if answer[1] != truth[answer[0]]] == []
        return {name for name, _ in self.answers} == set(releases) and len(self.answers) >= 10


def test_steady_mixed_requests_all_get_the_releases_own_forecasts(bench: Bench):
    with Witness(bench) as witness:
        row = steady(bench, 5)
    assert row.passed and row.statuses == {"200": row.requests} and row.requests > 2 * A_SECOND, row
    assert witness.saw(bench.releases[0])


def test_replicas_and_a_router_that_are_killed_cost_no_request_more_than_a_second_try(bench: Bench):
    kinds = ("SpecificModel", "GeneralModel", "Router")
    before = bench.server.processes()
    with Witness(bench) as witness:
        row = killed(bench, kinds, len(kinds), name="replicas")
    assert row.passed and row.failed_twice == row.wrong == 0 and row.requests > A_SECOND, row
    assert witness.saw(bench.releases[0], failed=True)
    gone = {kind: [pid for pid in before[kind] if not Path(f"/proc/{pid}").exists()] for kind in kinds}
    assert {kind: len(pids) for kind, pids in gone.items()} == dict.fromkeys(kinds, 1)


def test_releases_promoted_in_turn_cost_no_request_and_each_answer_is_of_one(bench: Bench):
    with Witness(bench) as witness:
        row = reloaded(bench, 4)
    assert row.passed and row.failed == row.wrong == 0 and row.requests > A_SECOND, row
    assert witness.saw(*bench.releases)


def test_publishing_that_is_killed_anywhere_leaves_only_what_loads(release: Release, tmp_path: Path):
    row: Row = publish_killed(release, tmp_path, 5)
    assert row.passed, row.note
    folders = [path for path in (tmp_path / "releases").iterdir() if path.name != "aliases" and path.is_dir()]
    assert {"first", "last"} <= {path.name for path in folders}
    for folder in folders:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        results = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path.name != MANIFEST
        }
        assert results == {name: entry["sha256"] for name, entry in manifest["files"].items()}, folder
    production = json.loads((tmp_path / "releases" / "aliases" / "production.json").read_bytes())
    assert json.dumps(production).count('"last"') >= 1 and Registry(tmp_path).production() == "last"
