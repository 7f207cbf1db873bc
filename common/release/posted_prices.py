"""Read posted rows of one trading day with the reader of the exchange's files."""

import csv
import datetime as dt
import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from common.archive.layouts import NAIROBI_LAYOUT, SYNTHETIC_FILE
from common.archive.reader import read_archive
from common.archive.text_files import HEADER
from common.errors import BadRequest
from common.prices.panel import Panel
from common.release.data_gate import refuse_older
from common.release.refresh_production import NewPrices

FIELDS = (
    *("date", "symbol", "name", "year_low", "year_high", "low", "high"),
    *("close", "previous", "change", "change_percent", "volume", "adjusted"),
)
"""Names of a row's fields, in the order of the exchange's files."""
CONTEXT_SESSIONS = 10
"""Number of the release's last sessions that repairs compare the rows with."""


def read_posted(rows: Sequence[Mapping[str, str]], before: Panel) -> NewPrices:
    """Accept, repair or reject rows like those of a file that follows the last sessions of a release.

    Parameters
    ----------
    rows : the text of each of ``FIELDS``, missing ones empty; dates as ``2024-01-02`` or ``2-Jan-2024``
    before : the panel of the release in production

    Returns
    -------
    NewPrices
        ``rejects`` are the rows that were rejected; ``line`` is their position, from 1. If that is every row,
        the panel is ``before``.

    Raises
    ------
    BadRequest
        If the rows are of several days.
    GateClosed
        If they are of an earlier day than the release's last session.
    """
    days = sorted({_day_text(row.get("date", "")) for row in rows})
    if len(days) != 1:
        got = ascii(", ".join(days[:3]))
        raise BadRequest(f"rows: got {len(days)} days ({got:.120}), need one. Send one day per request.")
    day = NAIROBI_LAYOUT.date(days[0])
    if day is not None:
        refuse_older(pd.Timestamp(day), before.dates[-1])
    name = "posted.csv" if day is None else f"posted-{day.date()}.csv"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if before.synthetic:
            (folder / SYNTHETIC_FILE).write_text("{}")
        for year, context in _context(before, day).items():
            _write(folder / f"before-{year}.csv", context)
        posted = [{**row, "date": days[0]} for row in rows]
        _write(folder / name, [[_plain(row.get(field, "")) for field in FIELDS] for row in posted])
        archive = read_archive(folder)
    ledger = archive.ledger
    rejects = ledger[(ledger["file"] == name) & (ledger["outcome"] == "rejected")]
    rejects = rejects.assign(line=rejects["line"] - 1).reset_index(drop=True)
    nothing = len(rejects) == len(rows)
    panel = before if nothing else Panel.from_archive(archive, before.source)
    return NewPrices(panel, rejects, partial=True)


def _context(before: Panel, day: dt.datetime | None) -> dict[int, list[list[str]]]:
    """Return the release's last sessions before a day as rows of a file for each year.

    In a file with two years, the reader would treat the dates of one year as mistyped.
    """
    frame = before.frame.assign(previous=before.frame.groupby("symbol")["close"].shift())
    frame = frame if day is None else frame[frame["date"] < day]
    frame = frame[frame["date"].isin(pd.Index(frame["date"].unique()).sort_values()[-CONTEXT_SESSIONS:])]
    numbers = {name: frame[name].map(_number) for name in ("low", "high", "close", "previous")}
    volume = frame["volume"].map(functools.partial(_number, unknown=""))
    columns = {"date": frame["date"].dt.strftime("%d-%b-%Y"), "symbol": frame["symbol"], "volume": volume}
    table = pd.DataFrame(columns | numbers).reindex(columns=list(FIELDS), fill_value="")
    years = table.groupby(frame["date"].dt.year)
    return {int(year): [list(row) for row in rows.itertuples(index=False)] for year, rows in years}


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        file.write(f"{HEADER}adjust\n")
        csv.writer(file, lineterminator="\n").writerows(rows)


def _number(value: float, *, unknown: str = "-") -> str:
    return unknown if pd.isna(value) else repr(float(value))


def _plain(text: str) -> str:
    """Replace line breaks, so that every row is one line of the file."""
    return " ".join(text.split())


def _day_text(text: str) -> str:
    """Return a date as the exchange writes it; other text unchanged."""
    try:
        day = dt.date.fromisoformat(text.strip())
    except ValueError:
        return _plain(text)
    return f"{day:%d-%b}-{day.year:04d}"
