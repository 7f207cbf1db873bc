"""Another exchange's files: named, written and kept otherwise, and read by the same reader."""

import datetime as dt
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.prices.archive import market, weekdays, write
from support.prices.market import (
    INDEX,
    ONE_FILE_EACH,
    ONE_LONG_FILE,
    SYMBOLS,
    UNIVERSE,
    made_market,
    write_one_file_each,
    write_one_long_file,
)

from common.archive.columns import FILE_NAME, Columns
from common.archive.forms import number_pattern, parse_date, parse_number
from common.archive.layouts import MARKET_INDEX
from common.archive.reader import read_archive
from common.errors import ArchiveError, ConfigError, UniverseError
from common.exchange.calendar import Sessions
from common.exchange.clock import NAIROBI_CLOCK
from common.exchange.universe import Universe, load_universe
from common.prices.market_days import market_days
from common.prices.panel import Panel

MARKET = made_market(40)
NAMED = {"date": "Day", "close": "Close", "symbol": "Code"}


def write_mapped(folder: Path, market: pd.DataFrame, *, long: bool = False) -> Path:
    folder = (write_one_long_file if long else write_one_file_each)(folder, market)
    (folder / FILE_NAME).write_text(ONE_LONG_FILE if long else ONE_FILE_EACH)
    return folder


def columns(**values) -> Columns:
    return Columns.parse({"columns": NAMED} | values, where="columns.toml")


@pytest.mark.parametrize("long", [False, True])
def test_every_price_of_another_exchange_is_read_as_it_was_written(tmp_path, long):
    archive = read_archive(write_mapped(tmp_path, MARKET, long=long))
    assert archive.ledger.empty and archive.notes.empty
    expected = MARKET.replace({"symbol": {INDEX: MARKET_INDEX}}).sort_values(["symbol", "date"])
    for name in ("symbol", "close", "low", "high", "volume"):
        assert archive.rows[name].tolist() == expected[name].tolist()
    assert (archive.rows["date"].to_numpy() == expected["date"].to_numpy()).all()
    assert (archive.rows["known"] == archive.rows["date"]).all()
    assert archive.counts["accepted"].sum() == len(MARKET)


def test_the_index_of_all_shares_is_the_markets_and_no_stock(tmp_path):
    panel = Panel.from_archive(read_archive(write_mapped(tmp_path, MARKET, long=True)))
    days, index = market_days(panel), MARKET[MARKET["symbol"] == INDEX]
    np.testing.assert_allclose(days["market"].iloc[1:], np.diff(np.log(index["close"])))
    stocks = MARKET[MARKET["symbol"] != INDEX]
    assert (
        days["active"].iloc[5] == (stocks[stocks["date"] == days.index[5]]["volume"] > 0).mean()
    )  # volume 0 where it did not move


def test_rejected_rows_are_counted_and_named_by_file_and_line(tmp_path):
    folder = write_mapped(tmp_path, MARKET)
    path = folder / "copal_daily.txt"
    header, *lines = path.read_text().splitlines()
    good = lines[0].split(";")
    bad = {
        "price is not a number: '16.75'": ["16.75", *good[1:]],  # a point where a comma should be
        "price is not positive: 0": ["0", *good[1:]],
        "no price": ["", *good[1:]],
        "not a date: '2021-02-01'": [*good[:-1], "2021-02-01"],
        "date 05/02/2021 is not one of Sun, Mon, Tue, Wed, Thu": [*good[:-1], "05/02/2021"],
        "6 fields, need 7": good[1:],
    }
    path.write_text("\n".join([header, *(";".join(fields) for fields in bad.values()), *lines]) + "\n")
    archive = read_archive(folder)
    rejected = archive.ledger[archive.ledger["outcome"] == "rejected"]
    assert rejected["reason"].tolist() == list(bad)
    assert rejected["line"].tolist() == [2, 3, 4, 5, 6, 7] and set(rejected["file"]) == {path.name}
    counts = archive.counts.set_index("file").loc[path.name]
    assert (counts["read"], counts["accepted"], counts["rejected"]) == (len(lines) + 6, len(lines), 6)


def test_line_numbers_include_the_lines_above_the_header(tmp_path):
    folder = write_mapped(tmp_path, MARKET, long=True)
    with (folder / "all prices.tsv").open("a") as stream:
        stream.write("2021-01-04\tADOBE\t1\t1\t1\t1\t1\n")
    (entry,) = read_archive(folder).ledger.itertuples()
    assert entry.line == 3 + len(MARKET) + 1 and entry.reason.startswith("conflicts with all prices.tsv:")


def test_a_session_that_is_missing_is_rebuilt_on_a_day_of_that_exchanges_week(tmp_path):
    sundays = MARKET["date"].dt.day_name() == "Sunday"
    gone = MARKET["date"][sundays].unique()[3]
    archive = read_archive(write_mapped(tmp_path, MARKET[MARKET["date"] != gone]))
    rebuilt = archive.rows[archive.rows["known"] > archive.rows["date"]]
    assert rebuilt["date"].unique().tolist() == [gone]
    truth = MARKET[MARKET["date"] == gone].replace({"symbol": {INDEX: MARKET_INDEX}})
    assert rebuilt.set_index("symbol")["close"].to_dict() == truth.set_index("symbol")["close"].to_dict()


def test_columns_that_are_not_there_are_unknown_and_not_a_fault(tmp_path):
    (tmp_path / FILE_NAME).write_text('[columns]\ndate = "Day"\nclose = "Close"\nsymbol = "Code"\n')
    (tmp_path / "prices.csv").write_text('Code,Day,Close\nabc,2024-01-02,"1,000.5"\nabc,2024-01-03,1001\n')
    archive = read_archive(tmp_path)
    assert archive.ledger.empty and archive.rows["close"].tolist() == [1000.5, 1001.0]
    assert archive.rows["symbol"].unique().tolist() == ["ABC"]
    assert archive.rows[["low", "high", "volume"]].isna().all(axis=None)


def test_a_file_without_the_named_columns_is_noted_and_the_others_are_read(tmp_path):
    folder = write_mapped(tmp_path, MARKET)
    (folder / "zinc_daily.txt").write_text("Date,Close\n2024-01-02,5\n")
    (folder / "readme.csv").write_text("not for us")
    archive = read_archive(folder)
    (note,) = archive.notes.itertuples()
    assert note.kind == "file ignored" and note.detail.startswith(
        "zinc_daily.txt: no column Session, Closing"
    )
    assert archive.rows["symbol"].nunique() == len(SYMBOLS) + 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"A.csv": "Day,Code,Price\n"}, "A.csv: no column Close in its header, Day,Code,Price"),
        ({"A.txt": "Day,Code,Close\n"}, r"no name matches '\*.csv'. Correct `files`."),
    ],
)
def test_a_folder_without_prices_says_what_was_looked_for(tmp_path, files, message):
    (tmp_path / FILE_NAME).write_text('[columns]\ndate = "Day"\nclose = "Close"\nsymbol = "Code"\n')
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ArchiveError, match=message):
        read_archive(tmp_path)


def test_without_columns_toml_the_exchanges_own_files_are_read_and_its_absence_is_a_hint(tmp_path):
    assert len(read_archive(write(tmp_path / "nse", market(weekdays("2023-03-06", 3)))).rows) == 24
    (tmp_path / "other.csv").write_text("Day,Code,Close\n")
    with pytest.raises(ArchiveError, match=r"write a columns\.toml into it"):
        read_archive(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colums": NAMED}, "colums: no such setting"),
        ({"columns": {"date": "Day"}}, "columns.close: Field required"),
        ({"columns": NAMED | {"closing": "X"}}, "columns.closing: no such setting; known there: date, close"),
        ({"columns": {"date": "Day", "close": "Close"}}, "need either the column of the symbol, or {symbol}"),
        ({"files": "{symbol}.csv"}, "need either the column of the symbol, or {symbol} once in files"),
        ({"delimiter": "||"}, "delimiter"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"date_format": "DD/MM/YYYY"}, "date_format: 'DD/MM/YYYY' does not contain day, month and year"),
        ({"date_format": "%d/%m"}, "does not contain day, month and year"),
        ({"encoding": "utf-9"}, "encoding: 'utf-9' is not known to Python"),
        ({"encoding": "hex"}, "encoding: 'hex' is not known to Python"),
        ({"weekdays": ["Sunday"]}, "weekdays.0"),
        ({"weekdays": []}, "weekdays"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_by_name(values, message):
    with pytest.raises(ConfigError) as caught:
        columns(**values)
    assert message in caught.value.message and caught.value.message.startswith("columns.toml: ")


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%y", "%b %d, %Y", "%Y%m%d", "%Y-%m-%dT%H:%M:%S%z"])
def test_dates_are_read_in_the_declared_form_alone(form):
    day = dt.datetime(2024, 6, 3, tzinfo=dt.UTC)
    assert parse_date(day.strftime(form), form) == dt.datetime(2024, 6, 3)
    assert parse_date("3rd of June", form) is None


@given(st.decimals(0, 10**9, places=2), st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'")]))
def test_a_number_is_read_with_its_decimal_and_thousands_marks(value, marks):
    point, group = marks
    form, expected = number_pattern(point, group), float(value)
    for text in (f"{value:,.2f}", f"{value:.2f}"):
        written = text.translate(str.maketrans({",": group, ".": point}))
        assert parse_number(written, form, point) == expected
        assert parse_number(f"-{written}", form, point) == -expected


@pytest.mark.parametrize(
    "text", ["16,75", "1,2,3", "1,0000", ",5", "1.2.3", "1e5", "inf", "nan", "", "-", "--1"]
)
def test_a_mark_in_the_wrong_place_is_no_number(text):
    assert math.isnan(parse_number(text, number_pattern(".", ","), "."))


def test_the_days_ahead_are_of_that_exchanges_week_and_country():
    days = np.unique(MARKET["date"].to_numpy().astype("datetime64[D]"))
    sessions = Sessions(days, "JO")
    thursday = np.datetime64("2021-02-25")
    assert sessions.last == thursday and thursday.item().strftime("%a") == "Thu"
    assert sessions.ahead(thursday, 1) == dt.date(2021, 2, 28)  # a Sunday
    assert sessions.between(thursday, np.datetime64("2021-03-07")) == 6
    first_of_may = np.datetime64("2022-04-28")
    assert sessions.ahead(first_of_may, 1) > dt.date(2022, 5, 1)  # Labour Day, a Sunday
    assert Sessions(days, "").ahead(first_of_may, 1) == dt.date(2022, 5, 1)


def test_occasional_saturdays_do_not_make_saturday_a_trading_day():
    days = pd.bdate_range("2023-01-02", "2023-12-29").union([pd.Timestamp("2023-06-03")])
    sessions = Sessions(days.to_numpy().astype("datetime64[D]"), "")
    assert sessions.ahead(np.datetime64("2024-02-02"), 1) == dt.date(2024, 2, 5)


def test_the_country_of_a_universe_travels_with_it_and_nairobi_is_not_spelt_out(tmp_path):
    path = tmp_path / "universe.toml"
    path.write_text(UNIVERSE)
    universe = load_universe(path)
    assert universe.country == "JO" and Universe.from_dict(universe.as_dict()) == universe
    assert load_universe().as_dict().keys() == {"stocks"}
    assert replace(universe, country="KE", clock=NAIROBI_CLOCK).as_dict().keys() == {"stocks"}
    path.write_text(UNIVERSE.replace('"JO"', '"Jordan"'))
    with pytest.raises(UniverseError, match="country: got 'Jordan', need two letters"):
        load_universe(path)
