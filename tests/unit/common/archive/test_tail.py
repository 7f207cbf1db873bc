"""Reading only the end of an archive gives the same new rows as reading all of it."""

import datetime as dt
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.training.night import FIRST_END, write_archive

from common.archive.reader import read_archive
from common.prices.panel import Panel
from common.release.refresh import add_rows
from train.pipeline.refresh import read_newer


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "archive", FIRST_END)


@pytest.fixture(scope="module")
def complete(archive) -> Panel:
    return Panel.from_archive(read_archive(archive))


@pytest.mark.parametrize("end", ["2021-12-30", "2021-12-31", "2022-01-03", "2022-03-11", "2022-08-31"])
def test_new_rows_are_those_of_the_whole_archive(archive, complete, end, tmp_path):
    before = Panel(complete.as_of(end).frame, "synthetic archive")
    prices = read_newer(archive, tmp_path, before)
    assert prices.since is not None
    assert (len(prices.panel.frame) < len(complete.frame)) is (end >= "2022-03")
    assert add_rows(before, prices.panel).fingerprint() == add_rows(before, complete).fingerprint()
    assert add_rows(before, complete).dates[-1] == complete.dates[-1]


def test_every_session_of_the_end_gives_the_same_rows(archive, complete, tmp_path):
    for end in complete.dates[-15:-1]:
        before = Panel(complete.as_of(end).frame, "synthetic archive")
        panel = read_newer(archive, tmp_path, before).panel
        assert add_rows(before, panel).fingerprint() == add_rows(before, complete).fingerprint(), end


def test_an_archive_that_ends_earlier_is_read_completely(archive, complete, tmp_path):
    later = complete.frame.assign(date=complete.frame["date"] + pd.Timedelta(days=400))
    before = Panel.from_frame(later.assign(known=later["date"]), "synthetic archive")
    assert read_newer(archive, tmp_path, before).panel.dates[-1] == complete.dates[-1]


def test_a_stock_that_trades_again_after_a_long_pause_needs_the_whole_archive(archive, complete, tmp_path):
    before = Panel(complete.as_of("2022-08-31").frame, "synthetic archive")
    path = next(archive.glob("*2022.csv"))
    text = path.read_text()
    lines = [line for line in text.splitlines(keepends=True) if ",ABSA," not in line or "-Sep-" in line]
    path.write_text("".join(lines))
    try:
        prices = read_newer(archive, tmp_path, before)
        assert prices.since is None and prices.panel.dates[0] == complete.dates[0]
    finally:
        path.write_text(text)


def test_only_files_of_earlier_years_are_left_out_by_their_names(archive):
    both = ["NSE_data_all_stocks_2021.csv", "NSE_data_all_stocks_2022.csv"]
    for since, names in (("2021-12-31", both), ("2022-01-01", both[1:]), ("2031-01-01", both[1:])):
        read = read_archive(archive, since=dt.date.fromisoformat(since))
        assert read.counts["file"].tolist() == names


def test_files_of_other_names_are_read_whatever_year_they_name(archive, tmp_path):
    shutil.copytree(archive, tmp_path / "files")
    (tmp_path / "files/NSE_data_all_stocks_2022.csv").rename(tmp_path / "files/nse_since_2013.csv")
    (tmp_path / "files/NSE_data_stock_market_sectors_2023_2024.csv").write_text("Sector,Stock_code\n")
    read = read_archive(tmp_path / "files", since=dt.date(2022, 6, 1))
    assert "nse_since_2013.csv" in read.counts["file"].tolist() and len(read.rows)
