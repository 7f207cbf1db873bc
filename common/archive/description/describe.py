"""Describe price files that were never seen: how they are written, as settings of a ``columns.toml``."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from common.archive.columns import FILE_NAME, NAIROBI, SYMBOL_PLACEHOLDER, Columns
from common.archive.description.date_forms import describe_dates
from common.archive.description.described_file import APART, Description, PriceFile, listed, look, problem
from common.archive.description.number_marks import describe_numbers
from common.archive.reader import Archive, read_archive
from common.errors import ArchiveError

SAME_PRICE = 0.05
"""Largest relative difference of the prices on both sides of a change of symbol. The nine of Nairobi's files
from 2007 on differ by up to 4.8 %."""


def describe_files(
    paths: Sequence[Path],
    *,
    day_first: bool | None = None,
    decimal_comma: bool | None = None,
    header: Sequence[str] = (),
) -> Description:
    """Describe files of one folder together; all their lines are evidence.

    Parameters
    ----------
    day_first : whether the day comes before the month, where the files do not show it
    decimal_comma : whether the comma separates decimals, where the files do not show it
    header : names of the columns, for files without them

    Raises
    ------
    Undecided
        If day and month, or the marks of numbers, can be read in both ways, and the option is None.
    ArchiveError
        If a file has no rows with a date and a price, a column is not recognised, or the files are written in
        ways that one ``columns.toml`` cannot describe.
    """
    files = [look(path, header) for path in paths]
    settings = _shared_settings(files)
    result = Description(settings, list(dict.fromkeys(reason for file in files for reason in file.reasons)))
    for file in files:
        result.doubts += [doubt for doubt in file.doubts if doubt not in result.doubts]
    if settings.get("layout") != NAIROBI:
        for found in (describe_dates(files, day_first), describe_numbers(files, decimal_comma)):
            settings |= found.settings
            result.reasons += found.reasons
            result.doubts += found.doubts
    archive = _read(paths, settings)
    _refuse_shared_symbols(files, archive)
    _add_rows(paths[0], archive, result)
    if settings.get("layout") != NAIROBI:
        result.doubts += _renamed(archive.rows)
    return result


def _refuse_shared_symbols(files: Sequence[PriceFile], archive: Archive) -> None:
    """Raise ArchiveError if files of two stocks, such as Kenya Airways and Kenya Power, have one symbol."""
    rejected = archive.ledger[archive.ledger["outcome"] == "rejected"]
    twice = set(rejected.loc[rejected["reason"].str.contains("duplicate|conflict", na=False), "symbol"])
    for symbol in sorted(twice & {file.symbol.upper() for file in files}):
        names = [file.path.name for file in files if file.symbol.upper() == symbol]
        if len(names) > 1:
            step = "Name each file after its symbol, such as SCOM.csv"
            raise problem(
                files[0].path.parent, f"{' and '.join(names)} have rows of {symbol} on one day", step
            )


def _shared_settings(files: Sequence[PriceFile]) -> dict[str, Any]:
    """Return the settings that the files share; raises ArchiveError if they differ."""
    encodings = {file.settings["encoding"] for file in files if "encoding" in file.settings} - {"ascii"}
    encoding = encodings.pop() if len(encodings) == 1 else "utf-8-sig"
    for file in files:
        if file.settings.get("encoding") == "ascii":
            file.settings["encoding"] = encoding
    _share_pattern(files)
    groups: dict[str, list[PriceFile]] = {}
    for file in files:
        groups.setdefault(json.dumps(file.settings, sort_keys=True), []).append(file)
    if len(groups) > 1:
        kinds = [part[0].settings for part in groups.values()]
        names = [name for name in {**kinds[0], **kinds[1]} if kinds[0].get(name) != kinds[1].get(name)]
        raise ArchiveError(
            f"The files differ in {', '.join(names)}: {'; '.join(map(listed, groups.values()))}. {APART}"
        )
    return dict(files[0].settings)


def _share_pattern(files: Sequence[PriceFile]) -> None:
    """Give files of one stock each a common pattern of their names, if it finds the same symbols."""
    patterns = {file.settings["files"] for file in files if file.symbol}
    if len(patterns) < 2 or not all(file.symbol for file in files):
        return
    before, _, after = min(patterns).partition(SYMBOL_PLACEHOLDER)
    shared = f"{before}{SYMBOL_PLACEHOLDER}{after[:1]}*{files[0].path.suffix[1:]}"
    columns = Columns.parse({"files": shared, "columns": {"date": 1, "close": 2}, "header_line": 0})
    if all(columns.symbol_of(file.path.name) == file.symbol for file in files):
        for file in files:
            file.settings["files"] = shared


def _read(paths: Sequence[Path], settings: dict[str, Any]) -> Archive:
    """Read the files by the settings."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE_NAME).write_text(tomli_w.dumps(settings), encoding="utf-8")
        for path in paths:
            (Path(folder) / path.name).symlink_to(path.resolve())
        return read_archive(Path(folder))


def _add_rows(path: Path, archive: Archive, result: Description) -> None:
    """Add the first rows, and what was rejected."""
    rejected = archive.ledger[archive.ledger["outcome"] == "rejected"]
    if archive.rows.empty:
        why = rejected["reason"].iloc[0] if len(rejected) else "there are none"
        raise problem(path, f"no row is accepted, the first because: {why}", "Correct the file")
    rows = archive.rows.sort_values("date", kind="stable").head(3)
    rows = rows[["symbol", "date", "close", "low", "high", "volume"]].assign(
        date=rows["date"].dt.strftime("%Y-%m-%d")
    )
    result.rows = json.loads(rows.to_json(orient="records"))
    if len(rejected):
        result.doubts.append(f"{len(rejected)} rows rejected, the first: {rejected['reason'].iloc[0]}")
    if len(archive.mixed):
        result.doubts.append(f"dates look mixed up on {len(archive.mixed)} days")


def _renamed(rows: pd.DataFrame) -> list[str]:
    """Say where a symbol ends and another begins in the next session at about the same price."""
    sessions = np.unique(rows["date"])
    ends = rows.groupby("symbol").agg(
        first=("date", "first"), last=("date", "last"), open=("close", "first"), close=("close", "last")
    )
    pairs = []
    for old, share in ends[ends["last"] < sessions[-1]].iterrows():
        following = sessions[np.searchsorted(sessions, share["last"].to_datetime64()) + 1]
        begun = ends[ends["first"] == following]
        pairs += [(abs(price / share["close"] - 1), old, new) for new, price in begun["open"].items()]
    doubts, joined = [], set[str]()
    for change, old, new in sorted(pairs):
        if change <= SAME_PRICE and not {old, new} & joined:
            joined |= {old, new}
            before, after = ends.loc[old], ends.loc[new]
            doubts.append(
                f"{old} ends on {before['last']:%Y-%m-%d} at {before['close']:g}, and {new} begins on "
                f"{after['first']:%Y-%m-%d} at {after['open']:g}: if they are one share, add "
                f'[renamed] {old} = "{new}"'
            )
    return doubts
