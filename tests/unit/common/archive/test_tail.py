"""Reading only the end of an archive gives the same new rows as reading all of it."""

import datetime as dt
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from support.training.night import FIRST_END, write_archive

from common.archive.layouts import NAIROBI_LAYOUT
from common.archive.reader import read_archive
from common.archive.tail import CONTEXT_LINES, older_lines
from common.prices.panel import Panel
from common.release.refresh import add_rows
from train.pipeline.refresh import read_newer

NAME, SINCE = "prices_2024.csv", dt.date(2024, 3, 1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "archive", FIRST_END)


@pytest.fixture(scope="module")
def complete(archive) -> Panel:
    return Panel.from_archive(read_archive(archive))


@pytest.mark.parametrize("end", ["2021-12-30", "2021-12-31", "2022-01-03", "2022-03-11", "2022-08-31"])
def test_new_rows_are_those_of_the_whole_archive(archive, complete, end, tmp_path):
    before = Panel(complete.as_of(end).frame, "synthetic archive")
    rows, prices = read_newer(archive, tmp_path, before)
    assert prices.since is not None and len(rows.rows) < len(complete.frame)
    assert add_rows(before, prices.panel).fingerprint() == add_rows(before, complete).fingerprint()
    assert add_rows(before, complete).dates[-1] == complete.dates[-1]


def test_every_session_of_the_end_gives_the_same_rows(archive, complete, tmp_path):
    for end in complete.dates[-15:-1]:
        before = Panel(complete.as_of(end).frame, "synthetic archive")
        panel = read_newer(archive, tmp_path, before)[1].panel
        assert add_rows(before, panel).fingerprint() == add_rows(before, complete).fingerprint(), end


def test_an_archive_that_ends_earlier_is_read_completely(archive, complete, tmp_path):
    later = complete.frame.assign(date=complete.frame["date"] + pd.Timedelta(days=400))
    before = Panel.from_frame(later.assign(known=later["date"]), "synthetic archive")
    assert read_newer(archive, tmp_path, before)[1].panel.dates[-1] == complete.dates[-1]


def test_a_stock_that_trades_again_after_a_long_pause_needs_the_whole_archive(archive, complete, tmp_path):
    before = Panel(complete.as_of("2022-08-31").frame, "synthetic archive")
    path = next(archive.glob("*2022.csv"))
    text = path.read_text()
    lines = [line for line in text.splitlines(keepends=True) if ",ABSA," not in line or "-Sep-" in line]
    path.write_text("".join(lines))
    try:
        rows, prices = read_newer(archive, tmp_path, before)
        assert prices.since is None and rows.rows["date"].min() == complete.dates[0]
    finally:
        path.write_text(text)


def lines(*dates: str) -> list[str]:
    return [f"{date},SCOM,Safaricom,1,2,1,2,1.5,1.5,-,-,100,-" for date in dates]


count = partial(older_lines, NAME, layout=NAIROBI_LAYOUT, since=SINCE)


def test_lines_before_the_day_are_left_out_but_for_some_context():
    old, new = ["2-Jan-2024"] * 1_000, ["1-Mar-2024"] * 10
    assert count(lines(*old, *new)) == 1_000 - CONTEXT_LINES
    assert count(lines(*old)) == 1_000
    assert count(lines(*new, *old)) == 0


def test_a_date_in_another_year_than_its_file_is_read_because_it_may_be_moved():
    old = ["2-Jan-2024"] * 1_000
    assert count(lines(*old, "2-Mar-2023", "1-Mar-2024")) == 1_000 - CONTEXT_LINES
    assert count(lines("2-Jan-2023", *old, "1-Mar-2024")) == 0


def test_a_file_of_an_earlier_year_is_left_out_whatever_its_dates_say():
    old = lines(*["2-Jan-2023"] * 90, "2-Mar-2103", "")
    assert older_lines("prices_2023.csv", old, NAIROBI_LAYOUT, SINCE) == len(old)


def test_lines_without_a_date_do_not_matter():
    assert count(["", "x,y", *lines("2-Jan-2024")]) == 3
