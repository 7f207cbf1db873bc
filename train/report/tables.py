"""Tables of the report: figures as people read them, and as a program can."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from train.evaluation.evidence import Evidence

SIGNIFICANT = 0.05
NOTHING = '<span aria-hidden="true">–</span><span class="sr">none</span>'
TESTED = {"rel_mae": "dm_abs_p", "rel_rmse": "dm_sq_p"}
"""The test of each ratio."""
LABELS = {
    "mae": "MAE, KES",
    "naive_mae": "naive MAE, KES",
    "rmse": "RMSE, KES",
    "naive_rmse": "naive RMSE, KES",
    "mape": "MAPE, %",
    "naive_mape": "naive MAPE, %",
    "rel_mae": "relMAE",
    "rel_rmse": "relRMSE",
    "dm_abs_p": "p, absolute error",
    "dm_sq_p": "p, squared error",
    "dm_abs_stat": "DM statistic, absolute",
    "dm_sq_stat": "DM statistic, squared",
    "n": "forecasts",
    "forecast": "mean forecast, %",
    "seen": "moved, %",
    "horizon": "days ahead",
    "moved_share": "moved, %",
    "unchanged_share": "unchanged, %",
    "share_of_variance": "share of variance, %",
    "turnover_rank": "rank by turnover",
    "source": "published price is",
    "bin": "chance of a move",
    "val_loss": "validation loss",
    "loss": "training loss",
    "reasons": "reasons for the confidence",
    "size": "embedding size",
    "difference": "difference in score",
    "low": "interval from",
    "high": "interval to",
}
KES = ("mae", "naive_mae", "rmse", "naive_rmse")
PERCENT = ("mape", "naive_mape", "bias")
SHARES = ("called_share", "forecast", "seen", "moved_share", "unchanged_share", "share_of_variance")
FINE = ("score", "difference", "low", "high")
COUNTS = ("n", "horizon", "rank", "turnover_rank", "direction", "symbols", "epoch")
TEXT = (
    *("symbol", "name", "tier", "sector", "model", "source", "confidence", "flags", "reasons"),
    *("verdict", "reason", "network", "group", "bin"),
)
MATRIX = (
    *("name", "rel_mae", "rel_rmse", "mae", "naive_mae", "rank", "confidence", "flags", "tier", "sector"),
    *("model", "source", "mape", "naive_mape", "rmse", "naive_rmse", "dm_abs_p", "dm_sq_p"),
    *("cover90", "width90", "n", "reasons"),
)
"""Columns of the performance matrix after the symbol; figures by horizon are shown one horizon at a time."""


@dataclass(frozen=True)
class Column:
    """A column of a table: ``key`` says how it is shown, ``horizon`` which horizon it is of, if any."""

    name: str
    key: str
    horizon: int | None = None

    @classmethod
    def of(cls, name: str) -> "Column":
        """From a name such as ``mae`` or ``mae_5d``."""
        found = re.fullmatch(r"(.+)_(\d+)d", name)
        return cls(name, found[1], int(found[2])) if found else cls(name, name)

    @property
    def label(self) -> str:
        interval = re.fullmatch(r"(cover|width)(\d+)", self.key)
        if interval:
            kind, level = interval.groups()
            return f"in {level} % interval, %" if kind == "cover" else f"{level} % width, % of price"
        return LABELS.get(self.key, self.key.replace("_", " "))


def table(
    frame: pd.DataFrame, caption: str, *, marked: Sequence[str] = (), hidden: Sequence[str] = ()
) -> str:
    """A table with a caption, whose first column heads each row.

    Parameters
    ----------
    marked : rows that stand out, by their first column
    hidden : keys of columns that are not shown; a test's p then only puts a star to its ratio
    """
    if not len(frame):
        return '<p class="empty">There is nothing to list here.</p>'
    columns = [Column.of(str(name)) for name in frame.columns]
    columns = [column for column in columns if column.key not in hidden]
    several = len({column.horizon for column in columns} - {None}) > 1
    head = "".join(f'<th scope="col"{_kind(column)}>{_heading(column, several)}</th>' for column in columns)
    body = []
    for row in frame.to_dict(orient="records"):
        kind = ' class="ours"' if str(row[columns[0].name]) in marked else ""
        cells = (cell(column, row, head=not place) for place, column in enumerate(columns))
        body.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return boxed(f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>", caption)


def boxed(content: str, caption: str, *, kind: str = "", name: str = "") -> str:
    """A table inside a box of its own that scrolls, by keyboard too."""
    named = f' id="{name}"' if name else ""
    label = escape(caption)
    return (
        f'<div class="box {kind}" role="region" aria-label="{label}" tabindex="0">'
        f"<table{named}><caption>{label}</caption>{content}</table></div>"
    )


def cell(column: Column, row: dict[str, Any], *, head: bool = False, switched: bool = False) -> str:
    """One cell; ``data-v`` holds the number unrounded, for sorting and for programs.

    ``switched``: the page shows the cell at its own horizon only.
    """
    value = row[column.name]
    number = isinstance(value, int | float) and not pd.isna(value)
    tag, scope = ("th", ' scope="row"') if head else ("td", "")
    attributes = f'{scope} data-k="{escape(column.key)}"{_kind(column)}'
    attributes += f' data-h="{column.horizon}"' if switched and column.horizon else ""
    attributes += f' data-v="{value!r}"' if number else ""
    p = row.get(column.name.replace(column.key, TESTED[column.key])) if column.key in TESTED else None
    return f"<{tag}{attributes}>{shown_as(column.key, value, p=p)}</{tag}>"


def shown_as(key: str, value: Any, *, p: float | None = None) -> str:
    """A value as HTML, by the kind of its column."""
    if value is None or value == "" or pd.isna(value):
        return NOTHING
    if not isinstance(value, int | float):
        return escape(str(value).replace("_", " ") if key == "source" else str(value))
    if key in TESTED:
        return ratio(value, p)
    if key.startswith("dm_") and key.endswith("_p"):
        return "&lt;0.001" if value < 0.001 else f"{value:.3f}"
    if key in SHARES or key.startswith("cover"):
        return f"{100 * value:.1f}"
    if key in PERCENT or key.startswith("width"):
        return f"{value:.2f}"
    if key in FINE:
        return f"{value:.4f}"
    if key in KES:
        return f"{value:,.3f}"
    if key in COUNTS or isinstance(value, int):
        return f"{value:,.0f}"
    return f"{value:.3f}"


def ratio(value: float, p: float | None = None, digits: int = 3) -> str:
    """A ratio of errors with a sign for better or worse; a star where a test finds it significant."""
    verdict, sign = verdict_of(value, digits)
    clear = verdict != "equal" and p is not None and p < SIGNIFICANT
    star = "*" if clear else ""
    words = verdict + (", significantly" if clear else "")
    return (
        f'<span class="{verdict}"><span aria-hidden="true">{sign} </span>{value:,.{digits}f}{star}'
        f'<span class="sr"> {words}</span></span>'
    )


def verdict_of(value: float, digits: int = 3) -> tuple[str, str]:
    """Word and sign; what reads 1.000 is equal."""
    if round(value, digits) == 1:
        return "equal", "="
    return ("better", "✓") if value < 1 else ("worse", "✗")


def matrix_table(evidence: Evidence) -> str:
    """Every counter in one table that the page sorts, filters and switches between horizons."""
    matrix = evidence.matrix
    columns = [Column.of("symbol")]
    for key in MATRIX:
        named = [f"{key}_{horizon}d" for horizon in evidence.horizons]
        columns += [Column.of(name) for name in (key, *named) if name in matrix]
    orders = ["ascending", *["none"] * (len(columns) - 1)]
    head = "".join(
        f'<th scope="col"{_kind(column)} aria-sort="{order}" data-k="{column.key}"'
        + (f' data-h="{column.horizon}"' if column.horizon else "")
        + f'><button type="button">{_heading(column)}</button></th>'
        for column, order in zip(columns, orders, strict=True)
    )
    body = "".join(_matrix_row(columns, row) for row in matrix.to_dict(orient="records"))
    return boxed(
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>",
        f"Performance of all {len(matrix)} counters on the test part, next to naive",
        kind="tall",
        name="counters",
    )


def _matrix_row(columns: Sequence[Column], row: dict[str, Any]) -> str:
    row = {name: None if pd.isna(value) else value for name, value in row.items()}
    kept = {
        name: escape(str(row.get(name) or "")) for name in ("symbol", "tier", "sector", "confidence", "flags")
    }
    text = escape(" ".join(str(row.get(name) or "") for name in ("symbol", "name", "sector")).lower())
    data = "".join(f' data-{name}="{value}"' for name, value in kept.items())
    symbol = kept["symbol"]
    first = (
        f'<th scope="row" data-k="symbol" data-sort="{symbol}"><button type="button" class="pick">{symbol}'
        '<span class="sr">: show its forecasts</span></button></th>'
    )
    cells = "".join(cell(column, row, switched=True) for column in columns[1:])
    return f'<tr{data} data-text="{text}">{first}{cells}</tr>'


def _heading(column: Column, with_horizon: bool = False) -> str:
    days = f", {column.horizon} d" if with_horizon and column.horizon else ""
    return escape(column.label + days)


def _kind(column: Column) -> str:
    return "" if column.key in TEXT else ' class="number"'
