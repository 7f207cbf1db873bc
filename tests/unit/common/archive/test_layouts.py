"""Price files as people have them: abbreviated volumes, zones, spaces, no header, former symbols."""

from pathlib import Path

import pandas as pd
import pytest
from support.prices.archive import NEW_HEADER

from common.archive.columns import FILE_NAME, Columns
from common.archive.reader import read_archive
from common.errors import ConfigError

YFINANCE = """Price,Close,High,Low,Open,Volume
Ticker,EQTY.NR,EQTY.NR,EQTY.NR,EQTY.NR,EQTY.NR
Date,,,,,
2024-10-28 00:00:00+03:00,47.5,48.0,47.0,47.2,812400
2024-10-29,47.3,47.5,47.0,47.5,0
"""
NAMES = ("symbol", "date", "close")
INVESTING = """"Date","Price","Open","High","Low","Vol.","Change %"
"10/31/2024","16.75","16.70","16.80","16.60","3.29M","0.30%"
"10/30/2024","16.70","16.80","16.85","16.65","812.40K","-0.60%"
"10/29/2024","16.80","16.80","16.90","16.70","","0.00%"
"""


def read(folder: Path, settings: str, **files: str):
    (folder / FILE_NAME).write_text(settings)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return read_archive(folder)


def test_an_investing_history_is_read_with_its_abbreviated_volumes(tmp_path):
    (tmp_path / "SCOM Historical Data.csv").write_text(INVESTING)
    archive = read(tmp_path, 'layout = "investing"')
    assert archive.ledger.empty and set(archive.rows["symbol"]) == {"SCOM"}
    assert archive.rows["close"].tolist() == [16.8, 16.7, 16.75]
    assert archive.rows["volume"].tolist()[1:] == [812_400, 3_290_000] and archive.rows["volume"].isna()[0]


def test_a_csv_of_yfinance_is_read_without_rejects(tmp_path):
    archive = read(tmp_path, 'layout = "yfinance"', EQTY__csv=YFINANCE)
    assert archive.ledger.empty and archive.rows["close"].tolist() == [47.5, 47.3]
    assert archive.rows["date"].dt.strftime("%Y-%m-%d").tolist() == ["2024-10-28", "2024-10-29"]


@pytest.mark.parametrize(("zone", "day"), [('timezone = "Africa/Nairobi"', 28), ("", 27)])
def test_a_moment_counts_for_the_day_at_the_exchange_if_its_zone_is_given(tmp_path, zone, day):
    settings = (
        f'files = "{{symbol}}.csv"\ndate_format = "%Y-%m-%d %H:%M:%S%z"\n{zone}\nweekdays = ["Sun", "Mon"]\n'
    )
    settings += '[columns]\ndate = "Date"\nclose = "Close"\n'
    archive = read(tmp_path, settings, A__csv="Date,Close\n2024-10-27 21:00:00+00:00,5\n")
    assert archive.rows["date"].dt.day.tolist() == [day]


@pytest.mark.parametrize("space", [" ", "\u00a0", "\u202f", "\u2009"])
def test_any_space_separates_thousands(tmp_path, space):
    settings = 'files = "{symbol}.csv"\ndelimiter = ";"\ndecimal = ","\nthousands = " "\n'
    settings += '[columns]\ndate = "Date"\nclose = "Close"\nvolume = "Vol"\n'
    archive = read(
        tmp_path, settings, A__csv=f"Date;Close;Vol\n2024-10-28;1{space}234,50;2{space}345{space}678\n"
    )
    assert archive.rows[["close", "volume"]].to_numpy().tolist() == [[1234.5, 2345678]]


@pytest.mark.parametrize("names", ['header = ["Code", "Day", "Close"]', ""])
def test_a_file_without_a_header_is_read_by_given_names_or_numbers(tmp_path, names):
    places = ("'Code'", "'Day'", "'Close'") if names else (1, 2, 3)
    settings = f"header_line = 0\n{names}\n[columns]\n"
    settings += "".join(f"{name} = {place}\n" for name, place in zip(NAMES, places, strict=True))
    archive = read(tmp_path, settings, a__csv="abc,2024-01-02,5\nabc,2024-01-03,(6)\nabc,2024-01-04,7\n")
    assert archive.rows["close"].tolist() == [5, 7]
    (entry,) = archive.ledger.itertuples()
    assert entry.line == 2 and entry.reason == "price is not positive: (6)"


def test_each_file_may_have_its_own_form_of_dates(tmp_path):
    settings = 'date_format = { "old*" = "%m/%d/%Y", "*" = "%d/%m/%Y" }\n'
    settings += '[columns]\nsymbol = "S"\ndate = "D"\nclose = "C"\n'
    archive = read(tmp_path, settings, old__csv="S,D,C\nA,01/31/2012,5\n", new__csv="S,D,C\nA,31/01/2013,6\n")
    assert archive.ledger.empty and archive.rows["date"].dt.month.tolist() == [1, 1]


def test_a_renamed_share_is_one_share_until_its_symbol_belongs_to_another(tmp_path):
    settings = '[columns]\nsymbol = "S"\ndate = "D"\nclose = "C"\n'
    settings += '[renamed]\nOLD = "NEW"\nCAT = { to = "DOG", since = 2013-01-02 }\n'
    rows = (
        "S,D,C\nOLD,2012-12-31,5\nNEW,2013-01-02,5\nCAT,2012-12-31,7\nCAT,2013-01-02,70\nDOG,2013-01-02,7\n"
    )
    archive = read(tmp_path, settings, a__csv=rows)
    assert archive.rows.groupby("symbol").size().to_dict() == {"CAT": 1, "DOG": 2, "NEW": 2}


def test_the_exchanges_early_files_are_read_and_their_former_symbols_joined(tmp_path):
    early = NEW_HEADER.rsplit(",", 1)[0] + ",Adjusted"
    line = '{},BBK,Barclays Bank,10,20,15.5,15.8,{},15.5,0.25,1.61%,"538,100",-'
    (tmp_path / "NSE_data_all_stocks_2008.csv").write_text(
        "\n".join([early, line.format("1/31/2008", 15.5), line.format("2/1/2008", 15.75)])
    )
    archive = read(tmp_path, 'layout = "nse"')
    assert archive.ledger.empty and set(archive.rows["symbol"]) == {"ABSA"}
    assert archive.rows["date"].tolist() == [pd.Timestamp("2008-01-31"), pd.Timestamp("2008-02-01")]
    assert archive.rows["volume"].tolist() == [538_100, 538_100]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layout": "bloomberg"}, "need one of investing, yfinance, or nse alone"),
        ({"date_format": ["%d/%m/%Y", "%m/%d/%Y"]}, "day and month in both orders"),
        ({"header_line": 0}, "header_line is 0: need `header`"),
        ({"timezone": "Mars"}, "'Mars' is not a time zone"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values, message):
    columns = {"date": "D", "close": "C", "symbol": "S"}
    with pytest.raises(ConfigError) as caught:
        Columns.parse({"columns": columns} | values, where=FILE_NAME)
    assert message in caught.value.message
