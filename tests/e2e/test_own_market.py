"""The tutorial, followed from files of another exchange to forecasts of it."""

import contextlib
import datetime as dt
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import holidays
import numpy as np
import pytest
from support.docs import ROOT, Block, blocks, commands
from support.prices.market import INDEX, SYMBOLS, made_market
from typer.testing import CliRunner

import nsecast
from common.archive.layouts import MARKET_INDEX
from common.release.registry import Registry
from serve.forecaster import Forecaster

pytestmark = pytest.mark.e2e
TUTORIAL = ROOT / "docs" / "tutorial.md"
BEFORE = {("git",), ("cd",), ("make", "setup"), (".",)}
"""The clone and its environment are the test's own."""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of a reader who did all of it in order, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("reader"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("NSECAST_HOME", raising=False)
        for block in blocks(TUTORIAL, "sh", "toml", "python", ""):
            printed.append(do(block, printed[-1] if printed else ""))
        yield folder, "\n".join(printed)


def do(block: Block, before: str) -> str:
    """Do what a block says; returns what was printed."""
    if block.kind == "sh":
        return "\n".join(filter(None, map(shell, commands(block.text))))
    if block.kind == "toml":
        Path(re.findall(r"`([\w./-]+\.toml)`", block.before)[-1]).write_text(block.text)
    elif block.kind == "python":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, TUTORIAL.name, "exec"), {})
        return printed.getvalue()
    else:  # the documented output of the command above
        assert block.text.strip() in before
    return ""


def shell(words: list[str]) -> str:
    if words[0] == "python":
        words = [sys.executable, str(ROOT / words[1]), *words[2:]]
    elif words[:2] == ["nsecast", "train"] and "--dry-run" not in words:
        words = [sys.executable, "-m", *words]
    elif words[0] == "nsecast":
        done = CliRunner().invoke(nsecast.app, words[1:])
        assert done.exit_code == 0, f"{' '.join(words)}: {done.output[-2_000:]} {done.exception!r}"
        return done.output
    elif any(tuple(words[: len(item)]) == item for item in BEFORE):
        return ""
    else:
        assert words[0] == "head", words
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-2_000:]}"
    return done.stdout.replace("\r", "")


def test_every_price_of_the_files_is_in_the_release(followed):
    forecaster, market = Forecaster.from_release(home=followed[0] / "nsecast-data"), made_market()
    panel = forecaster.loaded.panel
    assert set(panel.symbols) == {*SYMBOLS, MARKET_INDEX}
    for symbol in (*SYMBOLS, INDEX):
        rows = market[market["symbol"] == symbol]
        history = panel.history(MARKET_INDEX if symbol == INDEX else symbol)
        np.testing.assert_array_equal(history["close"], rows["close"])
        assert history["date"].tolist() == rows["date"].tolist()


def test_its_own_sectors_country_and_specific_model_are_served(followed):
    home = followed[0] / "nsecast-data"
    loaded = Forecaster.from_release(home=home).loaded
    assert loaded.sectors.keys() == {"Stone", "Resin and Wood"} and loaded.universe.country == "JO"
    assert loaded.own == {"ADOBE"} and loaded.release.info["quick"]
    assert Registry(home).production() == loaded.release.id


def test_the_days_forecast_are_of_its_week_and_none_of_its_holidays(followed):
    forecaster = Forecaster.from_release(home=followed[0] / "nsecast-data")
    frame, closed = forecaster.predict(), holidays.country_holidays("JO", years=(2022, 2023))
    assert set(frame["symbol"]) == set(SYMBOLS)
    assert (frame["lower90"] <= frame["prediction"]).all() and (frame["prediction"] <= frame["upper90"]).all()
    days = {day.date() for day in frame["target_date"]}
    assert all(
        day.strftime("%a") in ("Sun", "Mon", "Tue", "Wed", "Thu") and day not in closed for day in days
    )
    (last,) = frame["last_date"].unique()
    day, ahead = last.date(), 0
    while ahead < 30:  # the obvious walk through the calendar
        day += dt.timedelta(1)
        ahead += day.weekday() not in (4, 5) and day not in closed
    assert frame.loc[frame["horizon"] == "30d", "target_date"].unique() == [np.datetime64(day)]


def test_the_output_says_that_prices_are_synthetic_and_that_nothing_is_new(followed):
    _, printed = followed
    assert printed.count("SYNTHETIC DATA") >= 4
    for words in ("adobe_daily.txt", "Adobe Bricks Co", "nothing to do", "intervals: share covered"):
        assert words in printed
    assert "Kinachotarajiwa" not in printed


def test_a_row_that_is_wrong_is_counted_and_named_in_the_ledger(followed, tmp_path):
    folder = tmp_path / "market"
    folder.mkdir()
    for path in (followed[0] / "my-market").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    path = folder / "ebony_daily.txt"
    path.write_text(path.read_text().replace("01/12/2022", "2022-12-01"))
    words = ["data", "check", "--archive", str(folder), "--rejects", str(tmp_path / "ledger.csv"), "--json"]
    payload = json.loads(CliRunner().invoke(nsecast.app, words).stdout)
    assert payload["totals"]["rejected"] == 1
    assert (
        "ebony_daily.txt,2,rejected,not a date: '2022-12-01',EBONY" in (tmp_path / "ledger.csv").read_text()
    )
