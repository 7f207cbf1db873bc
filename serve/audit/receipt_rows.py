"""Which rows of a log of answers are those of one request.

The server makes the request ids. In logs written before it did (``form`` is null) clients could choose them,
and several requests may have one id: these are told apart as far as the log can tell, and never merged.
"""

import datetime as dt
from typing import Any

from common.errors import ReceiptError

Row = dict[str, Any]
"""A row of `serve.audit.files.SCHEMA` with its ``place``, how many ``times`` the id is on it, and whether it
is the ``first`` there."""
ONE = ("release_digest", "symbol", "horizon", "as_of", "brought", "prices", "prices_digest", "model_type")
"""Rows of one request that agree in these are one forecast."""
TOGETHER = dt.timedelta(seconds=1)
"""The rows of one request are noted within less."""


def only_request(rows: list[Row], name: str, number: int | None = None) -> list[Row]:
    """The rows of the one request that has an id, or of the chosen one of several.

    Parameters
    ----------
    rows : all that have the id, oldest first; at least one
    name : of the id, for the message
    number : the request to take, counted from 1, oldest first

    Raises
    ------
    ReceiptError
        If there are several and ``number`` is None, or there is none of that number.
    """
    ours = [row for row in rows if row["form"] is not None]
    found = _by_release(ours) if ours else _told_apart(rows)
    if number is None and len(found) == 1:
        return found[0]
    if number is not None and 0 < number <= len(found):
        return found[number - 1]
    listed = "; ".join(f"{place}: {_described(each)}" for place, each in enumerate(found, start=1))
    got = f"{len(found)} requests have this id" + (f", and none is number {number}" if number else "")
    raise ReceiptError(
        f"{name}: {got} (clients could choose it when that log was written): {listed}. Choose one with "
        "--number, or tell them apart with --symbol and --horizon."
    )


def _by_release(rows: list[Row]) -> list[list[Row]]:
    """Requests under an id that the server made: one, unless somebody else wrote rows."""
    requests: dict[str, dict[tuple[Any, ...], Row]] = {}
    for row in rows:
        forecasts = requests.setdefault(row["release_digest"], {})
        forecasts.setdefault(tuple(row[name] for name in ONE), row)
    return [list(forecasts.values()) for forecasts in requests.values()]


def _told_apart(rows: list[Row]) -> list[list[Row]]:
    """Requests under an id that a client chose: those of other files, or that one request cannot be."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["place"]["digest"], row["release_digest"], row["as_of"]), []).append(row)
    requests: list[list[Row]] = []
    for group in groups.values():
        requests += [group] if _may_be_one(group) else [[row] for row in group]
    return requests


def _may_be_one(rows: list[Row]) -> bool:
    """Whether a single request could have these answers: many stocks, or one at many horizons."""
    symbols, horizons = ([row[name] for row in rows] for name in ("symbol", "horizon"))
    if len(set(symbols)) > 1 < len(set(horizons)) or len(set(zip(symbols, horizons, strict=True))) < len(
        rows
    ):
        return False
    if len({row["times"] for row in rows}) > 1:
        return False
    first = [row["served_at"] for row in rows if row["first"]]
    return not first or max(first) - min(first) < TOGETHER


def _described(rows: list[Row]) -> str:
    row = rows[0]
    about = ", ".join(f"{each['symbol']} {each['horizon']}d" for each in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    again = f", {row['times']} times" if row["times"] > 1 else ""
    return f"{about}{more} by {row['release']}, from {row['served_at']:%Y-%m-%d %H:%M:%S} UTC on{again}"
