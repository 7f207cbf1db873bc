"""Rows that are posted are read like those of a file, next to the release's last sessions."""

import pandas as pd
import pytest
from support.training.night import FIRST_END, write_archive

from common.archive.flags import Flag
from common.archive.reader import read_archive
from common.archive.text_files import split
from common.errors import BadRequest
from common.prices.panel import Panel
from common.release.posted_prices import read_posted
from common.release.refresh import add_rows

DAY = "2024-01-02"


def row(symbol: str = "SCOM", **fields: str) -> dict[str, str]:
    return {"date": DAY, "symbol": symbol, "close": "10.5"} | fields


@pytest.fixture(scope="module")
def panel() -> Panel:
    days = pd.bdate_range(end="2024-01-01", periods=30)
    rows = {"date": days, "close": 10.0, "low": 9.9, "high": 10.1, "volume": 5.0, "flags": 0, "known": days}
    symbols = ("A", "B", "C", "D", "E", "F", "SCOM")
    frame = pd.concat([pd.DataFrame(rows | {"symbol": symbol}) for symbol in symbols])
    return Panel.from_frame(frame, "archive")


@pytest.mark.parametrize("written", [DAY, "2-Jan-2024", "02-Jan-24"])
def test_a_row_is_taken_with_its_text_or_numbers(panel, written):
    fields = {"low": "10.25", "high": "10.75", "volume": "1,234", "previous": "10.0"}
    prices = read_posted([row(date=written, **fields)], panel)
    new = add_rows(panel, prices.panel).history("SCOM").iloc[-1]
    assert (new["close"], new["low"], new["high"], new["volume"]) == (10.5, 10.25, 10.75, 1234)
    assert f"{new['date']:%Y-%m-%d}" == f"{new['known']:%Y-%m-%d}" == DAY
    assert prices.rejects.empty and prices.partial


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"close": "-"}, "no price"),
        ({"close": "ten"}, "price is not a number: 'ten'"),
        ({"close": "-1"}, "price is not positive: -1"),
        ({"symbol": "not a symbol"}, "not a symbol"),
        ({"symbol": "SCOM,x\n9-Jan-2024,KCB"}, "not a symbol"),
        ({"symbol": '"'}, "not a symbol"),
        ({"symbol": "\ud800"}, "not a symbol"),
    ],
)
def test_a_bad_row_is_rejected_by_name_with_its_reason_and_the_others_are_taken(panel, fields, reason):
    prices = read_posted([row("A"), row("SCOM") | fields, row("B")], panel)
    (rejected,) = prices.rejects.itertuples()
    assert rejected.line == 2 and rejected.reason.startswith(reason)
    new = prices.panel.frame[prices.panel.frame["date"] == DAY]
    assert sorted(new["symbol"]) == ["A", "B"]


@pytest.mark.parametrize("date", ["2024-01-06", "06-Jan-2024", "yesterday", "../x", ""])
def test_a_day_without_trading_or_no_date_rejects_every_row(panel, date):
    prices = read_posted([row(date=date), row("A", date=date)], panel)
    assert len(prices.rejects) == 2 and add_rows(panel, prices.panel) is panel


def test_rows_of_two_days_are_refused(panel):
    with pytest.raises(BadRequest, match="got 2 days"):
        read_posted([row(), row("A", date="2024-01-03")], panel)


def test_a_second_row_of_a_stock_is_rejected_as_in_a_file(panel):
    prices = read_posted([row(), row(close="11")], panel)
    assert prices.rejects["reason"].tolist()[0].startswith("conflicts with posted-2024-01-02.csv:2: close 11")


def test_a_day_that_repeats_the_session_before_is_marked_as_a_copy(panel):
    moved = Panel.from_frame(
        panel.frame.assign(close=panel.frame["close"] + 0.01 * panel.frame["date"].dt.day), "archive"
    )
    last = moved.frame[moved.frame["date"] == moved.dates[-1]]
    before = moved.frame[moved.frame["date"] == moved.dates[-2]].set_index("symbol")["close"]
    texts = last.assign(previous=last["symbol"].map(before))
    rows = [
        row(str(each.symbol))
        | {name: repr(float(getattr(each, name))) for name in ("close", "low", "high", "previous", "volume")}
        for each in texts.itertuples()
    ]
    new = read_posted(rows, moved).panel.frame
    assert ((new[new["date"] == DAY]["flags"] & int(Flag.STALE)) != 0).all()


def test_posting_a_day_gives_the_rows_of_a_file_with_that_day(tmp_path):
    archive = write_archive(tmp_path / "archive", FIRST_END)
    complete = Panel.from_archive(read_archive(archive), "synthetic archive")
    before = complete.as_of(complete.dates[-2])
    path = next(archive.glob("*2022.csv"))
    lines = [split(line) for line in path.read_text().splitlines()[1:]]
    names = {"date": 0, "symbol": 1, "low": 5, "high": 6, "close": 7, "previous": 8, "volume": 11}
    rows = [
        {name: fields[place] for name, place in names.items()}
        for fields in lines
        if fields[0].startswith(f"{FIRST_END.day}-Sep")
    ]
    assert len(rows) > 3
    posted = add_rows(before, read_posted(rows, before).panel)
    assert posted.fingerprint() == add_rows(before, complete).fingerprint()
