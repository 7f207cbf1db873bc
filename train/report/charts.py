"""The report's charts of errors and calibration as plain plotly figures, made of one Evidence.

A colour is the name of a CSS variable ("--c-ours"), which the page resolves: charts follow the page from
light to dark. Text is escaped, because plotly reads some HTML in labels. A chart without figures is None.
"""

import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from common.pages.render import days
from train.evaluation.evidence import Evidence
from train.evaluation.summary import LEVELS

Figure = dict[str, Any]
OURS, NAIVE = "nsecast", "naive"
RATIOS = {"rel_mae": "relMAE", "rel_rmse": "relRMSE"}
SERIES = tuple(f"--c-{number}" for number in range(1, 7))
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "star")
FAR = 1.5
"""A rival with a larger ratio is switched off in the chart, where it would flatten all others."""
FEW = 30
"""A share of fewer forecasts is drawn as a loose, open circle."""
LABEL_WIDTH = 18


def figures(evidence: Evidence) -> dict[str, Any]:
    """The charts of errors and calibration by name; those that depend on the horizon are tables of it."""
    found: dict[str, Any] = {f"by_horizon_{name}": ratios_by_horizon(evidence, name) for name in RATIOS}
    found["groups"] = {str(horizon): ratios_by_group(evidence, horizon) for horizon in evidence.horizons}
    found["moves"] = {str(horizon): move_reliability(evidence, horizon) for horizon in evidence.horizons}
    found["coverage"] = interval_coverage(evidence)
    return found


def with_ours(evidence: Evidence) -> pd.DataFrame:
    """Figures by ``model`` and ``horizon``: this release first, naive, then the rivals as they were run."""
    if evidence.rivals is None:
        return evidence.pooled.assign(model=OURS)
    rivals = evidence.rivals
    ours = evidence.pooled.assign(model=OURS) if OURS not in set(rivals["model"]) else rivals.iloc[:0]
    naive = pd.DataFrame({"model": NAIVE, "horizon": evidence.horizons, "rel_mae": 1.0, "rel_rmse": 1.0})
    first = [OURS, NAIVE]
    table = pd.concat([ours, naive, rivals[rivals["model"] != NAIVE]], ignore_index=True)
    order = [*first, *(model for model in table["model"].unique() if model not in first)]
    return table.sort_values("model", key=lambda names: names.map(order.index), kind="stable")


def ratios_by_horizon(evidence: Evidence, name: str) -> Figure | None:
    """One ratio over the horizons, ours and each rival's, with a line at naive."""
    table = with_ours(evidence)
    table = table[table["horizon"].isin(evidence.horizons) & (table["model"] != NAIVE)]
    traces: list[Figure] = []
    for number, (model, rows) in enumerate(table.groupby("model", sort=False)):
        ours = model == OURS
        values = rows.set_index("horizon")[name].reindex(evidence.horizons)
        colour = "--c-ours" if ours else SERIES[number % len(SERIES)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": escape(str(model)),
                "x": [days(horizon) for horizon in evidence.horizons],
                "y": numbers(values),
                "line": {"color": colour, "width": 3.5 if ours else 1.5, "dash": "solid" if ours else "dot"},
                "marker": {
                    "color": colour,
                    "size": 10 if ours else 7,
                    "symbol": SHAPES[number % len(SHAPES)],
                },
                "visible": True if ours or not values.max() > FAR else "legendonly",
            }
        )
    shown = [value for trace in traces if trace["visible"] is True for value in trace["y"]]
    if not any(value is not None for value in shown):
        return None
    layout = {
        "xaxis": {"title": {"text": "days ahead"}, "type": "category", "range": _places(evidence.horizons)},
        "yaxis": {"title": {"text": f"{RATIOS[name]} (naive = 1)"}, "range": _around_one(shown)},
        "shapes": [_line(y0=1, y1=1, xref="paper", x0=0, x1=1)],
        "annotations": [_note("naive", y=1, xref="paper", x=0, xanchor="left", yanchor="bottom")],
        "showlegend": len(traces) > 1,
    }
    return {"data": traces, "layout": layout}


def ratios_by_group(evidence: Evidence, horizon: int) -> Figure | None:
    """Both ratios of all stocks, each tier and each sector at one horizon, worst sector at the bottom."""
    parts = [
        evidence.pooled.assign(group="All moving stocks"),
        evidence.by_tier.assign(group=evidence.by_tier["tier"].astype(str) + " tier"),
        evidence.by_sector.assign(group=evidence.by_sector["sector"].astype(str)).sort_values("rel_mae"),
    ]
    table = pd.concat(parts, ignore_index=True)
    table = table[(table["horizon"] == horizon) & (table["n"] > 0)]
    if not len(table):
        return None
    names = [_wrapped(f"{row.group} ({row.symbols})") for row in table.itertuples()]
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{label} ({what})",
            "x": numbers(table[name]),
            "y": names,
            "customdata": [int(count) for count in table["n"]],
            "hovertemplate": label + " %{x:.3f}, %{customdata:,} forecasts<extra></extra>",
            "marker": {"color": colour, "symbol": symbol, "size": 11},
        }
        for (name, label), what, colour, symbol in zip(
            RATIOS.items(), ("published", "raw"), ("--c-1", "--c-2"), SHAPES, strict=False
        )
    ]
    values = [value for trace in traces for value in trace["x"]]
    layout = {
        "height": 40 * len(names) + 110,
        "xaxis": {"title": {"text": "error / naive error"}, "range": _around_one(values)},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
        "shapes": [_line(x0=1, x1=1, yref="paper", y0=0, y1=1)],
        "annotations": [_note("naive", x=1, yref="paper", y=1, xanchor="center", yanchor="bottom")],
    }
    return {"data": traces, "layout": layout}


def move_reliability(evidence: Evidence, horizon: int) -> Figure | None:
    """How often prices moved against how likely that was said to be, and how many forecasts said so."""
    table = evidence.calibration_of_moves
    table = table[table["horizon"] == horizon]
    if not len(table):
        return None
    many = _seen(table[table["n"] >= FEW], "seen", "lines+markers", "circle")
    few = _seen(table[table["n"] < FEW], f"seen in fewer than {FEW} forecasts", "markers", "circle-open")
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "name": "as forecast",
        "x": [0, 100],
        "y": [0, 100],
        "hoverinfo": "skip",
        "line": {"color": "--c-muted", "dash": "dash", "width": 1.5},
    }
    counts = {
        "type": "bar",
        "name": "forecasts",
        "x": [10 * place + 5 for place in table["bin"]],
        "y": [int(count) for count in table["n"]],
        "text": [f"{count:,}" for count in table["n"]],
        "textposition": "outside",
        "textangle": 0,
        "cliponaxis": False,
        "width": 8,
        "yaxis": "y2",
        "hovertemplate": "%{y:,} forecasts<extra></extra>",
        "marker": {"color": "--c-muted"},
        "showlegend": False,
    }
    layout = {
        "xaxis": {"title": {"text": "chance of a move, forecast %"}, "range": [0, 100], "anchor": "y2"},
        "yaxis": {"title": {"text": "moved, %"}, "range": [0, 103], "domain": [0.36, 1]},
        "yaxis2": {"title": {"text": "forecasts"}, "domain": [0, 0.22], "rangemode": "tozero", "nticks": 3},
    }
    return {"data": [each for each in (diagonal, many, few, counts) if each["x"]], "layout": layout}


def _seen(rows: pd.DataFrame, name: str, mode: str, symbol: str) -> Figure:
    line = {"line": {"color": "--c-ours", "width": 2.5}} if "lines" in mode else {}
    return line | {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": numbers(100 * rows["forecast"], 2),
        "y": numbers(100 * rows["seen"], 2),
        "customdata": [int(count) for count in rows["n"]],
        "hovertemplate": "forecast %{x:.0f} %, moved %{y:.0f} % of %{customdata:,}<extra></extra>",
        "marker": {"color": "--c-ours", "size": 9, "symbol": symbol},
    }


def interval_coverage(evidence: Evidence) -> Figure | None:
    """Share of actual prices inside each interval by horizon, with a line at what it should be."""
    table = evidence.pooled
    if not table[[f"cover{level}" for level in LEVELS]].notna().to_numpy().any():
        return None
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{level} % interval",
            "x": [days(horizon) for horizon in table["horizon"]],
            "y": numbers(100 * table[f"cover{level}"], 2),
            "hovertemplate": f"{level} % interval held %{{y:.1f}} %<extra></extra>",
            "marker": {"color": SERIES[place], "symbol": SHAPES[place], "size": 12},
        }
        for place, level in enumerate(LEVELS)
    ]
    lines = [
        _line(y0=level, y1=level, xref="paper", x0=0, x1=1)
        | {"line": {"color": SERIES[place], "dash": "dash"}}
        for place, level in enumerate(LEVELS)
    ]
    seen = [value for trace in traces for value in trace["y"] if value is not None]
    layout = {
        "xaxis": {"title": {"text": "days ahead"}, "type": "category", "range": _places(table["horizon"])},
        "yaxis": {
            "title": {"text": "inside the interval, %"},
            "range": [min(75, *seen) - 2, 100.5],
            "showgrid": False,
        },
        "shapes": lines,
    }
    return {"data": traces, "layout": layout}


def numbers(values: Iterable[float], digits: int = 4) -> list[float | None]:
    """Rounded for JSON, None for NaN and infinity."""
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


def _places(horizons: Sequence[int]) -> list[float]:
    """The range of an axis of horizons, with the same room at both ends."""
    return [-0.4, len(horizons) - 0.6]


def _around_one(values: Iterable[float | None]) -> list[float]:
    """A range with all values and 1 in it, never so narrow that noise looks like news."""
    known = [value for value in values if value is not None]
    low, high = min(0.99, *known, 1), max(1.01, *known, 1)
    room = 0.12 * (high - low)
    return [round(low - room, 4), round(high + room, 4)]


def _line(**ends: Any) -> Figure:
    return {"type": "line", "layer": "below", "line": {"color": "--c-text", "width": 1.5}, **ends}


def _note(text: str, **place: Any) -> Figure:
    return {"text": text, "showarrow": False, "font": {"size": 12, "color": "--c-muted"}, **place}


def _wrapped(label: str) -> str:
    return "<br>".join(escape(line) for line in textwrap.wrap(label, LABEL_WIDTH))
