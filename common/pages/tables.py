"""Tables of a page: formatted figures, with the unrounded numbers for sorting and scripts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

SIGNIFICANT = 0.05
NOTHING = Markup('<span aria-hidden="true">–</span><span class="sr">none</span>')
RATIO = Markup(
    '<span class="{verdict}"><span aria-hidden="true">{sign} </span>{value:,.{digits}f}{star}'
    '<span class="sr"> {words}</span></span>'
)


@dataclass(frozen=True)
class Cell:
    """The content of a cell; ``number`` is None if it has no number."""

    shown: Any
    number: float | None


@dataclass(frozen=True)
class Column:
    """A column: the key of its value in a row, its heading, and the format of its values."""

    name: str
    heading: str
    show: Callable[..., Any] = str
    """Formats a value, given also the value of ``test`` if that is set, as text or Markup."""
    number: bool = True
    key: str = ""
    """The key by which scripts find the column; default: ``name``."""
    horizon: int | None = None
    """The only horizon at which the page shows the column; None: always shown."""
    test: str = ""
    """The key of the p-value of a ratio's test."""

    def cell(self, row: dict[str, Any]) -> Cell:
        value = row.get(self.name)
        if missing(value):
            return Cell(NOTHING, None)
        more = (row.get(self.test),) if self.test else ()
        return Cell(self.show(value, *more), value if isinstance(value, int | float) else None)


@dataclass(frozen=True)
class Table:
    """A table with a caption, whose first column heads each row."""

    rows: Sequence[dict[str, Any]]
    columns: Sequence[Column]
    caption: str
    name: str = ""
    """The table's id."""
    marked: Callable[[dict[str, Any]], bool] = lambda row: False
    """Whether a row is highlighted."""
    sorted_by: str = ""
    """Key of the column by which the rows are sorted; if set, a click on a heading sorts."""
    most: int | None = None
    """Maximum number of rows shown, with a note if there are more; None: all."""

    def body(self) -> Iterator[tuple[dict[str, Any], list[tuple[Column, Cell]]]]:
        """Yield the rows that are shown, with their cells."""
        for row in self.rows[: self.most]:
            yield row, [(column, column.cell(row)) for column in self.columns]


def missing(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return False
    return value is None or value == "" or bool(pd.isna(value))


def fixed(form: str, times: float = 1) -> Callable[[Any], str]:
    """Return a function that multiplies a number and formats it, for example as ``,.3f``."""
    return lambda value: format(times * value, form)


def ratio(value: float, p: float | None = None, digits: int = 3) -> Markup:
    """Format a ratio of errors with a sign for better or worse, and a star if it is significant."""
    verdict, sign = verdict_of(value, digits)
    significant = verdict != "equal" and p is not None and p < SIGNIFICANT
    words = verdict + (", significantly" if significant else "")
    star = "*" if significant else ""
    return RATIO.format(verdict=verdict, sign=sign, value=value, digits=digits, star=star, words=words)


def verdict_of(value: float, digits: int = 3) -> tuple[str, str]:
    """Return the word and sign for a ratio; a ratio that rounds to 1 is equal."""
    if round(value, digits) == 1:
        return "equal", "="
    return ("better", "✓") if value < 1 else ("worse", "✗")
