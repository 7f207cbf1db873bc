"""Reading the exchange's daily price files: every row accepted, repaired or rejected by name."""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data import repairs
from common.data.actions import list_actions, mark_actions
from common.data.flags import Flag
from common.errors import ArchiveError

HEADER = "date,code,name,12m low,12m high,day low,day high,day price,previous,change,change%,volume,"
PRICE_HEADERS = (HEADER + "adjust", HEADER + "adjusted price")
SECTOR_HEADER = "sector,stock_code,stock_name"
FIELDS = {"date": 0, "symbol": 1, "low": 5, "high": 6, "close": 7, "previous": 8, "volume": 11}
"""The fields that are read. The 12-month range and ``Adjust`` were written later than their row's date:
they are never read."""
FIELD_COUNT = 13
PANEL_COLUMNS = ("symbol", "date", "close", "low", "high", "volume", "flags", "known")
LEDGER_COLUMNS = ("file", "line", "outcome", "reason", "symbol", "date", "raw")
SYMBOL = re.compile(r"\^?[A-Z0-9][A-Z0-9.&-]{0,14}")
NUMBER = re.compile(r"-?(\d[\d,]*\.?\d*|\.\d+)", re.ASCII)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4}|\d{2})", re.ASCII)


@dataclass(frozen=True, eq=False)
class Archive:
    """All that one folder of daily files says, and what was done to it."""

    rows: pd.DataFrame
    """Panel form, sorted by symbol and date: ``symbol``, ``date``, ``close``, ``low``, ``high`` (KES, NaN
    unknown), ``volume`` (shares, 0 no trade, NaN unknown), ``flags`` (`Flag` bits), ``known`` (the date
    on whose evening the close was known)."""
    ledger: pd.DataFrame
    """One row per repaired or rejected row: ``file, line, outcome, reason, symbol, date, raw``."""
    counts: pd.DataFrame
    """Per file: ``file, read, accepted, repaired, rejected, first, last``; read is the sum of the three."""
    actions: pd.DataFrame
    """Steps taken for splits and the like: see `list_actions`."""
    notes: pd.DataFrame
    """Facts about whole days and ignored files: ``kind, date, rows, detail``."""
    sectors: pd.DataFrame
    """``symbol, name, sector`` from the sector file, its section titles applied; empty without one."""


def read_archive(folder: Path) -> Archive:
    """Read every daily price file and the sector file in a folder.

    A CSV file whose header is neither is left alone and noted. Repairs use at most the next session, and
    the rows say when they became known; see `common.data.repairs`.

    Parameters
    ----------
    folder : Path
        Holds the files as published; sub-folders are not entered.

    Raises
    ------
    ArchiveError
        If the folder is missing, holds no daily price file, or a file cannot be read.
    """
    prices, listings, files, notes = [], [], [], []
    for path in _csv_files(folder):
        header, *lines = _read_lines(path)
        form = ",".join(field.strip().casefold() for field in _split(header))
        if form in PRICE_HEADERS:
            prices.append(_price_table(path.name, lines))
        elif form == SECTOR_HEADER:
            listings.append(_sector_table(path.name, lines))
        else:
            notes.append(("file ignored", pd.NaT, len(lines), f"{path.name}: not a price or sector header"))
            continue
        files.append(path.name)
    if not prices:
        raise ArchiveError(
            f"{folder}: no daily price file among its CSV files; a header must start {HEADER[:22]!r}. "
            "Fetch the archive, or name another folder.",
            folder=str(folder),
        )
    table = repairs.reject_duplicates(pd.concat(prices, ignore_index=True))
    rows, day_notes = _repair(table[table["outcome"] == "accepted"])
    read = rows[rows["order"] >= 0].set_index("order")
    table.loc[read.index, "reason"] = read["repair"].str.removesuffix("; ")
    table.loc[read.index[read["repair"] != ""], "outcome"] = "repaired"
    sectors = pd.concat(listings, ignore_index=True) if listings else _sector_table("", [])
    every = pd.concat([table, sectors], ignore_index=True)
    return Archive(
        rows=rows[list(PANEL_COLUMNS)],
        ledger=every.loc[every["outcome"] != "accepted", list(LEDGER_COLUMNS)].reset_index(drop=True),
        counts=_count(every, files),
        actions=list_actions(rows),
        notes=pd.DataFrame(notes + day_notes, columns=repairs.NOTE_COLUMNS).sort_values(
            "date", kind="stable", ignore_index=True
        ),
        sectors=_listed(sectors),
    )


def _csv_files(folder: Path) -> list[Path]:
    try:
        paths = sorted(Path(folder).iterdir())
    except OSError as error:
        raise ArchiveError(
            f"{folder}: cannot be read as a folder: {error.strerror}. Name the one with the daily CSV files.",
            folder=str(folder),
        ) from None
    return [path for path in paths if path.suffix.lower() == ".csv" and not path.name.startswith(".")]


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise ArchiveError(
            f"{path}: cannot be read: {error.strerror}. Check that it is a file you may read.",
            path=str(path),
        ) from None
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]


def _split(line: str) -> list[str]:
    """The fields of one line; a stray quote or carriage return spoils that line only."""
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return line.split(",")


def _price_table(name: str, lines: list[str]) -> pd.DataFrame:
    """One row per data line: the parsed fields, and why it is rejected if it is."""
    split = [_split(line) for line in lines]
    blank = [""] * FIELD_COUNT
    whole = [fields if len(fields) == FIELD_COUNT else blank for fields in split]
    text = {field: [fields[at].strip() for fields in whole] for field, at in FIELDS.items()}
    table = pd.DataFrame({"file": name, "line": np.arange(2, len(lines) + 2), "raw": lines}).astype(
        {"file": "str", "raw": "str"}
    )
    table["symbol"] = pd.Series(text["symbol"], dtype="str")
    for column in ("low", "high", "close", "previous", "volume"):
        table[column] = _each(text[column], _number, "float64")
    shaped = pd.Series([len(fields) == FIELD_COUNT for fields in split], dtype=bool)
    named = _each(text["symbol"], lambda code: SYMBOL.fullmatch(code) is not None, "bool")
    dates = _each(text["date"], _date, "datetime64[us]").where(shaped & named)
    table["date"], table["redated"], contradicts = repairs.redate(dates, name)

    empty = pd.Series([not line.strip(", \t") for line in lines], dtype=bool)
    checks = {
        "empty row": empty,
        "{count} fields, need 13": ~shaped,
        "not a symbol: {symbol!r}": ~named,
        "not a date: {date!r}": dates.isna(),
        "date {date} contradicts the file's year": contradicts,
        "date {date} is not a weekday": table["date"].dt.day_of_week > 4,
        "no price": pd.Series([close in ("", "-") for close in text["close"]], dtype=bool),
        "price is not a number: {close!r}": table["close"].isna(),
        "price is not positive: {close}": table["close"] <= 0,
    }
    table["reason"] = pd.Series(np.select(list(checks.values()), list(checks), ""), dtype="str")
    rejected = table["reason"] != ""
    table["outcome"] = np.where(rejected, "rejected", "accepted")
    table.loc[rejected, "reason"] = [
        table.at[at, "reason"].format(count=len(split[at]), **{field: text[field][at] for field in FIELDS})
        for at in np.flatnonzero(rejected)
    ]
    table["repair"] = np.where(table["redated"], "date redated to stand between its neighbours; ", "")
    for column in ("low", "high", "volume"):
        given = pd.Series([value not in ("", "-") for value in text[column]], dtype=bool)
        sound = table[column] >= 0 if column == "volume" else table[column] > 0
        table[column] = table[column].where(sound)
        table.loc[given & ~sound, "repair"] += f"{column} is not a positive number: blanked; "
    untraded = np.array([volume == "-" for volume in text["volume"]], dtype=bool)
    table["volume"] = table["volume"].mask(untraded, 0.0)
    return table


def _each(texts: list[str], parse: Callable[[str], Any], dtype: str) -> pd.Series:
    codes, distinct = pd.factorize(np.array(texts, dtype=object))
    parsed = pd.Series([parse(text) for text in distinct], dtype=dtype)
    return parsed.take(codes).reset_index(drop=True)


def _number(text: str) -> float:
    value = float(text.replace(",", "")) if NUMBER.fullmatch(text) else np.nan
    return value if np.isfinite(value) else np.nan


def _date(text: str) -> datetime | None:
    match = DATE.fullmatch(text)
    if match is None:
        return None
    day, month, year = match.groups()
    try:
        return datetime(
            int(year) + (2000 if len(year) == 2 else 0), MONTHS.index(month.lower()) + 1, int(day)
        )
    except ValueError:
        return None


def _repair(good: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple]]:
    rows = good.assign(
        order=good.index,
        known=good["date"],
        flags=np.where(good["redated"], Flag.REDATED, 0).astype(np.int32),
    ).sort_values(["symbol", "date"], ignore_index=True)
    rows, repeated = repairs.repair_repeated_days(rows)
    rows, missing = repairs.rebuild_missing_days(repairs.blank_ranges(rows))
    return mark_actions(rows), repeated + missing


def _sector_table(name: str, lines: list[str]) -> pd.DataFrame:
    """One row per data line of the sector file; a title holds until the listed sector changes."""
    entries, title, under = [], "", ""
    for number, line in enumerate(lines, start=2):
        fields = [field.strip() for field in _split(line)]
        sector, symbol, company = fields if len(fields) == 3 else ("", "", "")
        reason = ""
        if not line.strip(", \t"):
            reason = "empty row"
        elif len(fields) != 3:
            reason = f"{len(fields)} fields, need 3"
        elif not SYMBOL.fullmatch(symbol) and not company:
            reason, title, under = f"section title: {symbol!r}", symbol, sector
        elif not SYMBOL.fullmatch(symbol):
            reason = f"not a symbol: {symbol!r}"
        outcome = "rejected" if reason else "accepted"
        entries.append(
            (name, number, line, outcome, reason, symbol, company, title if sector == under else sector)
        )
    columns = ["file", "line", "raw", "outcome", "reason", "symbol", "name", "sector"]
    return pd.DataFrame(entries, columns=columns).astype(dict.fromkeys(columns, "str") | {"line": "int64"})


def _listed(sectors: pd.DataFrame) -> pd.DataFrame:
    listed = sectors.loc[sectors["outcome"] == "accepted", ["symbol", "name", "sector"]]
    return listed.drop_duplicates("symbol").reset_index(drop=True)


def _count(every: pd.DataFrame, files: list[str]) -> pd.DataFrame:
    counts = pd.crosstab(every["file"], every["outcome"])
    counts = counts.reindex(index=files, columns=["accepted", "repaired", "rejected"], fill_value=0)
    counts.insert(0, "read", counts.sum(axis=1))
    dates = every[every["outcome"] != "rejected"].groupby("file")["date"]
    counts = counts.assign(first=dates.min(), last=dates.max())
    return counts.rename_axis(index="file", columns=None).reset_index()
