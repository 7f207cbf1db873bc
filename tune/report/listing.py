"""Tables of the search's report: how a value is shown, and what a program finds in its cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from train.report.tables import NOTHING, boxed, ratio
from tune import labels

MARKED = ' class="ours"'


class Spread(float):
    """A spread of scores, which is not itself better or worse than naive."""


@dataclass(frozen=True)
class Column:
    """A column: its key in the rows, its heading, and how a value that is there is shown, as HTML."""

    key: str
    heading: str
    shown: Callable[[Any], str] = lambda value: escape(labels.said(value))
    number: bool = True

    @property
    def kind(self) -> str:
        return ' class="number"' if self.number else ""


def score(value: float) -> str:
    """A score next to naive, whose differences are of the fourth digit."""
    return exact(value) if isinstance(value, Spread) else ratio(value, digits=4)


def exact(value: float) -> str:
    return f"{value:.4f}"


def signed(value: float) -> str:
    return f"{value:+.4f}"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def percent(value: float) -> str:
    return f"{100 * value:.0f}"


def text(key: str, heading: str) -> Column:
    return Column(key, heading, lambda value: escape(str(value)), number=False)


def listing(
    rows: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    caption: str,
    *,
    marked: Callable[[dict[str, Any]], bool] = lambda row: False,
    name: str = "",
    sorted_by: str = "",
) -> str:
    """A table whose first column heads each row.

    Parameters
    ----------
    marked : rows that stand out
    name : the table's id
    sorted_by : key of the column that the rows are sorted by; if given, the headings are buttons
    """
    if not rows:
        return '<p class="empty">There is nothing to list here.</p>'
    head = "".join(
        _head(column, column.key == sorted_by) if sorted_by else _plain_head(column) for column in columns
    )
    body = []
    for row in rows:
        cells = (_cell(column, row.get(column.key), not place) for place, column in enumerate(columns))
        body.append(f"<tr{MARKED if marked(row) else ''}>{''.join(cells)}</tr>")
    content = f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    return boxed(content, caption, kind="tall" if sorted_by else "", name=name)


def _plain_head(column: Column) -> str:
    return f'<th scope="col"{column.kind}>{escape(column.heading)}</th>'


def _head(column: Column, first: bool) -> str:
    order = "ascending" if first else "none"
    return (
        f'<th scope="col"{column.kind} data-k="{escape(column.key)}" aria-sort="{order}">'
        f'<button type="button">{escape(column.heading)}</button></th>'
    )


def _cell(column: Column, value: Any, head: bool) -> str:
    missing = value is None or value == "" or (isinstance(value, float) and pd.isna(value))
    number = isinstance(value, int | float) and not missing
    tag, scope = ("th", ' scope="row"') if head else ("td", "")
    data = f' data-v="{value}"' if number else ""
    shown = NOTHING if missing else column.shown(value)
    return f'<{tag}{scope} data-k="{escape(column.key)}"{column.kind}{data}>{shown}</{tag}>'
