"""Steps in a price that are changes of the share itself, not returns."""

import math

import numpy as np
import pandas as pd

from common.archive.flags import Flag

LARGEST_FALL = 0.65
"""A day's close over the one before; at or below it the step is taken for a split or a bonus."""
LARGEST_RISE = 1.80
"""A day's close over the one before; at or above it the step is taken for a consolidation."""
SIMPLE_RATIOS = ((1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 8), (1, 10), (1, 20), (2, 3), (2, 5), (3, 5))
TOLERANCE = 0.10
"""How far, as a log ratio, a step may lie from a simple ratio: one day's move on top of the change."""
SUSPECT_RATIOS = (2 / 3, 3 / 4, 4 / 5, 5 / 6, 6 / 7)
"""Bonus issues that stay above ``LARGEST_FALL``; smaller ones hide in the daily band of 10 %."""
SUSPECT_TOLERANCE = 0.02
"""How far, as a log ratio, a step may lie from one of them to be suspected."""


def corporate_actions(close: np.ndarray) -> np.ndarray:
    """Mark the steps that cannot be returns.

    The exchange holds a day's move to about 10 % either way, and lifts that for news: of the steps from
    2013 to 2024 that are left as returns, the largest rise is 78 % and the largest fall 27 %. A step is
    marked if the close is at most ``LARGEST_FALL`` or at least ``LARGEST_RISE`` times the last known
    close before it. Nothing after day t is looked at.

    Parameters
    ----------
    close : float, shape (T,)
        Closes of one symbol in KES, oldest first; NaN is skipped over.

    Returns
    -------
    bool, shape (T,)
        True where the step into day t is a split, bonus, consolidation or relisting.
    """
    close = np.asarray(close, dtype=np.float64)
    marked = np.zeros(close.shape, dtype=bool)
    known = np.flatnonzero(close > 0)
    ratio = close[known[1:]] / close[known[:-1]]
    marked[known[1:]] = (ratio <= LARGEST_FALL) | (ratio >= LARGEST_RISE)
    return marked


def action_steps(close: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Mark one symbol's corporate actions: those that the table lists and those of `corporate_actions`.

    An ex-date is announced before it comes, so a listed action is known on its own evening. What is not
    listed is found by its price, on that evening too.

    Parameters
    ----------
    close : float, shape (T,)
        KES, oldest first.
    flags : int32, shape (T,)
        `Flag` bits: ``LISTED`` marks a step, ``RETURN`` clears it.

    Returns
    -------
    bool, shape (T,)
    """
    found = corporate_actions(close) & ((flags & int(Flag.RETURN)) == 0)
    marked: np.ndarray = found | ((flags & int(Flag.LISTED)) != 0)
    return marked


def describe_action(ratio: float) -> str:
    """Name a step by the nearest simple ratio, new price to old: a guess from the price alone.

    Returns
    -------
    str
        Such as ``"split or bonus near 1:2"``, ``"consolidation near 4:1"``, or ``"jump"`` if no simple
        ratio is near.
    """
    fall = min(ratio, 1 / ratio)
    small, large = min(SIMPLE_RATIOS, key=lambda pair: abs(math.log(fall * pair[1] / pair[0])))
    if abs(math.log(fall * large / small)) > TOLERANCE:
        return "jump"
    return f"split or bonus near {small}:{large}" if ratio < 1 else f"consolidation near {large}:{small}"


def symbol_spans(symbols: pd.Series) -> dict[str, tuple[int, int]]:
    """First row and the row after the last of each symbol, in their order; its rows must lie together."""
    codes, names = pd.factorize(symbols)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes))[: len(starts)]
    return dict(zip(names, zip(starts.tolist(), ends.tolist(), strict=True), strict=True))


def mark_actions(rows: pd.DataFrame) -> pd.DataFrame:
    """Set ``Flag.ACTION`` afresh on rows sorted by symbol and date; indices (``^...``) have none."""
    marked = np.zeros(len(rows), dtype=bool)
    close, known = rows["close"].to_numpy(), rows["flags"].to_numpy()
    for symbol, (start, stop) in symbol_spans(rows["symbol"]).items():
        if not symbol.startswith("^"):
            marked[start:stop] = action_steps(close[start:stop], known[start:stop])
    flags = rows["flags"].to_numpy() & ~np.int32(Flag.ACTION)
    return rows.assign(flags=np.where(marked, flags | Flag.ACTION, flags).astype(np.int32))


def list_actions(rows: pd.DataFrame) -> pd.DataFrame:
    """The marked steps of rows sorted by symbol and date, oldest first.

    Returns
    -------
    DataFrame
        ``symbol, date, before, after, ratio, kind, file, line, listed``; prices in KES, ratio = after /
        before, ``listed`` is false where the step was found by its price alone.
    """
    flags = rows["flags"].to_numpy()
    steps = _steps(rows, (flags & int(Flag.ACTION)) != 0)
    return steps.assign(listed=(steps.pop("flags") & int(Flag.LISTED)) != 0)


def list_suspects(rows: pd.DataFrame) -> pd.DataFrame:
    """Steps that are left as returns and could be bonus issues: near one of ``SUSPECT_RATIOS``.

    Some are real falls. Whoever knows better lists them, as an action or as kind ``none``, and they are no
    longer suspects.

    Returns
    -------
    DataFrame
        As `list_actions`, without ``listed``; ``kind`` names the ratio.
    """
    step = (rows["close"] / rows.groupby("symbol")["close"].shift()).to_numpy()
    with np.errstate(invalid="ignore"):
        off = np.abs(np.log(step[:, None] / np.array(SUSPECT_RATIOS)))
    left = (rows["flags"].to_numpy() & int(Flag.ACTION | Flag.RETURN)) == 0
    stocks = ~rows["symbol"].str.startswith("^").to_numpy()
    steps = _steps(rows, (off <= SUSPECT_TOLERANCE).any(axis=1) & left & stocks)
    return steps.drop(columns="flags").assign(kind=steps["ratio"].map(_nearest_bonus).astype("str"))


def _steps(rows: pd.DataFrame, marked: np.ndarray) -> pd.DataFrame:
    before = rows.groupby("symbol")["close"].shift()
    steps = rows.loc[marked, ["symbol", "date", "close", "file", "line", "flags"]]
    steps = steps.rename(columns={"close": "after"})
    steps["before"] = before[marked]
    steps["ratio"] = steps["after"] / steps["before"]
    steps["kind"] = steps["ratio"].map(describe_action).astype("str")
    columns = ["symbol", "date", "before", "after", "ratio", "kind", "file", "line", "flags"]
    return steps.sort_values(["date", "symbol"])[columns].reset_index(drop=True)


def _nearest_bonus(ratio: float) -> str:
    new = min(range(2, 7), key=lambda old: abs(math.log(ratio * (old + 1) / old)))
    return f"bonus near {new}:{new + 1}"
