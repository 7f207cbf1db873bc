"""Archives whose dates were misread are noticed, and not trained on unless one insists."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from support.prices.archive import at, market, weekdays
from typer.testing import CliRunner

import nsecast
from common.archive.reader import read_archive
from common.errors import ArchiveError
from common.synthetic.market import MarketConfig, write_market
from train.cli.data import MIXED, app
from train.run.price_source import load_archive, load_panel

SYMBOLS = tuple(f"S{number:02}" for number in range(20))
DAYS = weekdays("2022-01-03", 250)
REAL = Path(os.environ.get("NSECAST_ARCHIVE") or Path(__file__).parents[5] / "shared" / "nse")


def written(folder: Path, frame: pd.DataFrame, form: str) -> Path:
    """One file for another exchange, its dates in ``form``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = frame.assign(day=frame["written"].map(lambda day: format(day, form)))
    rows[["day", "symbol", "close"]].to_csv(folder / "prices.csv", index=False)
    (folder / "columns.toml").write_text(
        'date_format = "%d/%m/%Y"\n[columns]\ndate = "day"\nsymbol = "symbol"\nclose = "close"\n'
    )
    return folder


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    """As a spreadsheet does it: where the day could be a month, the two change places."""
    days = frame["date"]
    able = days.dt.day <= 12
    other = pd.to_datetime({"year": days.dt.year, "month": days.dt.day.where(able, 1), "day": days.dt.month})
    return frame.assign(written=days.mask(able, other))


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("good"), market(DAYS, SYMBOLS), "%d/%m/%Y")


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("bad"), swapped(market(DAYS, SYMBOLS)), "%d/%m/%Y")


def test_an_archive_with_sound_dates_is_not_called_mixed_up(good):
    assert read_archive(good).mixed.empty
    assert load_panel(good, good).symbols == SYMBOLS


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory) -> Path:
    frame = swapped(market(DAYS, SYMBOLS)).sample(frac=1, random_state=0)
    return written(tmp_path_factory.mktemp("shuffled"), frame, "%d/%m/%Y")


def test_swapped_rows_of_a_file_in_order_are_rejected_and_named_and_the_others_are_read(bad):
    archive, truth = read_archive(bad), swapped(market(DAYS, SYMBOLS))
    wrong = truth[truth["written"] != truth["date"]]
    reasons = archive.ledger["reason"]
    closed = reasons.str.contains("is not a weekday")
    assert reasons[~closed].str.endswith("is out of order, and in order with day and month swapped").all()
    assert len(archive.ledger) == len(wrong) and len(archive.rows) == len(truth) - len(wrong)
    assert set(archive.rows["date"]) == set(truth[truth["written"] == truth["date"]]["date"])
    assert (archive.mixed["kind"] == "closed day").all() and len(archive.mixed) >= 20


def test_an_order_that_no_row_can_show_leaves_sound_rows_alone(good, tmp_path):
    frame = market(DAYS, SYMBOLS).assign(written=lambda frame: frame["date"])
    folder = written(tmp_path, frame.sample(frac=1, random_state=1), "%d/%m/%Y")
    pd.testing.assert_frame_equal(read_archive(folder).rows, read_archive(good).rows)
    assert read_archive(folder).ledger.empty


def test_day_and_month_swapped_are_noticed_by_steps_and_by_closed_days(shuffled):
    mixed = read_archive(shuffled).mixed
    kinds = mixed["kind"].value_counts()
    assert kinds["many steps"] >= 20 and kinds["closed day"] >= 20
    steps = mixed[mixed["kind"] == "many steps"]
    assert steps["rows"].max() >= 10
    assert steps["detail"].str.fullmatch(r"\d+ of \d+ stocks close below 0.78 or above 1.28 times .*").all()
    closed = mixed[mixed["kind"] == "closed day"]
    assert set(closed["date"].dt.day_of_week) == {5, 6} and (closed["rows"] == len(SYMBOLS)).all()


def test_the_check_says_so_with_dates_counts_and_its_exit_code(bad, good, tmp_path):
    words = ["--rejects", str(tmp_path / "ledger.csv")]
    result = CliRunner().invoke(app, ["check", "--archive", str(bad), *words])
    assert result.exit_code == MIXED == 3
    assert "DATES OR FILES LOOK MIXED UP" in result.stdout and "closed day" in result.stdout
    result = CliRunner().invoke(app, ["check", "--archive", str(bad), "--json", *words])
    outcome = json.loads(result.stdout)["mixed_dates"]
    assert result.exit_code == MIXED and {"kind", "date", "rows", "detail"} == set(outcome[0])
    result = CliRunner().invoke(app, ["check", "--archive", str(good), "--json", *words])
    assert result.exit_code == 0 and json.loads(result.stdout)["mixed_dates"] == []


def test_training_refuses_mixed_dates_unless_allowed(bad, shuffled):
    with pytest.raises(ArchiveError, match=r"look mixed up: on \d+ days many stocks .*--accept-mixed-dates"):
        load_archive(shuffled, shuffled)
    with pytest.raises(ArchiveError, match=r"on \d+ days there are rows although the exchange is closed"):
        load_archive(bad, bad)
    assert load_panel(bad, bad, accept_mixed_dates=True).symbols == SYMBOLS


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--dry-run"],
        ["tune", "--dry-run"],
        ["retrain"],
    ],
)
def test_every_command_that_trains_refuses_them_before_anything_is_written(bad, tmp_path, words):
    words = [*words, "--archive", str(bad), "--home", str(tmp_path / "home")]
    result = CliRunner().invoke(nsecast.app, words)
    assert result.exit_code == 1
    assert "look mixed up" in str(getattr(result.exception, "message", "")) + result.output
    assert not (tmp_path / "home" / "runs").exists() and not (tmp_path / "home" / "tuning").exists()


def commands_with_an_archive() -> list[str]:
    results = []
    for name, command in nsecast.Verbs().items():
        if name != "data" and any("--archive" in option.opts for option in command.params):
            results.append(name)
    return results


def test_every_command_that_reads_an_archive_can_allow_mixed_dates():
    names = commands_with_an_archive()
    assert {"train", "tune", "retrain", "backtest", "monitor", "track-record"} <= set(names)
    for name in names:
        options = {word for option in nsecast.Verbs()[name].params for word in option.opts}
        assert "--accept-mixed-dates" in options, name


def test_one_day_on_which_a_tenth_of_the_stocks_step_is_taken_and_one_more_stock_is_not(tmp_path):
    for stocks, mixed in ((2, []), (3, [DAYS[100]])):
        frame = market(DAYS, SYMBOLS).astype({"close": float})
        later = frame["symbol"].isin(SYMBOLS[:stocks]) & (frame["date"] >= DAYS[100])
        frame["close"] = frame["close"].mask(later, (frame["close"] * 0.7).round(2))
        result = read_archive(written(tmp_path / f"{stocks}", frame, "%d/%m/%Y")).mixed
        assert result["date"].tolist() == mixed


def test_a_listed_action_is_no_sign_of_mixed_dates(tmp_path):
    frame = market(DAYS, SYMBOLS).astype({"close": float})
    later = frame["symbol"].isin(SYMBOLS[:3]) & (frame["date"] >= DAYS[100])
    folder = written(tmp_path, frame.assign(close=frame["close"].mask(later, frame["close"] / 2)), "%d/%m/%Y")
    assert len(read_archive(folder).mixed) == 1
    entry = (
        '[[action]]\nsymbol = "S00"\nex_date = {:%Y-%m-%d}\nkind = "split"\nratio = "1/2"\nevidence = "x"\n'
    )
    (folder / "corporate_actions.toml").write_text(entry.format(DAYS[100]))
    assert read_archive(folder).mixed.empty


def test_a_day_repeated_with_other_closes_is_reported_and_an_exact_repetition_is_not(tmp_path):
    frame = market(DAYS[:60], SYMBOLS).astype({"close": float})
    again = frame[frame["date"] == DAYS[30]]
    for factor, mixed in ((1.0, []), (1.02, [("day twice", DAYS[30], len(SYMBOLS))])):
        second = again.assign(close=(again["close"] * factor).round(2))
        archive = read_archive(written(tmp_path / f"{factor}", pd.concat([frame, second]), "%d/%m/%Y"))
        assert [*archive.mixed[["kind", "date", "rows"]].itertuples(index=False, name=None)] == mixed


def test_a_gap_of_months_is_no_sign_of_mixed_dates(tmp_path):
    frame = market(weekdays("2022-01-03", 250), SYMBOLS).astype({"close": float})
    later = frame["date"] >= DAYS[150]
    frame = frame.assign(close=frame["close"].mask(later, (frame["close"] * 0.6).round(2)))
    kept = frame[(frame["date"] < DAYS[100]) | later]
    assert read_archive(written(tmp_path, kept, "%d/%m/%Y")).mixed.empty


def test_four_days_of_a_year_on_which_the_exchange_is_closed_are_taken_and_five_are_not(tmp_path):
    saturdays = [day + pd.Timedelta(days=5) for day in weekdays("2022-01-03", 25)[::5]]
    for count in (4, 5):
        frame = market(sorted([*DAYS[:60], *saturdays[:count]]), SYMBOLS)
        result = read_archive(written(tmp_path / f"{count}", frame, "%d/%m/%Y")).mixed
        assert result["date"].tolist() == (saturdays if count == 5 else [])
        assert set(result["kind"]) <= {"closed day"}


def test_the_embedded_market_is_not_called_mixed_up(tmp_path):
    write_market(tmp_path, MarketConfig(symbols=30, first_day="2021-01-04", last_day="2022-12-30"))
    assert read_archive(tmp_path).mixed.empty


@pytest.mark.skipif(not any(REAL.glob("NSE_data_all_stocks_*.csv")), reason=f"no price files in {REAL}")
def test_the_real_archive_is_not_called_mixed_up():
    assert read_archive(REAL).mixed.empty


def test_a_single_symbol_dated_on_a_closed_day_is_detected(tmp_path):
    frame = market(DAYS, SYMBOLS)
    first = frame.index[[at(frame, day, "S00").to_numpy().nonzero()[0][0] for day in DAYS[:50:5]]]
    frame.loc[first, "written"] = [day + pd.Timedelta(days=5) for day in DAYS[:50:5]]
    result = read_archive(written(tmp_path, frame, "%d/%m/%Y")).mixed
    assert (result["kind"] == "closed day").all() and result["rows"].tolist() == [1] * 10
