"""The overview pages, compared with the release's files, the registry and the monitor's report."""

import dataclasses
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.releases.loaded_release import SETTINGS, loaded_release
from support.releases.release import doctored, made_release
from support.training.evidence import forecasts
from support.training.freshness import made_freshness
from typer.testing import CliRunner

import nsecast
from cluster.monitor.cli import BREACH
from cluster.monitor.drift import Drift
from cluster.monitor.monitor import Report
from cluster.monitor.served_errors import judge
from cluster.monitor.settings import MonitorSettings
from common import storage
from common.errors import BundleError
from common.release.registry import Registry
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.live import LimitBreach
from serve.views.accuracy import LATEST, live_page
from serve.views.insights import FILE, insights_page
from serve.views.market import SHOWN, market_page
from serve.views.releases import Deployments, releases_page

LOADED = loaded_release()
DAY = dt.date(2024, 5, 31)


def test_the_market_page_has_every_stock_at_the_end_of_the_panel():
    page = market_page(LOADED)
    assert [quote.symbol for quote in page.quotes] == list(LOADED.universe.symbols)
    for item in page.quotes:
        rows = LOADED.panel.history(item.symbol)
        assert (item.last_price, item.last_date) == (rows["close"].iloc[-1], rows["date"].iloc[-1].date())
        assert len(item.closes) == min(SHOWN, len(rows)) and item.closes[-1] == item.last_price
        expected = 100 * (rows["close"].iloc[-1] / rows["close"].iloc[-2] - 1)
        assert item.change_percent == pytest.approx(expected, abs=1e-4)
        assert ", ".join(item.flags) == LOADED.matrix[item.symbol].flags
    assert "frozen" in {quote.symbol: quote.flags for quote in page.quotes}["FROZEN"]


def test_the_small_chart_takes_a_split_for_no_fall():
    rows = LOADED.panel.history("SPLITS")
    (step,) = np.flatnonzero(rows["close"].pct_change() < -0.4)
    early = dataclasses.replace(
        LOADED.panel, frame=LOADED.panel.frame[LOADED.panel.frame["date"] <= rows["date"].iloc[step + 3]]
    )
    loaded = loaded_release_of(early)
    quote = next(item for item in market_page(loaded).quotes if item.symbol == "SPLITS")
    raw = rows["close"].iloc[: step + 4].tail(SHOWN).to_numpy()
    assert min(np.diff(np.log(raw))) < -0.5 and min(np.diff(np.log(quote.closes))) > -0.2
    assert quote.closes[-4:] == pytest.approx(raw[-4:])


def loaded_release_of(panel):
    """The loaded release with another panel."""
    from serve.inference.window_builder import PriceHistory

    loaded = object.__new__(LoadedRelease)
    loaded.__dict__ |= LOADED.__dict__ | {
        "panel": panel,
        "history": PriceHistory(panel, LOADED.universe, LOADED.spec),
    }
    return loaded


def test_figures_by_horizon_are_the_manifests_and_an_older_release_says_what_it_lacks(tmp_path):
    release = made_release(tmp_path, **SETTINGS)
    if FILE in release.files:
        release = doctored(release, lambda folder: (folder / FILE).unlink())
    page = insights_page(LoadedRelease(release))
    assert [item.horizon for item in page.pooled] == ["1d", "5d", "10d", "30d"]
    for entry in page.pooled:
        figures = release.info["test"][entry.horizon[:-1]]
        for name in ("n", "mae", "naive_mae", "rel_mae", "rel_rmse", "cover80", "cover90", "cover95"):
            assert getattr(entry, name) == figures[name]
    assert page.moves is page.embedding is page.answers is None and "report.html" in page.note
    json.loads(page.model_dump_json(), parse_constant=lambda name: pytest.fail(name))


def test_stored_insights_are_shown_and_invalid_ones_refused(tmp_path):
    kept = {
        "moves": [{"horizon": 1, "bin": 4, "n": 9, "forecast": 0.44, "seen": 0.5}],
        "embedding": {
            "shares": [0.6, 0.2],
            "places": [
                {"symbol": "MOVES", "x": 0.5, "y": -1.0, "neighbours": [{"symbol": "THIN", "distance": 0.25}]}
            ],
        },
        "answers": [
            {
                "question": "Why?",
                "answer": "So.",
                "tables": [{"columns": ["a", "b"], "rows": [["x", None], [1, 2.5]]}],
            }
        ],
    }
    release = made_release(tmp_path / "good")
    page = insights_page(
        LoadedRelease(doctored(release, lambda folder: storage.write_json(folder / FILE, kept)))
    )
    assert page.note is None
    assert json.loads(page.model_dump_json(include=set(kept))) == kept
    for content in ('{"moves": 3}', "no json", '{"moves": [], "embedding": null}'):
        folder = tmp_path / str(len(content))
        bad = doctored(
            made_release(folder), lambda folder, content=content: (folder / FILE).write_text(content)
        )
        with pytest.raises(BundleError, match=FILE):
            insights_page(LoadedRelease(bad))


def test_releases_and_moves_are_the_registrys_newest_first(tmp_path):
    registry = Registry(tmp_path)
    for name in ("one", "two"):
        made_release(tmp_path, name)
    registry.promote("one")
    registry.promote("two", evidence={"forced": True, "reasons": ["relMAE is worse"]})
    registry.rollback()
    (tmp_path / "releases" / "broken").mkdir()
    page = releases_page(tmp_path, "one")
    assert (page.production, page.serving) == ("one", "one")
    assert [(move.release, move.action, move.forced) for move in page.moves] == [
        ("one", "rollback", False),
        ("two", "promote", True),
        ("one", "promote", False),
    ]
    assert page.moves[1].reasons == ["relMAE is worse"]
    lines = {release.id: release for release in page.releases}
    assert lines["two"].synthetic and lines["two"].rel_mae == registry.resolve("two").info["test_relMAE"]
    assert lines["broken"].state == "incomplete" and lines["broken"].preset is None and lines["broken"].reason


def test_an_empty_registry_is_no_error(tmp_path):
    page = releases_page(tmp_path, "x")
    assert page.production is None and page.releases == page.moves == []


def monitored() -> Report:
    """A report as `nsecast monitor` makes it, with a stock that has no figure."""
    live = forecasts().assign(tier="general")
    live.loc[live["symbol"] == "ALFA", ["lo90", "hi90"]] = np.nan
    return Report(
        at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=5),
        release="r",
        synthetic=True,
        served=500,
        scored=480,
        waiting=15,
        left_out={"late": 5},
        damaged=("part",),
        errors=judge(live, forecasts(), MonitorSettings()),
        drift=[
            Drift(feature="input:return", psi=0.3, chance=0.2, n=100, reference_n=900, word="large"),
            Drift(feature="p_move:1d", psi=0.1, chance=float("nan"), n=0, reference_n=0, word="too few"),
        ],
        fresh=made_freshness(DAY, DAY),
        breaches=[LimitBreach(kind="drift", what="input:return", got=0.3, limit=0.25)],
    )


def test_the_monitors_report_is_served_with_its_age(tmp_path):
    report = monitored()
    storage.write_json(tmp_path / LATEST, report.as_dict())
    page = live_page(tmp_path)
    assert page.note is None and page.age_s == pytest.approx(5 * 3600, abs=60)
    assert (page.found.served, page.found.scored, page.found.breaches[0].what) == (500, 480, "input:return")
    assert len(page.found.errors) == len(report.errors)
    for got, expected in zip(page.found.errors, report.errors.to_dict("records"), strict=True):
        for name in ("level", "group", "horizon", "n", "verdict"):
            assert getattr(got, name) == expected[name]
        for name in ("mae", "backtest_mae", "rel_mae", "cover90"):
            assert getattr(got, name) == (None if pd.isna(expected[name]) else expected[name])
    assert page.found.drift[1].chance is None and page.found.fresh.stale == ["NEW"]
    json.loads(page.model_dump_json(), parse_constant=lambda name: pytest.fail(name))


def test_the_monitor_leaves_what_it_finds_now_for_the_page_and_nothing_of_another_day(tmp_path):
    made_release(tmp_path, "one")
    Registry(tmp_path).promote("one")
    command = ["monitor", "--home", str(tmp_path)]
    CliRunner().invoke(nsecast.app, [*command, "--as-of", "2022-03-31"])
    assert live_page(tmp_path).found is None
    assert CliRunner().invoke(nsecast.app, command).exit_code == BREACH, "its prices are old"
    page = live_page(tmp_path)
    assert page.found.release == "one" and page.age_s < 60 and page.found.breaches


@pytest.mark.parametrize("content", ["", "{}", '{"at": 3}', "[1]"])
def test_an_invalid_report_is_noted_and_not_raised(tmp_path, content):
    (tmp_path / LATEST).parent.mkdir()
    (tmp_path / LATEST).write_text(content)
    page = live_page(tmp_path)
    assert page.found is None and "Run `nsecast monitor` again" in page.note


def test_before_the_first_report_the_page_says_what_to_run(tmp_path: Path):
    page = live_page(tmp_path)
    assert page.found is page.age_s is None and "nsecast monitor" in page.note


def test_outside_of_a_cluster_there_are_no_deployments():
    assert Deployments().look() == ()
