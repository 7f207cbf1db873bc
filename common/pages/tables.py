"""Tables of a page: figures as people read them, with the unrounded number for sorting and for programs."""

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
    """What one cell shows; ``number`` is None where there is no number."""

    shown: Any
    number: float | None


@dataclass(frozen=True)
class Column:
    """A column: where its value is in a row, its heading, and how a value that is there is shown."""

    name: str
    heading: str
    show: Callable[..., Any] = str
    """Takes the value, and the value of ``test`` where there is one; returns text or Markup."""
    number: bool = True
    key: str = ""
    """What a program finds the column by; default: ``name``."""
    horizon: int | None = None
    """The page shows the column at this horizon only; None: always."""
    test: str = ""
    """The column with the p of a ratio's test."""

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
    """Whether a row stands out."""
    sorted_by: str = ""
    """Key of the column that the rows are sorted by; if given, a click on a heading sorts."""

    most: int | None = None
    """So many rows are shown, and the page says that there are more; None: all."""

    def body(self) -> Iterator[tuple[dict[str, Any], list[tuple[Column, Cell]]]]:
        """The rows that are shown, with their cells."""
        for row in self.rows[: self.most]:
            yield row, [(column, column.cell(row)) for column in self.columns]


def missing(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return False
    return value is None or value == "" or bool(pd.isna(value))


def fixed(form: str, times: float = 1) -> Callable[[Any], str]:
    """Show a number by a format such as ``,.3f``, multiplied first."""
    return lambda value: format(times * value, form)


def ratio(value: float, p: float | None = None, digits: int = 3) -> Markup:
    """A ratio of errors with a sign for better or worse; a star where a test finds it significant."""
    verdict, sign = verdict_of(value, digits)
    clear = verdict != "equal" and p is not None and p < SIGNIFICANT
    words = verdict + (", significantly" if clear else "")
    star = "*" if clear else ""
    return RATIO.format(verdict=verdict, sign=sign, value=value, digits=digits, star=star, words=words)


def verdict_of(value: float, digits: int = 3) -> tuple[str, str]:
    """Word and sign; what reads 1.000 is equal."""
    if round(value, digits) == 1:
        return "equal", "="
    return ("better", "✓") if value < 1 else ("worse", "✗")
