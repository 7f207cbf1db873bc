"""Find the rows of one request in a log of answers.

The server makes the request ids. In logs written before it did (``form`` is null) clients could choose them;
the rows of such an id in one file are taken as one request.
"""

from typing import Any

from common.errors import ReceiptError

LoggedRow = dict[str, Any]
"""A row of `serve.audit.files.SCHEMA` with its ``place`` and how many ``times`` it has the id."""
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


def only_request(rows: list[LoggedRow], name: str) -> list[LoggedRow]:
    """Return the rows of the request with an id.

    Parameters
    ----------
    rows : all rows with the id, oldest first; at least one
    name : the id, for the message

    Raises
    ------
    ReceiptError
        If the rows are of several releases or, in logs with the clients' ids, in several files.
    """
    rows = [row for row in rows if row["form"] is not None] or rows
    requests: dict[tuple[Any, ...], dict[tuple[Any, ...], LoggedRow]] = {}
    for row in rows:
        key = row["release_digest"], None if row["form"] is not None else row["place"]["digest"]
        forecast = tuple(row[name] for name in SAME_FORECAST)
        requests.setdefault(key, {}).setdefault(forecast, row)
    if len(requests) == 1:
        return list(requests.popitem()[1].values())
    releases = ", ".join(sorted({row["release"] for row in rows}))
    raise ReceiptError(
        f"{name}: {len(requests)} requests have this id, by {releases}, between"
        f" {rows[0]['served_at']:%Y-%m-%d %H:%M} and {rows[-1]['served_at']:%Y-%m-%d %H:%M} UTC. "
        "Select one with --symbol and --horizon."
    )
