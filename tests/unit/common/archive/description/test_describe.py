"""Files that were never seen are described, and read back by their description."""

import json

import pandas as pd
import pytest
import tomli_w
from typer.testing import CliRunner

from common.archive.columns import FILE_NAME
from common.archive.description.describe import describe_files
from common.archive.description.described_file import Undecided
from common.archive.reader import read_archive
from common.errors import ArchiveError
from train.cli.data import app


def test_an_order_of_day_and_month_that_cannot_be_told_is_asked_for(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date,Close\n01/02/2023,5\n02/03/2023,6\n")
    with pytest.raises(Undecided, match="--day-first or --month-first"):
        describe_files([path])
    assert describe_files([path], day_first=True).settings["date_format"] == "%d/%m/%Y"
    assert describe_files([path], day_first=False).settings["date_format"] == "%m/%d/%Y"


def test_the_order_is_told_by_all_dates_and_a_last_line_without_one_does_not_matter(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date,Close\n01/02/2023,5\n13/02/2023,6\nTotal,11\n")
    found = describe_files([path])
    assert found.settings["date_format"] == "%d/%m/%Y"
    assert "1 dates do not have the form %d/%m/%Y" in found.doubts


def test_dates_that_may_be_read_wrongly_are_doubted(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date,Close\n23/01/02,5\n23/01/03,6\n")  # 2 and 3 January 2023
    assert "years have two digits: read as 2023-01-02 to 2023-01-03" in describe_files([path]).doubts
    path.write_text("Date,Close\n2023-01-01 21:00:00+00:00,5\n")  # Monday in Nairobi
    found = describe_files([path])
    assert found.settings["timezone"] == "Africa/Nairobi" and found.rows[0]["date"] == "2023-01-02"
    assert any("1 of them for another day" in doubt for doubt in found.doubts)
    path.write_text("Date,Close\n02/01/2023,5\n03/01/2023,6\n09/04/2023,7\n")  # as month/day, 4 September
    doubts = describe_files([path], day_first=True).doubts
    assert any("or day and month are in the other order" in doubt for doubt in doubts)


@pytest.mark.parametrize("text", ["", "hello", "a,b\nc,d\n", "Code,Price\nA,5\n", "\x00\x01"])
def test_a_file_without_prices_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ArchiveError, match=r"no line has a date and a number\. Give"):
        describe_files([tmp_path / "x.csv"])


def described(folder, files, **options):
    """Write files, describe them together, and read them by the result."""
    for name, text in files.items():
        (folder / name).write_text(text)
    found = describe_files([folder / name for name in files], **options)
    (folder / FILE_NAME).write_text(tomli_w.dumps(found.settings))
    return found, read_archive(folder)


def lines(*rows: str, header: str = "Date,Close") -> str:
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("dates", "days", "form"),
    [
        (["31/01/2023", "02/01/2023"], [31, 2], "%d/%m/%Y"),  # the file with a 31 settles the other
        (["2023-01-31", "31.01.2023"], [31, 31], ["%Y-%m-%d", "%d.%m.%Y"]),
        (["31/01/2023", "01/30/2023"], [31, 30], {"A.csv": "%d/%m/%Y", "B.csv": "%m/%d/%Y"}),
    ],
)
def test_dates_are_described_by_all_files(tmp_path, dates, days, form):
    files = dict(zip(("A.csv", "B.csv"), (lines(f"{date},5") for date in dates), strict=True))
    found, archive = described(tmp_path, files)
    assert found.settings["date_format"] == form and archive.rows["date"].dt.day.tolist() == days


def test_files_with_both_orders_leave_a_third_one_open(tmp_path):
    files = {"A.csv": "31/01/2023,5", "B.csv": "01/31/2023,5", "C.csv": "01/02/2023,5"}
    with pytest.raises(Undecided, match=r"C\.csv: '01/02/2023' may be .* files have both"):
        described(tmp_path, {name: lines(row) for name, row in files.items()})
    _, archive = described(tmp_path, {name: lines(row) for name, row in files.items()}, day_first=True)
    assert archive.rows["date"].dt.strftime("%m-%d").tolist() == ["01-31", "01-31", "02-01"]


def test_several_forms_in_one_file_are_all_read_and_a_date_far_below_counts(tmp_path):
    rows = [f"{day:%d/%m/%Y},5" for day in pd.bdate_range("2023-01-02", "2023-01-12")] * 800
    found, archive = described(tmp_path, {"A.csv": lines(*rows, "13/01/2023,5", "2023-01-16,5")})
    assert found.settings["date_format"] == ["%d/%m/%Y", "%Y-%m-%d"]
    assert len(archive.rows) == 11


def test_files_that_one_description_cannot_read_are_named_by_group(tmp_path):
    a, b, c = lines("2023-01-31,5"), lines("2023-01-31;5", header="Date;Close"), lines("2023-01-30,5")
    with pytest.raises(ArchiveError, match=r"differ in delimiter: A\.csv, C\.csv; B\.csv\. Move each group"):
        described(tmp_path, {"A.csv": a, "B.csv": b, "C.csv": c})
    files = {"A.csv": '2023-01-31,"16,75"', "B.csv": "2023-01-31,16.75"}
    with pytest.raises(ArchiveError, match=r"Numbers in B\.csv are not written with , and \.,"):
        described(tmp_path, {name: lines(row) for name, row in files.items()})


def test_files_without_special_letters_have_the_encoding_of_the_others(tmp_path):
    for name, symbol in (("A.csv", "X"), ("B.csv", "Y"), ("C.csv", "Société")):
        text = lines(f"2023-01-31,{symbol[:1]},5,{symbol}", header="Date,Code,Close,Name")
        (tmp_path / name).write_bytes(text.encode("cp1252"))
    found = describe_files(sorted(tmp_path.iterdir()))
    assert found.settings["encoding"] == "cp1252" and len(found.rows) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 prices", "a compressed file or a workbook"),
        (
            b"Date,Close,Low\n2023-01-02,5,4\nDate,Low,Close\n2023-01-03,4,5\n",
            "a second table has Close, Low",
        ),
        (b"Date,Vol,Close\n2023-01-02,5,KES 5\n", r"no row is accepted, .* not a number: 'KES 5'"),
    ],
)
def test_a_file_that_would_be_read_wrongly_is_refused(tmp_path, content, message):
    (tmp_path / "A.csv").write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        describe_files([tmp_path / "A.csv"])


def test_commas_at_the_ends_of_lines_are_columns_without_a_name(tmp_path):
    files = {"A.csv": "Date,Close,,\n2023-01-02,5,,\n"}
    assert described(tmp_path, files)[1].rows["close"].tolist() == [5]
    files = {"A.csv": "Date,Close\n2023-01-02,5,\n"}
    assert described(tmp_path, files)[1].rows["close"].tolist() == [5]


def test_a_moment_at_midnight_is_the_day_as_written(tmp_path):
    found, archive = described(tmp_path, {"A.csv": lines("2023-01-03 00:00:00-05:00,5")})
    assert "timezone" not in found.settings and archive.rows["date"].dt.day.tolist() == [3]


HEADER = "Date;Close;Low;High;Vol."


@pytest.mark.parametrize(
    ("rows", "close", "header"),
    [
        (["02.01.2023;16,500;16,250;17,000;812400"], 16.5, HEADER),  # no thousands in the volume
        (["02.01.2023;16,500;16,250;17,000;1,812,400"], 16_500, HEADER),
        (["02.01.2023;0,500;0,250;1,000;-"], 0.5, HEADER),
        (["02.01.2023;16,500;0,30%"], 16.5, "Date;Close;Change"),
        (["02.01.2023;1,005;995;1,010;5"], 1_005, HEADER),  # as decimals, the low is above the high
        (["02.01.2023;1,005", "03.01.2023;995"], 1_005, "Date;Close"),  # as decimals, a jump
        (["02.01.2023;16,500"] * 9 + ["03.01.2023;16.75", "04.01.2023;16,500"], 16.5, "Date;Close"),  # a slip
        (["02.01.2023;16,500;09.30;812400"], 16.5, "Date;Close;At;Vol."),  # 09.30 is a time
    ],
)
def test_three_digits_after_a_mark_are_decimals_or_thousands_by_the_other_numbers(
    tmp_path, rows, close, header
):
    _, archive = described(tmp_path, {"A.csv": lines(*rows, header=header)})
    assert archive.rows["close"].iloc[0] == close


def test_a_mark_that_no_number_explains_is_asked_for(tmp_path):
    file = {"A.csv": lines("02.01.2023;16,500", header="Date;Close")}
    with pytest.raises(Undecided, match=r"'16,500' may have .* --decimal-comma or --decimal-point"):
        described(tmp_path, file)
    for comma, close in ((True, 16.5), (False, 16_500)):
        assert described(tmp_path, file, decimal_comma=comma)[1].rows["close"].tolist() == [close]


@pytest.mark.parametrize(
    ("names", "pattern", "symbols"),
    [
        (["SCOM.NR.csv", "EQTY.NR.csv"], "{symbol}.NR.csv", ["EQTY", "SCOM"]),
        (["NSE_SCOM.csv"], "NSE_{symbol}.csv", ["SCOM"]),
        (["SCOM Historical Data.csv"], "{symbol} Historical Data.csv", ["SCOM"]),
        (["NSE Historical Data.csv"], "{symbol} Historical Data.csv", ["NSE"]),
        (["NSEKE_SCOM, 1D.csv"], "NSEKE_{symbol}, 1D.csv", ["SCOM"]),
        (["KPLC-P4.csv", "nse.csv"], "{symbol}.csv", ["KPLC-P4", "NSE"]),
        (["SCOM_2022.csv", "KCB_2023.csv"], "{symbol}_*csv", ["KCB", "SCOM"]),
        (["SCOM.NR.csv", "KCB.csv"], "{symbol}.*csv", ["KCB", "SCOM"]),
    ],
)
def test_the_symbol_is_taken_from_the_files_name_as_people_write_it(tmp_path, names, pattern, symbols):
    found, archive = described(tmp_path, dict.fromkeys(names, lines("2023-01-31,5")))
    assert found.settings["files"] == pattern
    assert archive.rows["symbol"].tolist() == symbols


def test_a_symbol_that_follows_another_at_its_price_is_proposed_and_not_joined(tmp_path):
    days = [f"2023-01-{day:02d}" for day in range(2, 7)]
    rows = [f"{day},OLD,{10 + at / 10}" for at, day in enumerate(days[:3])]
    rows += [f"{day},NEW,10.3" for day in days[3:]] + [f"{day},IPO,50" for day in days[3:]]
    rows += [f"{day},SCOM,16" for day in days]
    found, archive = described(tmp_path, {"all.csv": lines(*rows, header="Date,Code,Close")})
    (doubt,) = (doubt for doubt in found.doubts if "[renamed]" in doubt)
    assert doubt.startswith("OLD ends on 2023-01-04 at 10.2, and NEW begins on 2023-01-05 at 10.3")
    assert set(archive.rows["symbol"]) == {"IPO", "NEW", "OLD", "SCOM"}


def test_the_command_writes_columns_toml_once_and_prints_json(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date;Close;Vol.\n31.10.2024;16,75;3,29M\n30.10.2024;16,70;812,40K\n")
    result = CliRunner().invoke(app, ["describe", str(path), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["rows"][1]["volume"] == 3_290_000
    again = CliRunner().invoke(app, ["describe", str(path)])
    assert again.exit_code == 1 and "exists" in again.exception.message
    shown = CliRunner().invoke(app, ["describe", str(path), "--replace"])
    assert "Row: symbol ABC, date 2024-10-30" in shown.stdout


def test_files_of_one_stock_each_are_named_by_what_their_names_do_not_share(tmp_path):
    for name in ("SCOM.NR.csv", "EQTY.NR.csv"):
        (tmp_path / name).write_text("Date,Close\n2023-01-31,5\n")
    found = describe_files(sorted(tmp_path.iterdir()))
    assert found.settings["files"] == "{symbol}.NR.csv" and found.doubts == []
    (tmp_path / FILE_NAME).write_text(tomli_w.dumps(found.settings))
    assert set(read_archive(tmp_path).rows["symbol"]) == {"SCOM", "EQTY"}


def test_files_named_after_companies_are_refused_with_what_to_do(tmp_path):
    for name in ("KCB", "Kenya Airways", "Kenya Power"):
        (tmp_path / f"{name} Stock Price History.csv").write_text("Date,Price\n01/31/2023,5\n")
    with pytest.raises(
        ArchiveError, match=r"Kenya Airways.*Kenya Power.*rows of KENYA on one day\. Name each file after"
    ):
        describe_files(sorted(tmp_path.iterdir()))
    (tmp_path / "KCB.csv").write_text("Tag,Kurs\n31.01.2023,5\n")
    with pytest.raises(
        ArchiveError, match=r"no column of date and close.*its 2 columns.*--header Date,Symbol"
    ):
        describe_files([tmp_path / "KCB.csv"])
