"""Describe price files that were never seen: how they are written, as settings of a ``columns.toml``."""

import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from common.archive.columns import FILE_NAME, NAIROBI, SYMBOL_PLACEHOLDER
from common.archive.forms import parse_date, swappable
from common.archive.guess import (
    DELIMITERS,
    MARKS,
    common_end,
    dates_among,
    decoded,
    forms,
    is_row,
    number,
    score,
)
from common.archive.layouts import WEEK
from common.archive.price_lines import SYMBOL
from common.archive.reader import read_archive
from common.archive.text_files import PRICE_HEADERS, split
from common.archive.workbook import is_workbook, workbook_lines
from common.errors import ArchiveError

SAMPLE = 5_000
"""Lines of a file that are looked at."""
TITLES = {
    "date": ("date", "day", "session", "trading date", "trade date", "time", "datetime", "timestamp"),
    "symbol": ("symbol", "code", "ticker", "stock", "counter", "security"),
    "close": ("close", "closing price", "close price", "day price", "price", "closing", "last", "last price"),
    "low": ("low", "day low", "day's low", "low price"),
    "high": ("high", "day high", "day's high", "high price"),
    "previous": ("previous", "previous close", "prev", "prev close"),
    "volume": ("volume", "vol.", "vol", "shares", "shares traded", "quantity"),
}
"""Titles of the columns, in any case, the surest first."""


@dataclass
class Description:
    """How a file is written."""

    settings: dict[str, Any]
    """Content of a ``columns.toml``."""
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The first three rows as read."""


class UndecidedOrder(ArchiveError):
    """The order of day and month cannot be told."""

    http_status = 422


def describe(
    path: Path, *, day_first: bool | None = None, header: Sequence[str] = (), end: str = ""
) -> Description:
    """Describe a price file.

    Parameters
    ----------
    path : the file
    day_first : whether the day comes before the month, where the file does not show it
    header : names of the columns, for a file without them
    end : what follows the symbol in its name; default: all from the first space or underscore

    Raises
    ------
    UndecidedOrder
        If day and month can be read in both orders, and ``day_first`` is None.
    ArchiveError
        If the file has no rows with a date and a price, or a column is not recognised.
    """
    workbook = is_workbook(path)
    encoding, lines = ("", workbook_lines(path)) if workbook else decoded(path)
    lines = lines[:SAMPLE]
    first_line = ",".join(cell.strip().casefold() for cell in split(lines[0])) if lines else ""
    if first_line in PRICE_HEADERS and not workbook:
        result = Description({"layout": NAIROBI}, ["header: that of the exchange's own files"])
        _try(path, result)
        return result
    delimiter = "," if workbook else max(DELIMITERS, key=lambda mark: score(lines, mark))
    table = [[cell.strip() for cell in split(line, delimiter)] for line in lines]
    first = next((at for at, cells in enumerate(table) if len(cells) > 1 and is_row(cells)), None)
    if first is None:
        raise _problem(path, "no line has a date and a number", "Give a file with one row a day and stock")
    width = len(table[first])
    rows = [cells for cells in table[first:] if len(cells) == width]
    at = next((at for at in range(first) if len(table[at]) == width and len(set(table[at])) == width), None)
    if at is None and not header:
        raise _problem(path, f"no line names its {width} columns", "Name them: --header Date,Close,...")
    titles = list(header) or table[at or 0]
    if len(titles) != width:
        raise _problem(path, f"{len(titles)} names for {width} columns", "Give one name for each column")
    result = Description({"files": "*"})
    result.settings |= {} if workbook else {"delimiter": delimiter, "encoding": encoding}
    fields = f"{len(rows)} of {len(table) - first} lines have {width} fields"
    result.reasons.append(
        "Excel workbook: its first sheet" if workbook else f"delimiter {delimiter!r}: {fields}"
    )
    if encoding == "cp1252":
        result.doubts.append("encoding: not UTF-8, read as cp1252")
    if header:
        result.settings |= {"header_line": 0, "header": titles, "skip": first}
    else:
        result.settings |= {"header_line": int(at or 0) + 1, "skip": first - int(at or 0) - 1}
    _name_columns(path, titles, result, end)
    columns = {
        name: [row[titles.index(title)] for row in rows] for name, title in result.settings["columns"].items()
    }
    _read_dates(path, columns["date"], result, day_first)
    _read_numbers(path, [columns[name] for name in columns if name not in ("date", "symbol")], result)
    _try(path, result)
    return result


def _name_columns(path: Path, titles: list[str], result: Description, end: str) -> None:
    words = {title.strip().casefold(): title for title in reversed(titles)}
    places = {
        name: next((words[title] for title in known if title in words), None)
        for name, known in TITLES.items()
    }
    if titles[0].casefold() == "price" and "close" in words:  # yfinance writes its dates below this title
        places |= {"date": titles[0], "close": words["close"]}
    if missing := [name for name in ("date", "close") if places[name] is None]:
        known = f"no column of {' and '.join(missing)} among {', '.join(titles)}"
        step = f"Name its {len(titles)} columns in their order, such as --header Date,Symbol,Close,Low,High"
        raise _problem(path, known, step)
    result.settings["columns"] = {name: title for name, title in places.items() if title is not None}
    result.reasons.append(
        "columns: " + ", ".join(f"{name} = {title}" for name, title in places.items() if title)
    )
    if places["symbol"] is None:
        end = end or path.name[len(path.stem.replace("_", " ").split(" ")[0]) :]
        stem = path.name.removesuffix(end)
        if not SYMBOL.fullmatch(stem.upper()):
            step = "Name each file after its symbol, such as SCOM.csv, or describe one file alone"
            raise _problem(path, f"no column of the symbol, and {stem!r} in the file's name is none", step)
        files = result.settings["files"] = SYMBOL_PLACEHOLDER + end
        result.doubts.append(f"no column of the symbol: it is taken from the file's name, {files}")
    else:
        result.settings["files"] = f"*{path.suffix}"


def _read_dates(path: Path, texts: list[str], result: Description, day_first: bool | None) -> None:
    usual = [text for text in texts if text]
    if not (written := forms(usual)):
        dates = dates_among(usual)  # not the word below the last row
        written = forms(dates) or forms(dates[:1])
    orders = {form.find("%d") < form.find("%m"): form for form in written if swappable(form)}
    if len(orders) == 2:
        if day_first is None:
            day_first = _order(usual, orders)
            result.reasons += (
                [] if day_first is None else ["order of day and month: the other has rows on weekends"]
            )
        if day_first is None:
            raise UndecidedOrder(
                f"{path}: {usual[0]!r} may be {orders[True]} or {orders[False]}, and no date shows which. "
                "Use --day-first or --month-first.",
                path=str(path),
            )
        written = [orders[day_first]]
    form = written[0]
    result.settings["date_format"] = form
    good = [day for text in usual if (day := parse_date(text, form)) is not None]
    if "%y" in form:
        result.doubts.append(f"years have two digits: read as {min(good):%Y-%m-%d} to {max(good):%Y-%m-%d}")
    result.reasons.append(f"date_format {form}: {len(good)} of {len(usual)} dates have it")
    if len(good) < len(usual):
        result.doubts.append(f"{len(usual) - len(good)} dates do not have the form {form}")
    if "%z" in form:
        result.doubts.append(
            "dates have a zone and are the day as written: set timezone if that is not the exchange's"
        )
    shares = Counter(WEEK[day.weekday()] for day in good)
    if shares["Sat"] + shares["Sun"] > 0.1 * len(good):
        result.settings["weekdays"] = [day for day in WEEK if shares[day] > 0.05 * len(good)]
        doubt = "weekdays: the rows' own, since many are on Saturday or Sunday"
        result.doubts.append(doubt + "; or day and month are in the other order" * swappable(form))


def _order(texts: list[str], orders: dict[bool, str]) -> bool | None:
    """Return whether the day is first, if only one order keeps the dates off weekends."""
    weekend = {
        first: sum(day.weekday() > 4 for text in texts if (day := parse_date(text, form))) / len(texts)
        for first, form in orders.items()
    }
    if len(texts) >= 10 and min(weekend.values()) == 0 and max(weekend.values()) > 0.1:
        return weekend[True] == 0
    return None


def _read_numbers(path: Path, columns: list[list[str]], result: Description) -> None:
    texts = [text for text in dict.fromkeys(itertools.chain(*columns)) if text not in ("", "-")]
    counts = {marks: sum(number(text, marks) for text in texts) for marks in MARKS}
    best = max(counts, key=lambda marks: counts[marks])
    result.settings |= {"decimal": best[0], "thousands": best[1]}
    result.reasons.append(f"decimal {best[0]!r}: {counts[best]} of {len(texts)} numbers are read")
    other = (",", ".") if best == (".", ",") else (".", ",")
    if counts[other] == counts[best] and any("," in text or "." in text for text in texts):
        result.doubts.append("decimal: every number could also have the marks exchanged")


def _try(path: Path, result: Description) -> None:
    """Read the file by the settings, and add its first rows and what was rejected."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE_NAME).write_text(tomli_w.dumps(result.settings), encoding="utf-8")
        (Path(folder) / path.name).symlink_to(path.resolve())
        archive = read_archive(Path(folder))
    rows = archive.rows.sort_values("date", kind="stable").head(3)
    rows = rows[["symbol", "date", "close", "low", "high", "volume"]].assign(
        date=rows["date"].dt.strftime("%Y-%m-%d")
    )
    result.rows = json.loads(rows.to_json(orient="records"))
    rejected = archive.ledger[archive.ledger["outcome"] == "rejected"]
    if len(rejected):
        result.doubts.append(f"{len(rejected)} rows rejected, the first: {rejected['reason'].iloc[0]}")
    if len(archive.mixed):
        result.doubts.append(f"dates look mixed up on {len(archive.mixed)} days")


def _problem(path: Path, what: str, step: str) -> ArchiveError:
    return ArchiveError(f"{path}: {what}. {step}.", path=str(path))


def describe_files(
    paths: Sequence[Path], *, day_first: bool | None = None, header: Sequence[str] = ()
) -> Description:
    """Describe files of one folder together; only their forms of dates may differ. Raises as `describe`."""
    end = common_end([path.name for path in paths]) if len(paths) > 1 else ""
    results = [describe(path, day_first=day_first, header=header, end=end) for path in paths]
    first = results[0]
    by_file = {path.name: one.settings.get("date_format") for path, one in zip(paths, results, strict=True)}
    for path, one in zip(paths, results, strict=True):
        differs = [
            name
            for name in {**one.settings, **first.settings}
            if name not in ("date_format", "weekdays") and one.settings.get(name) != first.settings.get(name)
        ]
        if differs:
            raise _problem(
                path,
                f"its {', '.join(differs)} differs from {paths[0].name}",
                "Describe it in another folder",
            )
        first.doubts += [doubt for doubt in one.doubts if doubt not in first.doubts]
    if len(set(by_file.values())) > 1:
        first.settings["date_format"] = by_file
        first.reasons.append("date_format: by file, since the files differ")
    return first
