"""The dated table of known corporate actions: shipped for Nairobi, extended by an archive's folder."""

import datetime as dt
import functools
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

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
    """First session on which the share trades without the right; the symbol's next row counts if it has none
    on that day."""
    kind: Kind
    """``none``: the step into that row is a real return, whatever its size; an entry for the same symbol and
    date in the shipped table no longer holds."""
    ratio: Annotated[str, Field(pattern=r"^[0-9./]{1,20}$")] | None = None
    """Price after the action over the price before it by its terms, such as ``"10/11"``; not for ``none``."""
    evidence: Annotated[str, Field(min_length=1)]
    """Why it is in the table, in plain words."""

    @pydantic.model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.kind == "none") != (self.ratio is None):
            raise ValueError('need a ratio such as "10/11", and none for kind "none"')
        if self.ratio is not None and self.factor in (None, 1):
            raise ValueError(f'ratio: need a positive fraction but 1, such as "10/11", got {self.ratio!r}')
        return self

    @property
    def factor(self) -> Fraction | None:
        """``ratio`` as a number; None where it is not a positive one."""
        try:
            factor = Fraction(self.ratio or "")
        except (ValueError, ZeroDivisionError):
            return None
        return factor if factor > 0 else None


def load_actions(folder: Path, *, shipped: bool) -> tuple[CorporateAction, ...]:
    """The corporate actions in force for an archive, by symbol and date.

    The shipped table is Nairobi's own. The folder's ``corporate_actions.toml``, if there is one, adds entries
    and replaces those of the same symbol and date; with ``extends = false`` in it no shipped one holds.

    Parameters
    ----------
    folder : Path
        The archive's folder.
    shipped : bool
        Whether it holds Nairobi's own prices. Another exchange, or an invented market, starts empty.

    Raises
    ------
    ConfigError
        Naming the file, the entry, what it says and what is needed.
    """
    path = Path(folder) / FILE_NAME
    extends, own = _read(path) if path.is_file() else (True, ())
    first = shipped_actions() if shipped and extends else ()
    table = {(action.symbol, action.ex_date): action for action in (*first, *own)}
    return tuple(table[key] for key in sorted(table))


@functools.cache
def shipped_actions() -> tuple[CorporateAction, ...]:
    """Nairobi's corporate actions, as shipped with the package."""
    return _read(SHIPPED)[1]


def mark_listed(
    rows: pd.DataFrame, actions: tuple[CorporateAction, ...]
) -> tuple[pd.DataFrame, list[Placed]]:
    """Set ``Flag.LISTED`` on the row that each action takes effect on, ``Flag.RETURN`` for kind ``none``.

    That is the symbol's first row on or after the ex-date, if it has one before it as well: there is a step
    only between two rows. Kind ``none`` needs a row on the very date.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, date, flags``, sorted by symbol and date.

    Returns
    -------
    rows, placed
        The flagged rows, and each action that a row was found for, with that row's date.
    """
    flags = rows["flags"].to_numpy() & ~np.int32(Flag.LISTED | Flag.RETURN)
    spans, dates = symbol_spans(rows["symbol"]), rows["date"].to_numpy()
    placed = []
    for action in actions:
        first, stop = spans.get(action.symbol, (0, 0))
        row = first + int(np.searchsorted(dates[first:stop], np.datetime64(action.ex_date)))
        there = first <= row < stop
        if there and (row == first or action.kind == "none"):
            there = dates[row] == np.datetime64(action.ex_date)
        if there:
            flags[row] |= np.int32(Flag.RETURN if action.kind == "none" else Flag.LISTED)
        if there and row > first:  # a first row has a step only once older rows are put before it
            placed.append((action, pd.Timestamp(dates[row])))
    return rows.assign(flags=flags.astype(np.int32)), placed


def with_terms(steps: pd.DataFrame, placed: list[Placed]) -> pd.DataFrame:
    """Steps as `list_actions` gives them, with ``terms`` (a fraction as text) and ``evidence`` of the listed.

    Their ``kind`` is the table's; of the others both columns are empty.
    """
    listed = {(action.symbol, date): action for action, date in placed if action.kind != "none"}
    found = [listed.get(key) for key in zip(steps["symbol"], steps["date"], strict=True)]
    kinds = [action.kind if action else kind for action, kind in zip(found, steps["kind"], strict=True)]
    return steps.assign(
        kind=pd.Series(kinds, dtype="str"),
        terms=pd.Series([str(action.factor) if action else "" for action in found], dtype="str"),
        evidence=pd.Series([action.evidence if action else "" for action in found], dtype="str"),
    )


def not_placed(actions: tuple[CorporateAction, ...], placed: list[Placed]) -> list[CorporateAction]:
    """The actions of an archive's own table without a step; shipped ones may lie outside its dates."""
    done = {action for action, _ in placed} | set(shipped_actions())
    return [action for action in actions if action not in done]


def _read(path: Path) -> tuple[bool, tuple[CorporateAction, ...]]:
    values = read_toml(path)
    entries, extends = values.pop("action", []), values.pop("extends", True)
    if values or not isinstance(extends, bool) or not _are_tables(entries):
        raise ConfigError(
            f"{path}: got {', '.join(sorted(values)) or 'other values'}, need `extends = true` or `false` "
            "and a table [[action]] for each corporate action.",
            path=str(path),
        )
    actions = []
    for number, entry in enumerate(entries, start=1):
        named = f"{entry.get('symbol', 'no symbol')} {entry.get('ex_date', 'no ex_date')}"
        actions.append(CorporateAction.parse(entry, where=f"{path}: action {number} ({named})"))
    keys = [(action.symbol, action.ex_date) for action in actions]
    for number, key in enumerate(keys, start=1):
        if keys.index(key) + 1 < number:
            raise ConfigError(
                f"{path}: action {number} ({key[0]} {key[1]}): action {keys.index(key) + 1} is of the same "
                "symbol and date; need one, with the product of both ratios.",
                path=str(path),
            )
    return extends, tuple(actions)


def _are_tables(entries: Any) -> bool:
    return isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
