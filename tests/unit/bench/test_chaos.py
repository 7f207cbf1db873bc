"""The parts of the chaos bench: what counts as failed, recovered, wrong, grown and unsound."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.machine.waiting import until
from support.releases.release import doctored, made_release
from support.serving.server import scripted_server

from bench.chaos.disk import disk_full, unreadable, unsound
from bench.chaos.faults import ALWAYS_PER_S, capacity, growth
from bench.chaos.home import copied, prepared
from bench.chaos.load import Load, SentRequest, Tally
from bench.chaos.result import row_of
from bench.chaos.traffic import Ask, Traffic
from common.release.registry import Registry
from common.release.released_models import ReleasedModels

SINGLE = Ask("general", "/api/v4/predict", {"symbol": "THIN"})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`first` in production beside `second`, of a release that says something."""
    folder = tmp_path_factory.mktemp("chaos")
    prepared(made_release(folder / "source", shift=0.3), folder / "home")
    return folder / "home"


@pytest.fixture(scope="module")
def traffic(home: Path) -> Traffic:
    return Traffic(home, ("first", "second"))


def answer(home: Path, release: str, symbol: str = "THIN") -> dict:
    result = ReleasedModels(Registry(home).open(release)).forecast(symbol)[0]
    return {
        "symbol": symbol,
        "horizon": f"{result.horizon}d",
        "release": release,
        "prediction": result.published,
        "mean_prediction": result.raw,
        "last_price": result.last_price,
        "confidence_interval": None,
    }


def ended(*statuses: int, again: int = 200) -> Tally:
    """Requests a tenth of a second apart from 100 s on."""
    return Tally(
        [
            SentRequest(100 + n / 10, 0.01, status, None, again if status != 200 else 200)
            for n, status in enumerate(statuses)
        ]
    )


def test_both_releases_are_complete_and_their_forecasts_differ(home: Path, traffic: Traffic):
    assert unsound(home) == "" and Registry(home).production() == "first"
    assert traffic.check(SINGLE, answer(home, "first")) == traffic.check(SINGLE, answer(home, "second")) == ""
    assert answer(home, "first")["mean_prediction"] != answer(home, "second")["mean_prediction"]


def test_a_mixed_a_wrong_and_an_infinite_answer_are_seen(home: Path, traffic: Traffic):
    good = answer(home, "first")
    assert "another forecast" in traffic.check(SINGLE, good | {"release": "second"})
    assert "a number that is none" in traffic.check(SINGLE, good | {"prediction": float("inf")})
    assert "of the releases third" in traffic.check(SINGLE, good | {"release": "third"})
    assert "no such answer" in traffic.check(SINGLE, None)
    both = Ask("batch", "/api/v4/predict/batch", {"symbols": ["THIN", "GAPS"]})
    gaps = answer(home, "second", "GAPS")
    assert "first, second" in traffic.check(both, {"release": "first", "predictions": [good, gaps]})
    assert "1 forecasts of 2" in traffic.check(both, {"release": "first", "predictions": [good]})


def test_requests_are_of_all_kinds_and_about_what_can_be_answered(traffic: Traffic):
    asks = [ask for ask, _ in zip(traffic.mixed(), range(300), strict=False)]
    assert {ask.kind for ask in asks} == {"specific", "general", "prices", "batch"}
    assert {ask.body["symbol"] for ask in asks if ask.kind == "specific"} == {"MOVES"}
    assert "SHORT" not in json.dumps([ask.body for ask in asks])


def test_a_service_has_recovered_at_the_first_of_a_streak_of_good_answers():
    assert ended(*[200] * 60).recovery_s(100, streak=50) == 0.0
    assert ended(200, 503, 200, 0, *[200] * 50).recovery_s(100, streak=50) == pytest.approx(0.4)
    assert ended(503, *[200] * 49).recovery_s(100, streak=50) is None
    assert ended(503, *[200] * 50).recovery_s(100.05, streak=50) == 0.0, "what failed before does not count"


def test_first_tries_that_fail_are_counted_apart_from_second_ones():
    tally = ended(200, 503, 0)
    assert (tally.failed, tally.failed_twice) == (2, 0) and tally.statuses == {"none": 1, "200": 1, "503": 1}
    assert ended(200, 503, again=503).failed_twice == 1


def test_failed_requests_are_retried_after_the_given_time_and_refusals_without_it_are_counted(home, traffic):
    ok = (200, {"content-type": "application/json"}, json.dumps(answer(home, "first")).encode())
    with scripted_server() as server:
        server.answers = [(503, {"Retry-After": "1"}, b"{}"), (503, {}, b"{}"), (0, {}, b""), ok]
        with Load(server.url, traffic, 20, asks=iter(lambda: SINGLE, None)) as load:
            until(lambda: len(load.tally.requests) >= 10)
    tally = load.tally
    assert tally.failed == 3 and tally.failed_twice == 0 and tally.bare == 1 and tally.wrongs == 0
    assert tally.statuses | {"200": 0} == {"none": 1, "200": 0, "503": 2}
    assert len(server.requests) == len(tally.requests) + 3


def test_the_capacity_of_a_server_counts_only_good_responses(home, traffic):
    ok = (200, {"content-type": "application/json"}, json.dumps(answer(home, "first")).encode())
    with scripted_server() as server:
        bench = SimpleNamespace(server=server, traffic=traffic)
        server.answers = [ok] * 2_000
        able = capacity(bench, 1.0)
        assert 5 < able <= 1.1 * ALWAYS_PER_S
        server.answers = [(503, {"Retry-After": "1"}, b"{}")] * 2_000
        assert capacity(bench, 0.3) == 0.0


def test_a_scenario_without_requests_does_not_pass():
    assert row_of(Tally(), "steady", "", True).passed is False
    assert row_of(ended(200), "steady", "", True).passed is True
    assert row_of(Tally(ended(200).requests, wrongs=1), "steady", "", True).passed is False


def test_memory_that_grows_is_measured_over_the_second_half():
    flat_later = [{"Router": 50.0 + n} for n in range(10)] + [{"Router": 100.0}] * 10
    assert growth(flat_later) == {"Router": 0.0}
    assert growth([{"Router": 100.0 + n} for n in range(20)])["Router"] == pytest.approx(7 / 111)


def test_unsound_releases_are_named(home: Path, tmp_path: Path):
    shutil.copytree(home, tmp_path / "home")
    registry = Registry(tmp_path / "home")
    (registry.folder / "half").mkdir()
    assert "half is incomplete" in unsound(tmp_path / "home")
    (registry.folder / "half").rmdir()
    doctored(registry.resolve("first"), lambda folder: (folder / "calibration.json").write_text("{}"))
    assert unsound(tmp_path / "home") != ""
    run = tmp_path / "home" / "runs" / "one" / "tasks"
    run.mkdir(parents=True)
    (run / ".half.npz").write_bytes(b"PK")
    assert unreadable(tmp_path / "home") == ""
    (run / "state.npz").write_bytes(b"PK")
    assert "state.npz" in unreadable(tmp_path / "home")


def test_on_a_full_disk_publishing_and_promoting_are_refused_and_nothing_is_half(home: Path, tmp_path: Path):
    result = disk_full(copied(Registry(home).open("first"), tmp_path, "one"))
    if result.passed is None:
        pytest.skip(f"a tmpfs cannot be mounted: {result.note}")
    assert result.passed and result.note.count("refused: ") == 2, result.note
