"""Detect the price steps that are corporate actions, not returns."""

import math

import numpy as np
import pandas as pd

from common.archive.flags import Flag

LARGEST_FALL = 0.65
"""Ratio of a close to the close before; at or below it the step is taken for a split or a bonus."""
LARGEST_RISE = 1.80
"""Ratio of a close to the close before; at or above it the step is taken for a consolidation."""
SIMPLE_RATIOS = ((1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 8), (1, 10), (1, 20), (2, 3), (2, 5), (3, 5))
TOLERANCE = 0.10
"""Largest log distance of a step from a simple ratio: one day's return on top of the action."""
SUSPECT_RATIOS = (2 / 3, 3 / 4, 4 / 5, 5 / 6, 6 / 7)
"""Bonus issues above ``LARGEST_FALL``; smaller ones are within the daily band of 10 %."""
SUSPECT_TOLERANCE = 0.02
"""Largest log distance of a suspected step from one of ``SUSPECT_RATIOS``."""


def corporate_actions(close: np.ndarray) -> np.ndarray:
    """Mark the steps that are too large to be returns.

    A step is marked if the close is at most ``LARGEST_FALL`` or at least ``LARGEST_RISE`` times the last
    known close before it; later prices are not used. The exchange limits a day's move to about 10 % either
    way, except after news: of Nairobi's steps from 2013 to 2024 that count as returns, the largest rise is
    78 % and the largest fall 27 %.

    Parameters
    ----------
    close : float, shape (T,)
        Closes of one symbol in KES, oldest first; NaN is skipped.

    Returns
    -------
    bool, shape (T,)
        True where the step into day t is a split, bonus, consolidation or relisting.
    """
    close = np.asarray(close, dtype=np.float64)
    marked = np.zeros(close.shape, dtype=bool)
    rows = np.flatnonzero(close > 0)
    ratio = close[rows[1:]] / close[rows[:-1]]
    marked[rows[1:]] = (ratio <= LARGEST_FALL) | (ratio >= LARGEST_RISE)
    return marked


def action_steps(close: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Mark one symbol's corporate actions, both listed and detected ones; bool, shape (T,).

    Both are known on the evening of their date: ex-dates are announced, and detection uses no later price.

    Parameters
    ----------
    close : float, shape (T,)
        KES, oldest first.
    flags : int32, shape (T,)
        `Flag` bits: ``LISTED`` marks a step, ``RETURN`` clears a detected one.
    """
    detected = corporate_actions(close) & ((flags & int(Flag.RETURN)) == 0)
    return np.asarray(detected | ((flags & int(Flag.LISTED)) != 0))


def describe_action(ratio: float) -> str:
    """Name a step by the nearest simple ratio of new to old price.

    The result is like ``"split or bonus near 1:2"``, ``"consolidation near 4:1"`` or, if no simple ratio is
    near, ``"jump"``.
    """
    fall = min(ratio, 1 / ratio)
    small, large = min(SIMPLE_RATIOS, key=lambda pair: abs(math.log(fall * pair[1] / pair[0])))
    if abs(math.log(fall * large / small)) > TOLERANCE:
        return "jump"
    return f"split or bonus near {small}:{large}" if ratio < 1 else f"consolidation near {large}:{small}"


def symbol_spans(symbols: pd.Series) -> dict[str, tuple[int, int]]:
    """Return each symbol's first row and the row after its last; a symbol's rows must be contiguous."""
    codes, names = pd.factorize(symbols)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes))[: len(starts)]
    return dict(zip(names, zip(starts.tolist(), ends.tolist(), strict=True), strict=True))


def mark_actions(rows: pd.DataFrame) -> pd.DataFrame:
    """Recompute ``Flag.ACTION`` of rows sorted by symbol and date; indices (``^...``) have no actions."""
    close, flags = rows["close"].to_numpy(), rows["flags"].to_numpy() & ~np.int32(Flag.ACTION)
    for symbol, (start, stop) in symbol_spans(rows["symbol"]).items():
        if not symbol.startswith("^"):
            marked = action_steps(close[start:stop], flags[start:stop])
            flags[start:stop][marked] |= np.int32(Flag.ACTION)
    return rows.assign(flags=flags.astype(np.int32))


def list_actions(rows: pd.DataFrame) -> pd.DataFrame:
    """List the corporate actions in rows sorted by symbol and date, oldest first.

    The columns are ``symbol, date, before, after, ratio, kind, file, line, listed``: prices in KES, ratio =
    after / before; ``listed`` is false for actions that were detected by their price.
    """
    flags = rows["flags"].to_numpy()
    steps = _steps(rows, (flags & int(Flag.ACTION)) != 0)
    return steps.assign(listed=(steps.pop("flags") & int(Flag.LISTED)) != 0)


def list_suspects(rows: pd.DataFrame) -> pd.DataFrame:
    """List the returns that may be bonus issues, since they are near one of ``SUSPECT_RATIOS``.

    Some are real falls. A step in the table of corporate actions, also as kind ``none``, is no suspect. The
    columns are those of `list_actions` without ``listed``; ``kind`` names the ratio.
    """
    step = (rows["close"] / rows.groupby("symbol")["close"].shift()).to_numpy()
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.log(step[:, None] / np.array(SUSPECT_RATIOS)))
    returns = (rows["flags"].to_numpy() & int(Flag.ACTION | Flag.RETURN)) == 0
    stocks = ~rows["symbol"].str.startswith("^").to_numpy()
    steps = _steps(rows, (distance <= SUSPECT_TOLERANCE).any(axis=1) & returns & stocks)
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
