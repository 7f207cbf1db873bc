"""Table of known corporate actions: shipped for Nairobi, extended by a file in the archive's folder."""

import datetime as dt
import functools
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
import pydantic
from pydantic import Field

from common.archive.actions import symbol_spans
from common.archive.flags import Flag
from common.config import Config, read_toml
from common.errors import ConfigError

FILE_NAME = "corporate_actions.toml"
SHIPPED = Path(__file__).with_name(FILE_NAME)
Kind = Literal["split", "bonus", "consolidation", "rights", "other", "none"]
Placed = tuple["CorporateAction", pd.Timestamp]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.&-]{0,14}$")]


class CorporateAction(Config):
    """One entry of the table."""

    symbol: Symbol
    ex_date: dt.date
    """First session on which the share trades without the right; if the symbol has no row on that day, its
    next row counts."""
    kind: Kind
    """``none``: the step into that row is a real return; it replaces an entry of the shipped table."""
    ratio: Annotated[str, Field(pattern=r"^[0-9./]{1,20}$")] | None = None
    """Price after the action over the price before by its terms, such as ``"10/11"``; not for ``none``."""
    evidence: Annotated[str, Field(min_length=1)]
    """Source of the entry."""

    @pydantic.model_validator(mode="after")
    def _check_ratio(self) -> Self:
        if (self.kind == "none") != (self.ratio is None):
            raise ValueError('need a ratio such as "10/11", and none for kind "none"')
        if self.ratio is not None and self.factor in (None, 1):
            raise ValueError(f'ratio: need a positive fraction but 1, such as "10/11", got {self.ratio!r}')
        return self

    @property
    def factor(self) -> Fraction | None:
        """``ratio`` as a number; None if it is not positive."""
        try:
            factor = Fraction(self.ratio or "")
        except (ValueError, ZeroDivisionError):
            return None
        return factor if factor > 0 else None


def load_actions(folder: Path, *, shipped: bool) -> tuple[CorporateAction, ...]:
    """Load an archive's corporate actions, sorted by symbol and date.

    The folder's ``corporate_actions.toml``, if it exists, adds entries to the shipped table and replaces
    those of the same symbol and date; with ``extends = false`` it replaces the whole table.

    Parameters
    ----------
    folder : Path
        The archive's folder.
    shipped : bool
        Whether to start with the shipped table: for Nairobi's own prices only.

    Raises
    ------
    ConfigError
        If an entry is invalid; names the file and the entry.
    """
    path = Path(folder) / FILE_NAME
    extends, own = _read(path) if path.is_file() else (True, ())
    base = shipped_actions() if shipped and extends else ()
    table = {(action.symbol, action.ex_date): action for action in (*base, *own)}
    return tuple(table[key] for key in sorted(table))


@functools.cache
def shipped_actions() -> tuple[CorporateAction, ...]:
    """Return Nairobi's corporate actions, shipped with the package."""
    return _read(SHIPPED)[1]


def mark_listed(
    rows: pd.DataFrame, actions: tuple[CorporateAction, ...]
) -> tuple[pd.DataFrame, list[Placed]]:
    """Set ``Flag.LISTED`` on the row that each action takes effect on, ``Flag.RETURN`` for kind ``none``.

    An action takes effect on the symbol's first row on or after the ex-date. If that is the symbol's oldest
    row, or the kind is ``none``, the row must have the very date.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, date, flags``, sorted by symbol and date.

    Returns
    -------
    rows, placed
        The flagged rows, and the actions with a step into a row, each with the row's date.
    """
    flags = rows["flags"].to_numpy() & ~np.int32(Flag.LISTED | Flag.RETURN)
    spans, dates = symbol_spans(rows["symbol"]), rows["date"].to_numpy()
    placed = []
    for action in actions:
        first, stop = spans.get(action.symbol, (0, 0))
        row = first + int(np.searchsorted(dates[first:stop], np.datetime64(action.ex_date)))
        if not first <= row < stop:
            continue
        if (row == first or action.kind == "none") and dates[row] != np.datetime64(action.ex_date):
            continue
        flags[row] |= np.int32(Flag.RETURN if action.kind == "none" else Flag.LISTED)
        if row > first:  # a first row has a step only once older rows are merged
            placed.append((action, pd.Timestamp(dates[row])))
    return rows.assign(flags=flags.astype(np.int32)), placed


def with_terms(steps: pd.DataFrame, placed: list[Placed]) -> pd.DataFrame:
    """Add ``terms`` (a fraction as text) and ``evidence`` to the result of `list_actions`.

    Listed actions also get the ``kind`` of the table; for the others both columns are empty.
    """
    listed = {(action.symbol, date): action for action, date in placed if action.kind != "none"}
    actions = [listed.get(key) for key in zip(steps["symbol"], steps["date"], strict=True)]
    details = [
        (action.kind, str(action.factor), action.evidence) if action else (kind, "", "")
        for action, kind in zip(actions, steps["kind"], strict=True)
    ]
    return steps.assign(**pd.DataFrame(details, columns=["kind", "terms", "evidence"]).astype("str"))


def not_placed(actions: tuple[CorporateAction, ...], placed: list[Placed]) -> list[CorporateAction]:
    """Return the actions without a step, except shipped ones, whose dates an archive need not cover."""
    expected = {action for action, _ in placed} | set(shipped_actions())
    return [action for action in actions if action not in expected]


def _read(path: Path) -> tuple[bool, tuple[CorporateAction, ...]]:
    """Return ``extends`` and the entries of a file."""
    values = read_toml(path)
    entries, extends = values.pop("action", []), values.pop("extends", True)
    are_tables = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if values or not isinstance(extends, bool) or not are_tables:
        raise ConfigError(
            f"{path}: got {', '.join(sorted(values)) or 'other values'}, need `extends = true` or `false` "
            "and a table [[action]] for each corporate action.",
            path=str(path),
        )
    actions: dict[tuple[str, dt.date], CorporateAction] = {}
    for number, entry in enumerate(entries, start=1):
        label = f"action {number} ({entry.get('symbol', 'no symbol')} {entry.get('ex_date', 'no ex_date')})"
        action = CorporateAction.parse(entry, where=f"{path}: {label}")
        key = action.symbol, action.ex_date
        if key in actions:
            raise ConfigError(
                f"{path}: {label}: action {list(actions).index(key) + 1} has the same symbol and date; need "
                "one, with the product of both ratios.",
                path=str(path),
            )
        actions[key] = action
    return extends, tuple(actions.values())
