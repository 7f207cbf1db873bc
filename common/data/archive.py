"""Reading the exchange's daily price files: every row accepted, repaired or rejected by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data import repairs
from common.data.action_table import (
    CorporateAction,
    load_actions,
    mark_listed,
    not_placed,
    with_terms,
)
from common.data.actions import list_actions, list_suspects, mark_actions
from common.data.columns import NAIROBI, SYNTHETIC_FILE, WEEK, Layout, read_columns
from common.data.flags import Flag
from common.data.mixed_dates import holiday_notes, mixed_dates
from common.data.text_files import LONGEST_LINE, TextFile, is_cut, no_prices, split, text_files
from common.data.universe import KENYA

NUMBERS = ("low", "high", "close", "previous", "volume")
PANEL_COLUMNS = ("symbol", "date", "close", "low", "high", "volume", "flags", "known")
LEDGER_COLUMNS = ("file", "line", "outcome", "reason", "symbol", "date", "raw")
LONG_LINE = f"line of more than {LONGEST_LINE} characters"
SYMBOL = re.compile(r"\^?[A-Z0-9][A-Z0-9.&-]{0,14}")


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
    """Steps taken for splits and the like: see `list_actions` and `with_terms`."""
    suspects: pd.DataFrame
    """Steps left as returns that may be bonus issues: see `list_suspects`."""
    notes: pd.DataFrame
    """Facts about whole days and ignored files: ``kind, date, rows, detail``."""
    mixed: pd.DataFrame
    """Days that make dates or files look mixed up, see `mixed_dates`; empty where they do not."""
    sectors: pd.DataFrame
    """``symbol, name, sector`` from the sector file, its section titles applied; empty without one."""


def read_archive(folder: Path) -> Archive:
    """Read every daily price file and the sector file in a folder.

    A ``columns.toml`` in it says how another exchange's files are read, see `Columns`; the rest is the same.
    A ``corporate_actions.toml`` in it lists splits and bonus issues, see `load_actions`.
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
    ConfigError
        If its ``columns.toml`` or ``corporate_actions.toml`` is not right.
    """
    prices, listings, files, notes = [], [], [], []
    columns = read_columns(folder)
    nairobi = not columns and not (Path(folder) / SYNTHETIC_FILE).exists()
    listed = load_actions(folder, shipped=nairobi)
    for file in text_files(folder, columns):
        if file.layout:
            prices.append(_price_table(file, file.layout))
        elif file.holds == "sectors":
            listings.append(_sector_table(file.name, file.lines))
        else:
            notes.append(("file ignored", pd.NaT, len(file.lines), file.holds))
            continue
        files.append(file.name)
    if not prices:
        raise no_prices(folder, columns, [note[-1] for note in notes])
    weekdays = columns.weekdays if columns else NAIROBI.weekdays
    table = repairs.reject_duplicates(pd.concat(prices, ignore_index=True))
    rows, day_notes = _repair(table[table["outcome"] == "accepted"], weekdays)
    rows, placed = mark_listed(rows, listed)
    rows = mark_actions(rows)
    day_notes += [_no_step(action) for action in not_placed(listed, placed)]
    day_notes += holiday_notes(rows["date"], KENYA) if nairobi else []
    read = rows[rows["order"] >= 0].set_index("order")
    table.loc[read.index, "reason"] = read["repair"].str.removesuffix("; ")
    table.loc[read.index[read["repair"] != ""], "outcome"] = "repaired"
    sectors = pd.concat(listings, ignore_index=True) if listings else _sector_table("", [])
    every = pd.concat([table, sectors], ignore_index=True)
    return Archive(
        rows=rows[list(PANEL_COLUMNS)],
        ledger=every.loc[every["outcome"] != "accepted", list(LEDGER_COLUMNS)].reset_index(drop=True),
        counts=_count(every, files),
        actions=with_terms(list_actions(rows), placed),
        suspects=list_suspects(rows),
        notes=pd.DataFrame(notes + day_notes, columns=repairs.NOTE_COLUMNS).sort_values(
            "date", kind="stable", ignore_index=True
        ),
        mixed=mixed_dates(rows, table, weekdays),
        sectors=_listed(sectors),
    )


def _price_table(file: TextFile, layout: Layout) -> pd.DataFrame:
    """One row per data line: the parsed fields, and why it is rejected if it is."""
    name, lines = file.name, file.lines
    fields = [split(line, layout.delimiter) for line in lines]
    shaped = pd.Series([len(row) == layout.count for row in fields], dtype=bool)
    blank = [""] * layout.count
    whole = [row if fits else blank for row, fits in zip(fields, shaped, strict=True)]
    text = {field: layout.texts(field, whole) for field in ("date", "symbol", *NUMBERS)}
    numbers = np.arange(file.first, file.first + len(lines))
    table = pd.DataFrame({"file": name, "line": numbers, "raw": lines}).astype({"file": "str", "raw": "str"})
    table["symbol"] = pd.Series(text["symbol"], dtype="str")
    for column in NUMBERS:
        table[column] = _each(text[column], layout.number, "float64")
    named = _each(text["symbol"], lambda code: SYMBOL.fullmatch(code) is not None, "bool")
    table["date"] = _each(text["date"], layout.date, "datetime64[us]").where(shaped & named)
    undated, table["redated"], contradicts = table["date"].isna(), False, pd.Series(False, index=table.index)
    if layout.typed:
        table["date"], table["redated"], contradicts = repairs.redate(table["date"], name)

    empty = pd.Series([not line.strip(f"{layout.delimiter} \t") for line in lines], dtype=bool)
    closed = ~table["date"].dt.day_of_week.isin([WEEK.index(day) for day in layout.weekdays])
    checks = {
        LONG_LINE: pd.Series([is_cut(line) for line in lines], dtype=bool),
        "empty row": empty,
        f"{{count}} fields, need {layout.count}": ~shaped,
        "not a symbol: {symbol!r}": ~named,
        "not a date: {date!r}": undated,
        "date {date} contradicts the file's year": contradicts,
        f"date {{date}} is not {_days(layout.weekdays)}": closed,
        "no price": pd.Series([close in ("", "-") for close in text["close"]], dtype=bool),
        "price is not a number: {close!r}": table["close"].isna(),
        "price is not positive: {close}": table["close"] <= 0,
    }
    table["reason"] = pd.Series(np.select(list(checks.values()), list(checks), ""), dtype="str")
    rejected = table["reason"] != ""
    table["outcome"] = np.where(rejected, "rejected", "accepted")
    table.loc[rejected, "reason"] = [
        table.at[at, "reason"].format(count=len(fields[at]), **{field: text[field][at] for field in text})
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


def _days(weekdays: tuple[str, ...]) -> str:
    return "a weekday" if weekdays == NAIROBI.weekdays else f"one of {', '.join(weekdays)}"


def _repair(good: pd.DataFrame, weekdays: tuple[str, ...]) -> tuple[pd.DataFrame, list[repairs.Note]]:
    rows = good.assign(
        order=good.index,
        known=good["date"],
        flags=np.where(good["redated"], Flag.REDATED, 0).astype(np.int32),
    ).sort_values(["symbol", "date"], ignore_index=True)
    rows, repeated = repairs.repair_repeated_days(rows)
    rows, missing = repairs.rebuild_missing_days(repairs.blank_ranges(rows), weekdays)
    return rows, repeated + missing


def _no_step(action: CorporateAction) -> repairs.Note:
    detail = f"{action.symbol}: no step into {action.ex_date} or a later row"
    return "corporate action without a step", pd.Timestamp(action.ex_date), 0, detail


def _sector_table(name: str, lines: list[str]) -> pd.DataFrame:
    """One row per data line of the sector file; a title holds until the listed sector changes."""
    entries, title, under = [], "", ""
    for number, line in enumerate(lines, start=2):
        fields = [field.strip() for field in split(line)]
        sector, symbol, company = fields if len(fields) == 3 else ("", "", "")
        reason = ""
        if is_cut(line):
            reason = LONG_LINE
        elif not line.strip(", \t"):
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
