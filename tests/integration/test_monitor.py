"""From a question over HTTP to its error: served, logged, scored when the closes are there, and reported."""

import asyncio
import datetime as dt
import json
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from support.releases.release import doctored, made_release
from support.serving.server import local_tiers
from typer.testing import CliRunner

import nsecast
from cluster.monitor.live import read_served
from cluster.monitor.monitor import run_monitor
from cluster.monitor.settings import MonitorSettings
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.audit.ledger import Ledger
from serve.deployments.router import http_service
from serve.model_client.client import ModelClient
from serve.schemas.forecast import days_of
from serve.settings import LedgerSettings, ServeSettings

ASKED = 12
SYMBOLS = ("FROZEN", "GAPS", "MOVES", "SPLITS", "THIN")
SETTINGS = MonitorSettings()


def with_new_sessions(panel: Panel, count: int) -> Panel:
    """The panel and ``count`` more weekdays, on each of which every stock rises by one percent."""
    days = pd.bdate_range(panel.dates[-1] + pd.Timedelta(days=1), periods=count)
    last = panel.frame.groupby("symbol").tail(1)
    parts = [panel.frame]
    for step, day in enumerate(days, start=1):
        rows = last.assign(date=day, known=day, flags=0, close=(last["close"] * 1.01**step).round(2))
        parts.append(rows.assign(low=rows["close"], high=rows["close"]))
    return Panel.from_frame(pd.concat(parts), panel.source)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A release, its log, and its responses over HTTP in the evening on which its data end."""
    home = tmp_path_factory.mktemp("home")
    release = made_release(home, "one", shift=0.3, window={"size": 12, "horizons": [1, 5, 10]})
    Registry(home).promote("one")
    panel = ReleasedModels(release).panel
    evening = dt.datetime.combine(panel.dates[-1].date(), dt.time(16), dt.UTC)
    handles = local_tiers(home)

    async def run() -> list[dict]:
        model_client = ModelClient(*handles, ServeSettings(home=str(home), access_log="off"))
        model_client.ledger = Ledger(home, LedgerSettings(), clock=evening.timestamp)
        await model_client.watcher.check()
        transport, answers = httpx.ASGITransport(http_service(model_client)), []
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for _ in range(ASKED):
                for symbol in SYMBOLS:
                    for horizon in ("1d", "5d"):
                        body = {"symbol": symbol, "horizon": horizon}
                        answers.append((await client.post("/api/v4/predict", json=body)).json())
            await client.get("/api/v4/predict/all")
            for body in (
                {"symbol": "MOVES", "as_of": "2021-12-01"},
                {"symbol": "MOVES", "horizon": "10d", "recent_prices": [10.0 + day % 3 for day in range(60)]},
            ):
                assert (await client.post("/api/v4/predict", json=body)).status_code == 200
        model_client.ledger.close()
        return answers

    return {"home": home, "panel": panel, "evening": evening, "answers": asyncio.run(run())}


def at(served: dict, sessions: int) -> tuple[Panel, dt.datetime]:
    """Prices with that many new sessions, and the evening of the last of them."""
    panel = with_new_sessions(served["panel"], sessions) if sessions else served["panel"]
    return panel, dt.datetime.combine(panel.dates[-1].date(), dt.time(16), dt.UTC)


def models_of(served: dict) -> ReleasedModels:
    return ReleasedModels(Registry(served["home"]).open("one"))


def test_the_log_holds_each_forecast_once_as_it_was_answered(served):
    rows, _ = read_served(served["home"])
    assert sorted(rows["symbol"] + rows["horizon"].astype(str)) == sorted(
        f"{symbol}{horizon}" for symbol in SYMBOLS for horizon in (1, 5)
    )
    for answer in served["answers"]:
        chosen = rows["symbol"].eq(answer["symbol"]) & rows["horizon"].eq(days_of(answer["horizon"]))
        (row,) = rows[chosen].to_dict(orient="records")
        assert (row["published"], row["raw"]) == (answer["prediction"], answer["mean_prediction"])
        assert f"{row['cutoff']:%Y-%m-%d}" == answer["last_date"]
        assert row["model_type"] == answer["model_type"]


def closes_of(served: dict, panel: Panel) -> dict[tuple[str, int], float | None]:
    """The close of each forecast's session, by symbol and horizon; None without a row on it.

    Forecasts of sessions that are not there yet are left out.
    """
    dates, closes = list(panel.dates), {}
    for answer in served["answers"]:
        symbol, horizon = answer["symbol"], days_of(answer["horizon"])
        place = dates.index(pd.Timestamp(answer["last_date"])) + horizon
        if place < len(dates):
            own = panel.history(symbol).set_index("date")["close"]
            closes[(symbol, horizon)] = own.get(dates[place])
    return closes


def test_nothing_is_scored_before_its_close_and_each_when_it_comes(served):
    models = models_of(served)
    for sessions in (0, 1, 4, 5):
        panel, now = at(served, sessions)
        report = run_monitor(models, panel, served["home"], SETTINGS, now=now)
        there = list(closes_of(served, panel).values())
        got = (report.scored, report.left_out["no_close"], report.waiting)
        assert got == (len(there) - there.count(None), there.count(None), 10 - len(there))
    assert report.waiting == 0 and report.scored == 9, "GAPS has no row on the session after its last one"


def test_the_error_is_that_of_the_answers_against_the_closes(served):
    panel, now = at(served, 5)
    report = run_monitor(models_of(served), panel, served["home"], SETTINGS, now=now)
    errors, closes = {}, closes_of(served, panel)
    for answer in served["answers"]:
        key = answer["symbol"], days_of(answer["horizon"])
        if closes[key] is not None:
            errors[key] = abs(answer["prediction"] - closes[key])
    stocks = report.errors.query("level == 'stock'")
    assert set(stocks["group"]) == set(SYMBOLS) - {"FROZEN"}
    for row in stocks.itertuples():
        assert row.mae == pytest.approx(errors[(row.group, row.horizon)])
    for horizon in (1, 5):
        (row,) = report.errors.query("level == 'all' and horizon == @horizon").itertuples()
        moving = [error for (symbol, h), error in errors.items() if h == horizon and symbol != "FROZEN"]
        assert row.mae == pytest.approx(np.mean(moving)) and row.n_frozen == 1 and row.verdict == "too few"


def test_prices_looked_at_as_of_an_earlier_evening_give_that_evenings_report(served):
    models, (panel, _) = models_of(served), at(served, 5)
    _, earlier = at(served, 1)
    then, again = (
        run_monitor(models, prices, served["home"], SETTINGS, now=earlier)
        for prices in (at(served, 1)[0], panel)
    )
    assert then.as_dict() == again.as_dict()


def test_a_server_that_answers_after_the_fact_is_not_credited(served, tmp_path):
    """The same request after the closes were known."""
    rows, _ = read_served(served["home"])
    panel, now = at(served, 5)
    late = rows.assign(served_at=pd.Timestamp(now))
    day = tmp_path / "served" / f"{now:%Y-%m-%d}"
    day.mkdir(parents=True)
    late.to_parquet(day / "late-000000.parquet", index=False)
    report = run_monitor(models_of(served), panel, tmp_path, SETTINGS, now=now)
    assert report.scored == 0 and (report.left_out["late"], report.left_out["no_close"]) == (9, 1)


@pytest.fixture(scope="module")
def newer(served) -> Path:
    """A newer release in the same home, whose prices go on for five sessions; ``one`` stays in production."""
    release = made_release(served["home"], "two", window={"size": 12, "horizons": [1, 5, 10]})
    panel, _ = at(served, 5)
    doctored(release, lambda folder: panel.save(folder / "panel.parquet"))
    return served["home"]


def monitor_command(served, home: Path, *options: str):
    _, now = at(served, 5)
    command = ["monitor", "--home", str(home), "--as-of", f"{now:%Y-%m-%d}", *options]
    return CliRunner().invoke(nsecast.app, command)


def test_the_command_scores_with_the_newest_releases_prices_and_writes_table_json_and_gauges(
    served, newer, tmp_path
):
    shown = monitor_command(served, newer, "--stocks", "--prometheus", str(tmp_path / "nsecast.prom"))
    assert shown.exit_code == 0, shown.output
    assert "9 scored" in shown.stdout and "MOVES" in shown.stdout and "no breach" in shown.stdout
    assert 'nsecast_monitor_forecasts{state="scored"} 9.0' in (tmp_path / "nsecast.prom").read_text()
    payload = json.loads(monitor_command(served, newer, "--json").stdout)
    assert payload["release"] == "one" and payload["scored"] == 9 and payload["breaches"] == []


def test_a_breach_is_exit_code_3_and_a_line_in_the_log(served, newer, tmp_path, caplog):
    config = tmp_path / "strict.toml"
    config.write_text("frozen_excess = 0.0\nnewly_stale_most = 0\nsessions_old_most = 0\n")
    _, now = at(served, 5)
    later = now + dt.timedelta(days=7)
    done = CliRunner().invoke(
        nsecast.app,
        ["monitor", "--home", str(newer), "--as-of", f"{later:%Y-%m-%d}", "--config", str(config), "--json"],
    )
    assert done.exit_code == 3
    (breach,) = json.loads(done.stdout)["breaches"]
    assert breach == {"kind": "freshness", "what": "sessions old", "got": 5.0, "limit": 0.0}
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("breach ")]
    assert lines == ["breach kind=freshness what='sessions old' got=5 limit=0"]


def test_an_unknown_threshold_is_named(served, newer, tmp_path):
    config = tmp_path / "wrong.toml"
    config.write_text("alfa = 0.1\n")
    done = monitor_command(served, newer, "--config", str(config))
    assert done.exit_code == 1 and "alfa" in str(done.exception)
