"""Any layout that is described is read back by its description."""

import numpy as np
import pandas as pd
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from common.archive.columns import FILE_NAME
from common.archive.description.describe import describe_files
from common.archive.reader import read_archive

TITLES = {
    "date": ("Date", "Session", "DAY"),
    "close": ("Close", "Closing Price", "Last"),
    "low": ("Low", "Day Low"),
    "high": ("High", "Day's High"),
    "volume": ("Volume", "Vol.", "Shares"),
}
DATES = (
    *(
        "%Y-%m-%d",
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%d-%b-%y",
        "%b %d, %Y",
        "%Y%m%d",
        "%d/%m/%y",
        "%y-%m-%d",
    ),
    *("%Y-%m-%d %H:%M:%S+03:00", "%Y-%m-%dT%H:%M:%S+00:00"),
)
SPACES = (" ", "\u00a0", "\u2009", "\u202f")
MARKS = ((".", ","), (",", "."), (".", ""), (".", "'"), *((",", space) for space in SPACES))


@st.composite
def layouts(draw):
    return {
        "titles": {name: draw(st.sampled_from(words)) for name, words in TITLES.items()}
        | {"change": draw(st.sampled_from(["Change %", "Chg"]))},
        "order": draw(st.permutations([*TITLES, *draw(st.sampled_from([[], ["change"]]))])),
        "marks": draw(st.sampled_from(MARKS)),
        "first": draw(st.sampled_from([16, 1_500])),
        "decimals": draw(st.sampled_from([2, 3])),
        "letter": draw(st.sampled_from([("", 0), ("K", 3), ("M", 6), ("B", 9)])),
        "change": draw(st.sampled_from(["{}%", "{} %", "({})", "-{}"])),
        "date": draw(st.sampled_from(DATES)),
        "delimiter": draw(st.sampled_from([";", "\t", "|", ","])),
        "quoted": draw(st.booleans()),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])),
        "above": draw(st.sampled_from([[], ["Prices of the exchange"], ["sep=;", ""]])),
        "below": draw(st.sampled_from([[], ["Total"]])),
        "newest_first": draw(st.booleans()),
        "headless": draw(st.booleans()),
    }


def made(layout) -> pd.DataFrame:
    days, rng = pd.bdate_range("2023-01-02", periods=40), np.random.default_rng(0)
    close = layout["first"] + rng.integers(-8, 9, len(days)).cumsum() / 8  # never out of the day's range
    frame = pd.DataFrame({"date": days, "close": close, "low": close - 0.125, "high": close + 0.25})
    frame[["close", "low", "high"]] = frame[["close", "low", "high"]].round(layout["decimals"])
    return frame.assign(volume=10_000.0 * rng.integers(10, 500, len(days)), change=0.3)


def text_of(frame: pd.DataFrame, layout) -> str:
    """Write a price file in a layout."""
    (point, group), (letter, power), delimiter = layout["marks"], layout["letter"], layout["delimiter"]

    def text(row, name):
        if name == "date":
            moment = row.date - pd.Timedelta(hours=3 * layout["date"].endswith("+00:00"))
            return moment.strftime(layout["date"])
        if name == "volume":
            number = f"{row.volume / 10**power:,.{max(power - 4, 0)}f}{letter}"
        else:
            number = f"{getattr(row, name):,.{layout['decimals']}f}"
        number = number.translate(str.maketrans({",": group, ".": point}))
        return layout["change"].format(number) if name == "change" else number

    def cell(value):
        return f'"{value}"' if layout["quoted"] or delimiter in value else value

    rows = list(frame.itertuples())[:: -1 if layout["newest_first"] else 1]
    lines = [delimiter.join(cell(text(row, name)) for name in layout["order"]) for row in rows]
    below = [delimiter.join(layout["below"] + [""] * (len(layout["order"]) - 1))] if layout["below"] else []
    titles = (
        [] if layout["headless"] else [delimiter.join(layout["titles"][name] for name in layout["order"])]
    )
    return "\n".join([*layout["above"], *titles, *lines, *below]) + "\n"


@pytest.mark.fuzz
@settings(max_examples=examples(60), deadline=None)
@given(layouts())
def test_described_files_give_their_rows_back(tmp_path_factory, layout):
    """The second file has days up to the 12th only, so the first one shows the order of day and month."""
    folder, frame = tmp_path_factory.mktemp("described"), made(layout)
    frames = {"ABC": frame, "XYZ": frame.head(8)}
    paths = [folder / f"{symbol}.csv" for symbol in frames]
    for path, part in zip(paths, frames.values(), strict=True):
        path.write_text(text_of(part, layout), encoding=layout["encoding"])
    header = layout["order"] if layout["headless"] else ()
    found = describe_files(paths, header=header)
    (folder / FILE_NAME).write_text(tomli_w.dumps(found.settings))
    archive = read_archive(folder)
    assert len(archive.ledger) == 2 * len(layout["below"]) and len(found.rows) == 3
    for symbol, part in frames.items():
        rows = archive.rows[archive.rows["symbol"] == symbol]
        for name in ("date", "close", "low", "high"):
            assert rows[name].tolist() == part[name].tolist()
        assert rows["volume"].tolist() == pytest.approx(part["volume"].tolist(), rel=1e-12)
