"""The charts of the embedding's size: what only the size changes, and what the whole search met."""

from typing import Any

import numpy as np

from train.report.charts import Figure, numbers
from tune.findings import embedding_name, finished, size_band
from tune.report.points import DOT, across, edge_of, marked, points, view
from tune.results import Tuning


def size_differences(tuning: Tuning) -> Figure | None:
    """Each embedding size's score less the default size's, with its interval."""
    embedding = tuning.info["embedding"]
    if not embedding or not embedding["sizes"]:
        return None
    rows = sorted(embedding["sizes"], key=lambda row: row["size"])
    marker = [
        ("--c-2", "diamond") if row["size"] == embedding["default"] else ("--c-ours", "circle")
        for row in rows
    ]
    known = [
        value for row in rows for value in (row["difference"], row["low"], row["high"]) if value is not None
    ]
    room = max(0.0005, *(abs(value) for value in known)) * 1.15
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [row["size"] for row in rows],
        "y": [row["difference"] for row in rows],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [_gap(row["high"], row["difference"]) for row in rows],
            "arrayminus": [_gap(row["difference"], row["low"]) for row in rows],
            "color": "--c-ours",
            "thickness": 2,
            "width": 6,
        },
        "customdata": [_interval(row) for row in rows],
        "hovertemplate": "size %{x}: %{y:+.4f}<br>%{customdata}<extra></extra>",
        "marker": {
            "color": [colour for colour, _ in marker],
            "symbol": [kind for _, kind in marker],
            "size": 11,
        },
    }
    layout = {
        "xaxis": _size_axis([row["size"] for row in rows]),
        "yaxis": {
            "title": {"text": f"score less that of size {embedding['default']}"},
            "tickformat": "+.4f",
            "range": [-room, room],
        },
        "shapes": [across(0)],
        "annotations": [
            _note("↑ worse", x=1, y=1, xanchor="right", yanchor="top"),
            _note("↓ better", x=1, y=0, xanchor="right", yanchor="bottom"),
        ],
        "showlegend": False,
    }
    return {"data": [trace], "layout": layout}


def score_by_size(tuning: Tuning) -> Figure | None:
    """All finished trials by embedding size, with the band of their mean."""
    name, done = embedding_name(tuning), finished(tuning)
    if name is None or len(done) < 2:
        return None
    edge = edge_of(done["score"])
    traces: list[Figure] = []
    band = size_band(done[name].to_numpy(), done["score"].to_numpy())
    if band is not None:
        shared = {"type": "scatter", "mode": "lines", "x": numbers(band.size), "hoverinfo": "skip"}
        none = {"line": {"width": 0}, "showlegend": False}
        traces += [
            shared | none | {"y": numbers(band.low, 6)},
            shared | none | {"y": numbers(band.high, 6), "fill": "tonexty", "fillcolor": "--c-band"},
            shared
            | {"name": "mean, with its 95 % band", "y": numbers(band.mean, 6), "line": {"color": "--c-ours"}},
        ]
    for origin, text, symbol in (
        ("search", "proposal", "circle"),
        ("sweep", "for comparison", "square-open"),
    ):
        rows = done[done["origin"] == origin]
        traces.append(points(tuning, rows, name, text, edge) | {"marker": DOT | {"symbol": symbol}})
    traces.append(marked(tuning, name, edge))
    layout = {
        "xaxis": _size_axis(tuning.info["parameters"][name].get("choices") or done[name]),
        "yaxis": {"title": {"text": "validation score (naive = 1)"}, "range": view(done["score"], edge)},
    }
    return {"data": [trace for trace in traces if trace["x"]], "layout": layout}


def _size_axis(sizes: Any) -> Figure:
    """A logarithmic axis of sizes with powers of two."""
    sizes = np.asarray(list(sizes), float)
    low, high = np.log2(sizes.min()), np.log2(sizes.max())
    ticks = [2**power for power in range(int(np.floor(low)), int(np.ceil(high)) + 1)]
    room = 0.05 * (high - low) or 0.5
    return {
        "title": {"text": "embedding size"},
        "type": "log",
        "tickvals": ticks,
        "ticktext": [str(tick) for tick in ticks],
        "range": [(low - room) * np.log10(2), (high + room) * np.log10(2)],
    }


def _interval(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return "one fit, no interval"
    if row["low"] == row["high"]:
        return "the default size"
    return f"95 % interval {row['low']:+.4f} to {row['high']:+.4f}, {row['fits']} fits"


def _gap(high: float | None, low: float | None) -> float:
    return 0.0 if high is None or low is None else max(0.0, high - low)


def _note(text: str, **place: Any) -> Figure:
    font = {"size": 12, "color": "--c-muted"}
    return {"text": text, "showarrow": False, "xref": "paper", "yref": "paper", "font": font, **place}
