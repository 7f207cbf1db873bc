"""The first sheet of an Excel workbook is read as the same rows in a CSV file are."""

import csv
import datetime as dt
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import tomli_w
from pandas.testing import assert_frame_equal
from support.prices.archive import weekdays

from common.archive import workbook
from common.archive.columns import FILE_NAME
from common.archive.description.describe import describe_files
from common.archive.reader import Archive, read_archive
from common.archive.text_files import LONGEST_LINE
from common.archive.workbook import workbook_lines
from common.errors import ArchiveError

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed: pip install 'nsecast[excel]'")

DAYS = [day.date() for day in weekdays("2024-01-01", 60)]
HEADER = ["Day", "Code", "Name", "Last", "Shares"]
TABLES = ("rows", "ledger", "counts", "actions", "suspects", "notes", "mixed")
ROWS = [
    [day, code, f'{code} "Ltd", Nairobi', round(price * (1 + 0.001 * at), 3), 1_000 * at]
    for at, day in enumerate(DAYS)
    for code, price in (("ABC", 12.125), ("XYZ", 1_500.5))
]
ROWS[7][3], ROWS[9][4], ROWS[11][0] = "no trade", "-", "not a day"


def write(folder: Path, rows: list[list], name: str, **settings) -> Path:
    """Write rows as CSV or as the first of two sheets, with a ``columns.toml`` for them."""
    folder.mkdir(parents=True)
    if name.endswith(".csv"):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, delimiter=settings.get("delimiter", ",")).writerows(rows)
    else:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.create_sheet("Notes").append(["not prices"])
        book.save(folder / name)
    columns = {"date": "Day", "symbol": "Code", "close": "Last", "volume": "Shares"}
    text = tomli_w.dumps({"files": f"*{name[-5:].lstrip('s')}", "columns": columns} | settings)
    (folder / FILE_NAME).write_text(text)
    return folder


def same(one: Archive, other: Archive) -> None:
    """Compare all tables; only the name of the file, and how its lines are quoted, differ."""
    for name in TABLES:
        tables = [getattr(archive, name).drop(columns="raw", errors="ignore") for archive in (one, other)]
        if "file" in tables[0].columns:
            tables = [table.assign(file=table["file"].str[:-4].str.strip(".")) for table in tables]
        assert_frame_equal(*tables)
    assert len(one.rows) > 100 and len(one.ledger) == 2


def texts(rows: list[list], form: str = "%Y-%m-%d", decimal: str = ".") -> list[list]:
    """Rows as the texts that a person writes."""
    return [
        [
            cell.strftime(form) if isinstance(cell, dt.date) else str(cell).replace(".", decimal)
            for cell in row
        ]
        for row in rows
    ]


@pytest.mark.parametrize("settings", [{}, {"decimal": ",", "delimiter": ";"}, {"header_line": 3, "skip": 1}])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_workbook_gives_the_tables_of_the_same_rows_in_csv(tmp_path, settings, as_text):
    above = [["Prices"], []] if "skip" in settings else []
    below = [["units"] * 5] if "skip" in settings else []
    rows = [*above, HEADER, *below, *texts(ROWS, decimal=settings.get("decimal", "."))]
    cells = rows if as_text else [*above, HEADER, *below, *ROWS]
    archive = read_archive(write(tmp_path / "excel", cells, "prices.xlsx", **settings))
    same(archive, read_archive(write(tmp_path / "csv", rows, "prices.csv", **settings)))
    first = len(above) + len(below) + 2
    assert archive.ledger["line"].tolist() == [first + 7, first + 11]
    assert archive.ledger["reason"].tolist() == [
        "price is not a number: 'no trade'",
        "not a date: 'not a day'",
    ]


def test_dates_with_time_and_dates_as_text_are_read_by_their_day(tmp_path):
    rows = [[dt.datetime.combine(row[0], dt.time(16, 30)), *row[1:]] for row in ROWS[:6]]
    rows += texts(ROWS[12:], "%d/%m/%Y")
    settings = {"date_format": ["%Y-%m-%d", "%d/%m/%Y"]}
    archive = read_archive(
        write(tmp_path / "excel", [HEADER, *rows], "prices.XLSX", files="*.xlsx", **settings)
    )
    assert archive.ledger.empty
    assert archive.rows.loc[archive.rows["symbol"] == "ABC", "date"].tolist() == [
        pd.Timestamp(day) for day in DAYS[:3] + DAYS[6:]
    ]


def test_cells_become_text_on_one_line_and_empty_ends_are_left_out(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Day\nof trade", "a,b", 'say "hi"', 0.00001, 1 / 3, 5.0, True, None, 20240131])
    sheet["A3"], sheet["B3"] = 0.05, dt.time(9, 30)
    sheet["A3"].number_format = "0%"
    sheet["L9"].font = openpyxl.styles.Font(bold=True)
    book.save(tmp_path / "x.xlsx")
    assert workbook_lines(tmp_path / "x.xlsx") == [
        'Day of trade,"a,b","say ""hi""",0.00001,0.3333333333333333,5,True,,20240131',
        ",,,,,,,,",
        "0.05,09:30:00,,,,,,,",
    ]


def test_a_formula_is_read_as_the_value_that_excel_stored(tmp_path):
    rows = [HEADER, [dt.date(2024, 1, 1), "ABC", "", "=5*2", 1]]
    folder = write(tmp_path / "excel", rows, "prices.xlsx")
    assert "no price" in read_archive(folder).ledger["reason"].tolist()  # openpyxl stores no values
    edit(folder / "prices.xlsx", "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b"<v />", b"<v>10</v>"))
    assert read_archive(folder).rows["close"].tolist() == [10]


def edit(path: Path, part: str, change) -> None:
    with zipfile.ZipFile(path) as bundle:
        parts = {name: bundle.read(name) for name in bundle.namelist()}
    changed = change(parts[part])
    assert changed != parts[part]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in (parts | {part: changed}).items():
            bundle.writestr(name, content)


def test_the_name_is_in_the_symbol_of_a_described_workbook(tmp_path):
    rows = [
        ["Prices of the exchange"],
        ["Date", "Close", "Volume"],
        *([row[0], row[3], row[4]] for row in ROWS[12::2]),
    ]
    path = write(tmp_path / "excel", rows, "ABC.xlsx") / "ABC.xlsx"
    found = describe_files([path])
    assert found.settings["files"] == "{symbol}.xlsx" and found.settings["header_line"] == 2
    assert not {"delimiter", "encoding"} & set(found.settings)
    path.with_name(FILE_NAME).write_text(tomli_w.dumps(found.settings))
    archive = read_archive(path.parent)
    assert archive.ledger.empty and set(archive.rows["symbol"]) == {"ABC"}
    assert archive.rows["close"].tolist() == [row[3] for row in ROWS[12::2]]


def test_a_described_workbook_of_all_stocks_is_read_by_its_description(tmp_path):
    folder = write(tmp_path / "excel", [HEADER, *ROWS], "prices.xlsx")
    found = describe_files([folder / "prices.xlsx"])
    assert found.settings["files"] == "*.xlsx" and len(found.doubts) == 2 and len(found.rows) == 3
    before = read_archive(folder)
    (folder / FILE_NAME).write_text(tomli_w.dumps(found.settings))
    same(before, read_archive(folder))


def bad(path: Path, kind: str) -> None:
    book = openpyxl.Workbook()
    if kind == "damaged":
        book.active.append([1])
        book.save(path)
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "no sheet xml":
        book.active.append([1])
        book.save(path)
        edit(path, "xl/worksheets/sheet1.xml", lambda xml: xml[:-30])
    elif kind == "empty":
        book.create_sheet("Prices").append([1])
        book.save(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(
            {"text": b"Day,Code\n", "password": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)}[kind]
        )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", r"not an Excel workbook, or damaged: .*\. Open it in Excel and save it again"),
        ("damaged", r"not an Excel workbook, or damaged: "),
        ("no sheet xml", r"not an Excel workbook, or damaged: "),
        ("password", r"has a password, or is of Excel 97 to 2003\. Save it as .xlsx without a password"),
        ("empty", r"its first sheet is empty\. Move the sheet with the prices to the front"),
        ("folder", r"no such file, or a folder, a pipe or a device\. Name a workbook"),
    ],
)
def test_a_bad_workbook_is_refused_by_name_with_a_next_step(tmp_path, kind, message):
    folder = write(tmp_path / "excel", [HEADER, *ROWS], "good.xlsx")
    bad(folder / "prices.xlsx", kind)
    with pytest.raises(ArchiveError, match=rf"prices\.xlsx: {message}"):
        read_archive(folder)
    with pytest.raises(ArchiveError, match=rf"prices\.xlsx: {message}"):
        describe_files([folder / "prices.xlsx"])


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    folder = write(tmp_path / "excel", [HEADER, *ROWS], "prices.xlsx")
    with zipfile.ZipFile(folder / "prices.xlsx", "a", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("xl/media/bomb.bin", bytes(workbook.MAX_BYTES))
    assert (folder / "prices.xlsx").stat().st_size < workbook.MAX_BYTES / 500
    with pytest.raises(ArchiveError, match=r"prices\.xlsx: unpacks to more than .*Split it"):
        read_archive(folder)


@pytest.mark.parametrize(
    "change", [(b'<row r="2"', b'<row r="999999999999"'), (b'<c r="E2"', b'<c r="ZZZ2"')]
)
def test_far_rows_and_cells_are_refused_or_cut_as_long_lines(tmp_path, change):
    folder = write(tmp_path / "excel", [HEADER, *ROWS[:4]], "prices.xlsx")
    edit(folder / "prices.xlsx", "xl/worksheets/sheet1.xml", lambda xml: xml.replace(*change))
    if b"row" in change[0]:
        with pytest.raises(ArchiveError, match="unpacks to more than"):
            read_archive(folder)
    else:
        assert f"{LONGEST_LINE} characters" in read_archive(folder).ledger["reason"].iloc[0]


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    folder = write(tmp_path / "excel", [HEADER, *ROWS], "prices.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ArchiveError, match=r"prices\.xlsx: .*pip install 'nsecast\[excel\]'"):
        read_archive(folder)


def test_the_file_that_excel_writes_while_a_workbook_is_open_is_not_read(tmp_path):
    folder = write(tmp_path / "excel", [HEADER, *ROWS], "prices.xlsx")
    (folder / "~$prices.xlsx").write_bytes(bytes(165))
    assert len(read_archive(folder).counts) == 1
