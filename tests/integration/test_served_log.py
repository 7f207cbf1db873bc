"""What a real server on Ray wrote, read by the commands: receipts, replays, monitor and track record."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from support.releases.loaded_release import SETTINGS
from support.releases.receipts import BARS, CLOSES
from support.releases.release import doctored, made_release
from support.serving.serve_command import serve_command, serve_process, stop
from typer.testing import CliRunner

import nsecast
from cluster.connect.ports import free_port
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.audit.files import day_folders, read_day

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
SERVER = {
    "specific_max": 1,
    "served": {"flush_every_s": 3600.0},  # so that all is written by the end in good order
}
OWN = [(symbol, horizon) for symbol in ("MOVES", "THIN", "GAPS", "FROZEN") for horizon in ("1d", "5d")]
CHOSEN = "nightly-job"
"""The id that the client gives to every request."""
SESSIONS = 6


@dataclass
class Answers:
    """Answers of a server that has ended, by the request ids of their headers."""

    home: Path
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Forecasts of each."""
    bodies: dict[str, Any] = field(default_factory=dict)
    refused: list[httpx.Response] = field(default_factory=list)

    def ask(self, client: httpx.Client, method: str, path: str, body: Any = None) -> list[dict[str, Any]]:
        answer = client.request(method, f"/api/v4/{path}", json=body, headers={"X-Request-ID": CHOSEN})
        assert answer.headers["x-correlation-id"] == CHOSEN
        (request_id,) = answer.headers.get_list("x-request-id")
        if answer.status_code != 200:
            self.refused.append(answer)
            assert answer.json()["request_id"] == request_id
            return []
        forecasts = answer.json().get("predictions", [answer.json()])
        assert {forecast["request_id"] for forecast in forecasts} == {
            request_id
        } and request_id not in self.answers
        self.answers[request_id], self.bodies[request_id] = forecasts, body
        return forecasts


@contextmanager
def server(home: Path) -> Iterator[httpx.Client]:
    """`nsecast serve` in a process of its own, for a block, ended by Ctrl-C."""
    port = free_port()
    command = serve_command(home, port=port, settings=SERVER)
    with serve_process(command, home / "server.log") as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
        stop(process, patience_s=120)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Start a real server, send requests, and end it by Ctrl-C."""
    home = tmp_path_factory.mktemp("home")
    made_release(home, **SETTINGS)
    Registry(home).promote("made")
    result = Answers(home)
    with server(home) as client:
        for symbol, horizon in [*OWN, *OWN[:3]]:
            result.ask(client, "POST", "predict", {"symbol": symbol, "horizon": horizon})
        result.ask(client, "POST", "predict", {"symbol": "MOVES", "as_of": "2022-02-01"})
        for more in ({"recent_prices": CLOSES}, {"recent_bars": BARS}):
            result.ask(client, "POST", "predict", {"symbol": "THIN", "horizon": "10d"} | more)
        batch = {"symbols": ["MOVES", "THIN", "SHORT"], "recent_prices": {"THIN": CLOSES[:60]}}
        result.ask(client, "POST", "predict/batch", batch)
        result.ask(client, "GET", "outlook/GAPS")
        result.ask(client, "POST", "predict", {"symbol": "NOPE"})
    return result


def run(served: Answers, *words: str) -> Any:
    return CliRunner().invoke(nsecast.app, [*words, "--home", str(served.home)])


def test_every_request_has_a_receipt_with_its_own_answer_which_replays_to_the_last_digit(
    served: Answers, tmp_path: Path
) -> None:
    assert len(served.answers) == 16
    path = tmp_path / "receipt.json"
    for request_id, forecasts in served.answers.items():
        done = run(served, "receipt", request_id, "--out", str(path))
        assert done.exit_code == 0, done.output
        receipt = json.loads(path.read_bytes())
        assert receipt["chain"]["verdict"] == "intact"
        kept = {(forecast["symbol"], forecast["horizon"]): forecast for forecast in receipt["forecasts"]}
        assert len(kept) == len(receipt["forecasts"]) == len(forecasts)
        for answer in forecasts:
            row = kept[answer["symbol"], answer["horizon"]]
            assert (row["prediction"], row["mean_prediction"]) == (
                answer["prediction"],
                answer["mean_prediction"],
            )
            assert row["cutoff"] == answer["last_date"] and row["model_type"] == answer["model_type"]
            assert row["probability_up"] == answer["probability_up"]
        done = run(served, "replay", str(path), "--json")
        assert done.exit_code == 0, done.output
        again = {(item["symbol"], item["horizon"]): item["again"] for item in json.loads(done.stdout)}
        for answer in forecasts:
            assert again[answer["symbol"], answer["horizon"]]["prediction"] == answer["prediction"]


def test_receipts_of_prices_that_were_sent_have_those_prices(served: Answers) -> None:
    sent = {"recent_prices": CLOSES[-60:], "recent_bars": BARS[-60:]}
    for name, prices in sent.items():
        (request_id,) = [
            key for key, body in served.bodies.items() if body and name in body and "symbol" in body
        ]
        (forecast,) = json.loads(run(served, "receipt", request_id).stdout)["forecasts"]
        assert forecast["brought"][name] == prices


def test_the_id_that_the_client_chose_has_no_receipt_and_is_in_the_access_log_beside_the_servers(
    served: Answers,
) -> None:
    assert "no such answer" in str(run(served, "receipt", CHOSEN).exception)
    lines = [
        json.loads(line)
        for path in (served.home / "serve" / "logs").glob("access-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    lines_of_request = [line for line in lines if line["correlation_id"] == CHOSEN]
    refused = [answer.headers["x-request-id"] for answer in served.refused]
    assert sorted(line["request_id"] for line in lines_of_request) == sorted([*served.answers, *refused])


def test_forecasts_of_the_releases_newest_evening_are_on_the_log_once_as_the_backtests_code_makes_them(
    served: Answers,
) -> None:
    (day,) = day_folders(served.home / "served")
    rows = [row for table, _ in read_day(day)[0].values() for row in table.to_pylist()]
    results = {(row["symbol"], row["horizon"]): row for row in rows}
    wanted = {*((symbol, int(horizon[:-1])) for symbol, horizon in OWN), ("GAPS", 10), ("GAPS", 30)}
    assert len(rows) == len(results) and set(results) == wanted
    models = ReleasedModels(Registry(served.home).open("made"))
    truth = {
        (forecast.symbol, forecast.horizon): forecast
        for symbol, _ in OWN
        for forecast in models.forecast(symbol)
    }
    for key, row in results.items():
        assert (row["published"], row["raw"]) == (truth[key].published, truth[key].raw)


@pytest.fixture(scope="module")
def later(served: Answers) -> Iterator[Panel]:
    """Prices that go on after the day of the answers, in a newer release: all rise by one percent a day."""
    old = ReleasedModels(Registry(served.home).open("made")).panel
    last = old.frame.groupby("symbol").tail(1)
    tomorrow = pd.Timestamp(dt.datetime.now(dt.UTC).date()) + pd.Timedelta(days=2)
    parts = [old.frame]
    for step, day in enumerate(pd.bdate_range(tomorrow, periods=SESSIONS), start=1):
        rows = last.assign(date=day, known=day, flags=0, close=(last["close"] * 1.01**step).round(2))
        parts.append(rows.assign(low=rows["close"], high=rows["close"]))
    panel = Panel.from_frame(pd.concat(parts), old.source)
    release = made_release(served.home, "newer", **SETTINGS)
    doctored(release, lambda folder: panel.save(folder / "panel.parquet"))
    yield panel


def errors_by_hand(served: Answers, panel: Panel) -> pd.DataFrame:
    """Each forecast from the newest evening whose target has passed, once.

    The close is that of the market's session so many days on, if the stock has a row then.
    """
    rows, dates = {}, list(panel.dates)
    for forecasts in served.answers.values():
        for answer in forecasts:
            closes = panel.history(answer["symbol"]).set_index("date")["close"]
            cutoff, days = pd.Timestamp(answer["last_date"]), int(answer["horizon"][:-1])
            own = closes.get(cutoff) == answer["last_price"] and (closes.index > cutoff).sum() == SESSIONS
            place = dates.index(cutoff) + days
            actual = closes.get(dates[place]) if place < len(dates) else None
            if own and actual is not None:
                error, naive = abs(answer["prediction"] - actual), abs(answer["last_price"] - actual)
                rows[answer["symbol"], days] = {"error": error, "naive": naive}
    return pd.DataFrame.from_dict(rows, orient="index")


def test_the_monitor_scores_what_was_answered_against_the_closes(served: Answers, later: Panel) -> None:
    mine = errors_by_hand(served, later)
    assert len(mine) == len(OWN) - 1, "GAPS has no row on the session after its last one"
    done = run(served, "monitor", "--as-of", f"{later.dates[-1]:%Y-%m-%d}", "--json")
    payload = json.loads(done.stdout)
    assert payload["release"] == "made" and payload["served"] == len(OWN) + 2 and payload["damaged"] == []
    assert (payload["scored"], payload["waiting"]) == (len(OWN) - 1, 2)
    assert {reason: count for reason, count in payload["left_out"].items() if count} == {"no_close": 1}
    stocks = {(row["group"], row["horizon"]): row for row in payload["errors"] if row["level"] == "stock"}
    assert {name for name, _ in stocks} == {"MOVES", "THIN", "GAPS"}
    for key, row in stocks.items():
        assert row["mae"] == pytest.approx(mine.loc[[key], "error"].item())
    for horizon in (1, 5):
        (row,) = [
            error for error in payload["errors"] if error["level"] == "all" and error["horizon"] == horizon
        ]
        moving = [mine.loc[[key], "error"].item() for key in stocks if key[1] == horizon]
        assert row["mae"] == pytest.approx(sum(moving) / len(moving)) and row["n_frozen"] == 1


def test_the_track_record_counts_what_was_answered_and_its_chain_is_intact(
    served: Answers, later: Panel
) -> None:
    mine = errors_by_hand(served, later)
    done = run(served, "track-record", "GAPS", "--json")
    assert done.exit_code == 0, done.output
    payload = json.loads(done.stdout)
    assert (payload["served"], payload["scored"], payload["waiting"]) == (4, 1, 2)
    assert payload["chain"]["verdict"] == "intact" and len(payload["chain"]["heads"]) == 1
    assert [row["horizon"] for row in payload["figures"]] == [5]
    for row in payload["figures"]:
        key = ("GAPS", row["horizon"])
        assert row["mae"] == pytest.approx(mine.loc[[key], "error"].item())
        assert row["naive_mae"] == pytest.approx(mine.loc[[key], "naive"].item())
    assert run(served, "track-record", "GAPS", "--kept", payload["chain"]["head"]).exit_code == 0
