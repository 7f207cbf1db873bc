"""The gate for new prices, which must be newer than the release's, complete and plausible.

Skill is not judged: a refreshed release has the networks of the release before, which the gate for networks
(`train.gate.promotion`) has judged.
"""

import datetime as dt
from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.errors import GateClosed
from common.prices.panel import Panel
from common.release.subject import Check

PRICED = 0.9
"""A new session needs at least this share of the listed stocks of the session before. From 2013 to 2023 the
lowest share in Nairobi is 98 %."""
BAND = 0.11
"""Absolute log change beyond the exchange's daily band of 10 %."""
BEYOND_BAND = 0.2
"""Largest share of stocks that may move by more than ``BAND`` in one session. From 2013 to 2023 the highest
share in Nairobi is 6 %; prices in another unit have 100 %."""


def check_prices(before: Panel, after: Panel, listed: Collection[str], *, today: dt.date) -> list[Check]:
    """Check the sessions that ``after`` adds to a release's panel.

    Parameters
    ----------
    listed : the stocks of the release's universe; others may come and go
    today : the current day at the exchange; later sessions are refused
    """
    end, last = before.dates[-1], after.dates[-1]
    stocks = after.frame[(after.frame["date"] >= end) & ~after.frame["symbol"].str.startswith("^")]
    rows = stocks[["symbol", "date", "close", "flags", "known"]].assign(before=_close_before(after))
    parts = dict(list(rows.groupby("date")))
    sessions = after.dates[after.dates >= end]  # in one, there may be only indices
    days = {day: parts.get(day, rows[:0]) for day in sessions}
    return [
        Check("date", last.date() <= today, f"{last:%Y-%m-%d}", f"up to today, {today}"),
        _check("stocks priced", _few(days, end, listed), f"at least {PRICED:.0%} of the session before"),
        _check("newest session", _copied(days[last], last), "closes of its own, no copy of the one before"),
        _check(
            "market-wide step",
            _step(days, end),
            f"at most {BEYOND_BAND:.0%} of the stocks move by more than {BAND:.0%}",
        ),
    ]


def refuse_older(last: pd.Timestamp, end: pd.Timestamp) -> None:
    """Raise GateClosed if prices end before those of production, whose last session is ``end``."""
    if last < end:
        raise GateClosed(
            f"the new prices are older: they end on {last:%Y-%m-%d}, and those in production on "
            f"{end:%Y-%m-%d}. Add newer prices."
        )


def refuse_prices(checks: list[Check], production: str) -> None:
    """Raise GateClosed with every failed check."""
    failed = [f"{check.name}: got {check.found}; need {check.needed}" for check in checks if not check.passed]
    if failed:
        raise GateClosed(
            f"the new prices are refused: {'; '.join(failed)}. {production} stays in production. Correct the "
            "prices, then run the same command; if they are correct, use `nsecast train` and `nsecast models "
            "promote` instead.",
            reasons=failed,
        )


def _check(name: str, problems: Iterator[str], needed: str) -> Check:
    found = "; ".join(problems)
    return Check(name, not found, found or "as needed", needed)


def _close_before(panel: Panel) -> pd.Series:
    return panel.frame.groupby("symbol")["close"].shift()


def _few(days: dict[pd.Timestamp, pd.DataFrame], end: pd.Timestamp, listed: Collection[str]) -> Iterator[str]:
    previous: set[str] = set()
    for day, rows in days.items():
        symbols = set(rows["symbol"]).intersection(listed)
        if day > end and len(symbols & previous) < PRICED * len(previous):
            yield f"{len(symbols & previous)} of {len(previous)} on {day:%Y-%m-%d}"
        previous = symbols


def _copied(rows: pd.DataFrame, day: pd.Timestamp) -> Iterator[str]:
    own = ((rows["flags"] & int(Flag.STALE)) == 0) & (rows["known"] == rows["date"])
    if own.sum() < PRICED * len(rows):
        yield f"{own.sum()} of {len(rows)} closes of {day:%Y-%m-%d} are its own"


def _step(days: dict[pd.Timestamp, pd.DataFrame], end: pd.Timestamp) -> Iterator[str]:
    for day, rows in days.items():
        steps = np.log(rows["close"] / rows["before"])[(rows["flags"] & int(Flag.LISTED)) == 0].dropna()
        beyond = int((steps.abs() > BAND).sum())
        if day > end and beyond > BEYOND_BAND * len(steps):
            yield f"{beyond} of {len(steps)} on {day:%Y-%m-%d}"
