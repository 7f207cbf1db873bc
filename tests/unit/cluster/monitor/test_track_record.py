"""A stock's track record: figures by hand, and only what the chain vouches for."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from support.releases.loaded_release import SETTINGS, bundle
from support.releases.release import doctored, made_release
from typer.testing import CliRunner

import nsecast
from common.prices.panel import Panel
from common.release.registry import Registry
from serve.audit.ledger import Ledger
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import PredictRequest
from serve.settings import LedgerSettings

SESSIONS = 8


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A root with what was served on its last evening, and a newer release whose prices go on."""
    home = tmp_path_factory.mktemp("home")
    loaded = LoadedRelease(made_release(home, **SETTINGS))
    Registry(home).promote("made")
    evening = dt.datetime.combine(loaded.data_end, dt.time(16), dt.UTC)
    for minute, symbols in enumerate((("MOVES", "THIN", "FROZEN"), ("MOVES", "GAPS"))):
        ledger = Ledger(home, LedgerSettings(), clock=(evening + dt.timedelta(minutes=minute)).timestamp)
        for symbol in symbols:
            for horizon in ("1d", "5d", "30d"):
                prepared = loaded.prepare(PredictRequest(symbol=symbol, horizon=horizon))
                prices = bundle(loaded, prepared.route.job).forecaster.forecast(
                    prepared.windows, prepared.levels
                )
                ledger.record(loaded, prepared, prices, f"{minute}")
                ledger.flush()
        ledger.close()
    last = loaded.panel.frame.groupby("symbol").tail(1)
    days = pd.bdate_range(loaded.panel.dates[-1] + pd.Timedelta(days=1), periods=SESSIONS)
    rows = [last.assign(date=day, known=day, flags=0, close=last["close"] * 1.01) for day in days]
    rows = [row.assign(low=row["close"], high=row["close"]) for row in rows]
    newer = Panel.from_frame(pd.concat([loaded.panel.frame, *rows]), loaded.panel.source)
    release = made_release(home, "newer", **SETTINGS)
    doctored(release, lambda folder: newer.save(folder / "panel.parquet"))
    return home, newer


def run(home, *words):
    return CliRunner().invoke(nsecast.app, ["track-record", *words, "--home", str(home)])


def test_figures_are_those_by_hand_and_the_chain_is_intact(served):
    home, panel = served
    done = run(home, "moves", "--json")
    assert done.exit_code == 0, done.output
    payload = json.loads(done.stdout)
    assert (payload["served"], payload["scored"], payload["waiting"]) == (3, 2, 1)
    table = pd.concat([pd.read_parquet(path) for path in (home / "served").rglob("*.parquet")])
    assert [row["horizon"] for row in payload["figures"]] == [1, 5]
    for row in payload["figures"]:
        mine = table[(table["symbol"] == "MOVES") & (table["horizon"] == row["horizon"])].iloc[0]
        closes = panel.history("MOVES").set_index("date")["close"]
        actual = closes[closes.index > pd.Timestamp(mine["cutoff"])].iloc[row["horizon"] - 1]
        assert row["mae"] == pytest.approx(abs(mine["published"] - actual)) and row["n"] == 1
        assert row["naive_mae"] == pytest.approx(abs(mine["last_price"] - actual))
        assert row["rel_mae"] == pytest.approx(row["mae"] / row["naive_mae"])
        assert row["cover90"] == float(mine["lo90"] <= actual <= mine["hi90"])
    assert payload["chain"]["verdict"] == "intact" and payload["chain"]["parts"] == len(table)
    assert np.unique([payload["first"], payload["last"]]).tolist() == [str(mine["cutoff"])]


def test_people_get_a_table_with_the_verdict_and_the_head_to_keep(served):
    home, _ = served
    head = json.loads(run(home, "MOVES", "--json").stdout)["chain"]["head"]
    done = run(home, "MOVES", "--kept", head)
    assert done.exit_code == 0 and "SYNTHETIC DATA, MOVES: 3 forecasts served, 2 scored" in done.stdout
    assert "chain: intact" in done.stdout and f"head: {head}" in done.stdout and "relMAE" in done.stdout
    frozen = run(home, "FROZEN").stdout
    assert "in no figure: 2 of frozen windows" in frozen


def test_a_head_that_is_there_no_more_breaks_the_verdict(served, tmp_path):
    home, _ = served
    kept = tmp_path / "kept.json"
    kept.write_text(run(home, "MOVES", "--json").stdout)
    assert run(home, "MOVES", "--kept", str(kept)).exit_code == 0
    done = run(home, "MOVES", "--kept", "ab" * 32)
    assert done.exit_code == 3 and f"broken at head {'ab' * 32}" in done.stdout
    kept.write_text("[]")
    assert run(home, "MOVES", "--kept", str(kept)).exit_code == 1


def test_a_stranger_is_refused(served):
    assert "Did you mean MOVES?" in str(run(served[0], "MOVED").exception)


def test_a_forged_file_counts_for_nothing_and_an_edited_one_is_named(served, tmp_path):
    import shutil

    home = shutil.copytree(served[0], tmp_path / "home")
    before = json.loads(run(home, "MOVES", "--json").stdout)
    part = sorted((home / "served").rglob("*.parquet"))[0]
    table = pd.read_parquet(part)
    better = table.assign(published=100.0, served_at=table["served_at"] - pd.Timedelta(minutes=5))
    better.to_parquet(part.parent / "forged-000000.parquet", index=False)
    after = json.loads(run(home, "MOVES", "--json").stdout)
    assert after["figures"] == before["figures"] and len(after["chain"]["unchained"]) == 1
    better.to_parquet(part, index=False)
    done = run(home, "MOVES")
    assert done.exit_code == 3 and f"broken at {part.parent.name}/{part.name}" in done.stdout
