"""Files that were never seen are described, and read back by their description."""

import json

import numpy as np
import pandas as pd
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from typer.testing import CliRunner

from common.archive.columns import FILE_NAME
from common.archive.describe import UndecidedOrder, describe, describe_files
from common.archive.reader import read_archive
from common.errors import ArchiveError
from train.cli.data import app

TITLES = {
    "date": ("Date", "Session", "DAY"),
    "close": ("Close", "Closing Price", "Last"),
    "low": ("Low", "Day Low"),
    "high": ("High", "Day's High"),
    "volume": ("Volume", "Vol.", "Shares"),
}
DATES = (
    "%Y-%m-%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%Y-%m-%d %H:%M:%S+03:00",
    "%Y%m%d",
)


@st.composite
def layouts(draw):
    titles = {name: draw(st.sampled_from(words)) for name, words in TITLES.items()}
    marks = draw(
        st.sampled_from([(".", ","), (",", "."), (".", ""), (",", " "), (",", "\u202f"), (".", "'")])
    )
    return {
        "titles": titles,
        "order": draw(st.permutations(list(TITLES))),
        "marks": marks,
        "date": draw(st.sampled_from(DATES)),
        "delimiter": draw(st.sampled_from([";", "\t", "|", ","])),
        "quoted": draw(st.booleans()),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "above": draw(st.sampled_from([[], ["Prices of the exchange"]])),
        "newest_first": draw(st.booleans()),
        "headless": draw(st.booleans()),
    }


def made(layout) -> tuple[pd.DataFrame, str]:
    days, rng = pd.bdate_range("2023-01-02", periods=60), np.random.default_rng(0)
    close = np.round(1_500 + rng.normal(0, 9, len(days)).cumsum(), 2)
    frame = pd.DataFrame({"close": close, "low": close - 1.25, "high": close + 1.5}).round(2)
    frame.insert(0, "date", days)
    frame["volume"] = rng.integers(1_000, 5_000_000, len(days)).astype(float)
    point, group = layout["marks"]

    def text(row, name):
        if name == "date":
            return row.date.strftime(layout["date"])
        number = f"{getattr(row, name):,.{0 if name == 'volume' else 2}f}"
        return number.translate(str.maketrans({",": group, ".": point}))

    def cell(value):
        return f'"{value}"' if layout["quoted"] or layout["delimiter"] in value else value

    rows = list(frame.itertuples())[:: -1 if layout["newest_first"] else 1]
    lines = [layout["delimiter"].join(cell(text(row, name)) for name in layout["order"]) for row in rows]
    titles = (
        []
        if layout["headless"]
        else [layout["delimiter"].join(layout["titles"][name] for name in layout["order"])]
    )
    return frame, "\n".join([*layout["above"], *titles, *lines]) + "\n"


@pytest.mark.fuzz
@settings(max_examples=examples(40))
@given(layouts())
def test_a_described_file_gives_its_rows_back(tmp_path_factory, layout):
    frame, text = made(layout)
    path = tmp_path_factory.mktemp("described") / "ABC.csv"
    path.write_text(text, encoding=layout["encoding"])
    header = layout["order"] if layout["headless"] else ()
    found = describe(path, header=header)
    path.with_name(FILE_NAME).write_text(tomli_w.dumps(found.settings))
    archive = read_archive(path.parent)
    assert archive.ledger.empty and set(archive.rows["symbol"]) == {"ABC"}
    for name in ("close", "low", "high", "volume"):
        assert archive.rows[name].tolist() == frame[name].tolist()
    assert archive.rows["date"].tolist() == frame["date"].tolist() and len(found.rows) == 3


def test_an_order_of_day_and_month_that_cannot_be_told_is_asked_for(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date,Close\n01/02/2023,5\n02/03/2023,6\n")
    with pytest.raises(UndecidedOrder, match="--day-first or --month-first"):
        describe(path)
    assert describe(path, day_first=True).settings["date_format"] == "%d/%m/%Y"
    assert describe(path, day_first=False).settings["date_format"] == "%m/%d/%Y"


def test_the_order_is_told_by_all_dates_and_a_last_line_without_one_does_not_matter(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date,Close\n01/02/2023,5\n13/02/2023,6\nTotal,11\n")
    found = describe(path)
    assert found.settings["date_format"] == "%d/%m/%Y"
    assert "1 dates do not have the form %d/%m/%Y" in found.doubts


def test_dates_that_may_be_read_wrongly_are_doubted(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date,Close\n23/01/02,5\n23/01/03,6\n")  # 2 and 3 January 2023
    assert "years have two digits: read as 2002-01-23 to 2003-01-23" in describe(path).doubts
    path.write_text("Date,Close\n2023-01-01 21:00:00+00:00,5\n")  # Monday in Nairobi
    assert any("set timezone" in doubt for doubt in describe(path).doubts)
    path.write_text("Date,Close\n02/01/2023,5\n03/01/2023,6\n09/04/2023,7\n")  # as month/day, 4 September
    doubts = describe(path, day_first=True).doubts
    assert any("or day and month are in the other order" in doubt for doubt in doubts)


@pytest.mark.parametrize("text", ["", "hello", "a,b\nc,d\n", "Code,Price\nA,5\n", "\x00\x01"])
def test_a_file_without_prices_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ArchiveError, match=r"no line has a date and a number\. Give"):
        describe(tmp_path / "x.csv")


def test_files_with_different_forms_of_dates_are_described_together(tmp_path):
    (tmp_path / "A.csv").write_text("Date,Close\n2023-01-31,5\n")
    (tmp_path / "B.csv").write_text("Date,Close\n31/01/2023,6\n")
    found = describe_files([tmp_path / "A.csv", tmp_path / "B.csv"])
    (tmp_path / FILE_NAME).write_text(tomli_w.dumps(found.settings))
    assert read_archive(tmp_path).rows["close"].tolist() == [5, 6]


def test_the_command_writes_columns_toml_once_and_prints_json(tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_text("Date;Close;Vol.\n31.10.2024;16,75;3,29M\n30.10.2024;16,70;812,40K\n")
    result = CliRunner().invoke(app, ["describe", str(path), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["rows"][1]["volume"] == 3_290_000
    again = CliRunner().invoke(app, ["describe", str(path)])
    assert again.exit_code == 1 and "exists" in again.exception.message
    shown = CliRunner().invoke(app, ["describe", str(path), "--replace"])
    assert "Row: symbol ABC, date 2024-10-30" in shown.stdout
