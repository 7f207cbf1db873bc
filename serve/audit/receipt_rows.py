"""Find the rows of one request in a log of answers.

The server makes the request ids. In logs written before it did (``form`` is null) clients could choose them,
and several requests may share an id: they are separated as far as the log allows, and never merged.
"""

import datetime as dt
from typing import Any

from common.errors import ReceiptError

LoggedRow = dict[str, Any]
"""A row of `serve.audit.files.SCHEMA` with its ``place``, how many ``times`` it has the id, and whether it is
its ``first``."""
SAME_FORECAST = (
    "release_digest",
    "symbol",
    "horizon",
    "as_of",
    "brought",
    "prices",
    "prices_digest",
    "model_type",
)
"""Rows of one request that are equal in these columns are one forecast."""
SAME_REQUEST = dt.timedelta(seconds=1)
"""The rows of one request are recorded within this time."""


def only_request(rows: list[LoggedRow], name: str, number: int | None = None) -> list[LoggedRow]:
    """Return the rows of the request with an id, or of the chosen one of several.

    Parameters
    ----------
    rows : all rows with the id, oldest first; at least one
    name : the id, for the message
    number : the request to take, counted from 1, oldest first

    Raises
    ------
    ReceiptError
        If there are several and ``number`` is None, or ``number`` does not exist.
    """
    ours = [row for row in rows if row["form"] is not None]
    requests = _by_release(ours) if ours else _separated(rows)
    if number is None and len(requests) == 1:
        return requests[0]
    if number is not None and 0 < number <= len(requests):
        return requests[number - 1]
    listed = "; ".join(f"{index}: {_described(request)}" for index, request in enumerate(requests, start=1))
    got = f"{len(requests)} requests have this id" + (f", and none is number {number}" if number else "")
    raise ReceiptError(
        f"{name}: {got} (clients could choose it when that log was written): {listed}. Choose one with "
        "--number, or select one with --symbol and --horizon."
    )


def _by_release(rows: list[LoggedRow]) -> list[list[LoggedRow]]:
    """Group the rows of an id that the server made: one request, unless rows were forged."""
    requests: dict[str, dict[tuple[Any, ...], LoggedRow]] = {}
    for row in rows:
        forecasts = requests.setdefault(row["release_digest"], {})
        forecasts.setdefault(tuple(row[name] for name in SAME_FORECAST), row)
    return [list(forecasts.values()) for forecasts in requests.values()]


def _separated(rows: list[LoggedRow]) -> list[list[LoggedRow]]:
    """Separate the requests of an id that a client chose: by file, and where one request is impossible."""
    groups: dict[tuple[Any, ...], list[LoggedRow]] = {}
    for row in rows:
        groups.setdefault((row["place"]["digest"], row["release_digest"], row["as_of"]), []).append(row)
    requests: list[list[LoggedRow]] = []
    for group in groups.values():
        requests += [group] if _may_be_one(group) else [[row] for row in group]
    return requests


def _may_be_one(rows: list[LoggedRow]) -> bool:
    """Whether one request could have these rows: many stocks, or one stock at many horizons."""
    symbols, horizons = ([row[name] for row in rows] for name in ("symbol", "horizon"))
    if len(set(symbols)) > 1 < len(set(horizons)) or len(set(zip(symbols, horizons, strict=True))) < len(
        rows
    ):
        return False
    if len({row["times"] for row in rows}) > 1:
        return False
    first = [row["served_at"] for row in rows if row["first"]]
    return not first or max(first) - min(first) < SAME_REQUEST


def _described(rows: list[LoggedRow]) -> str:
    row = rows[0]
    about = ", ".join(f"{forecast['symbol']} {forecast['horizon']}d" for forecast in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    again = f", {row['times']} times" if row["times"] > 1 else ""
    return f"{about}{more} by {row['release']}, from {row['served_at']:%Y-%m-%d %H:%M:%S} UTC on{again}"
