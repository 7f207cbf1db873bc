"""The report's charts of single stocks, of the embedding and of training, as plain plotly figures.

Colours and text as in `train.report.charts`.
"""

from html import escape
from typing import Any

import numpy as np
import pandas as pd

from train.evaluation.evidence import Evidence
from train.evaluation.questions import turnover
from train.report.charts import SERIES, SHAPES, Figure, numbers

MAP_SIZE = (1050, 430)
"""Usual width and height of the map, pixels; labels are placed for it."""
MAPPED, LABELLED = 2_000, 150
"""At most so many stocks, those traded most, are drawn on the map; so many have their symbol beside them."""
FEW = 3
"""An embedding of fewer stocks has no map."""


def model_figures(evidence: Evidence) -> dict[str, Any]:
    """The figures by name: ``embedding``, ``stock`` (without its numbers) and ``training_0`` and so on."""
    found: dict[str, Any] = {"embedding": embedding_map(evidence), "stock": stock_frame()}
    for number, epochs in enumerate(evidence.training.values()):
        found[f"training_{number}"] = training_curve(epochs)
    return found


def stock_frame() -> Figure:
    """The chart of one stock; the page fills in low, high, published and actual, in that order."""
    line = {"type": "scatter", "mode": "lines", "x": [], "y": [], "hovertemplate": "%{y:,.2f}"}
    band = {"name": "90 % interval", "line": {"width": 0}}
    low = band | {"showlegend": False, "hovertemplate": "from %{y:,.2f}"}
    high = band | {"fill": "tonexty", "fillcolor": "--c-band", "hovertemplate": "to %{y:,.2f}"}
    published = {"name": "forecast for that day", "line": {"color": "--c-ours", "width": 2, "dash": "dot"}}
    actual = {"name": "actual close", "line": {"color": "--c-text", "width": 1.75}}
    layout = {
        "hovermode": "x unified",
        "xaxis": {"type": "date", "hoverformat": "%a %d %b %Y"},
        "yaxis": {"title": {"text": "KES"}, "fixedrange": True},
        "dragmode": "zoom",
    }
    return {"data": [line | each for each in (low, high, published, actual)], "layout": layout}


def principal_axes(vectors: dict[str, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Places on the first two principal axes, shape (N, 2), and the share of variance of each."""
    matrix = np.array(list(vectors.values()), dtype=float)
    left, size, _ = np.linalg.svd(matrix - matrix.mean(axis=0), full_matrices=False)
    kept = min(2, len(size))
    places, shares = np.zeros((len(matrix), 2)), np.zeros(2)
    places[:, :kept] = (left * size)[:, :kept]
    if size.any():
        shares[:kept] = (size**2 / (size**2).sum())[:kept]
    return places, shares


def embedding_map(evidence: Evidence) -> Figure | None:
    """The general model's embedding on its two widest axes, by sector."""
    if len(evidence.embedding) < FEW:
        return None
    places, shares = principal_axes(evidence.embedding)
    stocks = {stock.symbol: (stock.name, stock.sector) for stock in evidence.universe.stocks}
    known = [stocks.get(symbol, (symbol, "Unknown")) for symbol in evidence.embedding]
    table = pd.DataFrame(known, columns=["name", "sector"])
    table = table.assign(symbol=list(evidence.embedding), x=places[:, 0], y=places[:, 1])
    if len(table) > MAPPED:
        rank = {symbol: number for number, symbol in enumerate(turnover(evidence.panel).index)}
        table = table.loc[table["symbol"].map(rank).sort_values(kind="stable").index[:MAPPED]]
    labelled = len(table) <= LABELLED
    table["side"] = _sides(places) if labelled else ""
    traces = [
        {
            "type": "scatter",
            "mode": "markers+text" if labelled else "markers",
            "name": escape(str(sector)),
            "x": numbers(rows["x"]),
            "y": numbers(rows["y"]),
            "text": [escape(str(symbol)) for symbol in rows["symbol"]],
            **({"textposition": rows["side"].tolist(), "textfont": {"size": 10}} if labelled else {}),
            "customdata": [escape(str(name)) for name in rows["name"]],
            "hovertemplate": "<b>%{text}</b> %{customdata}<extra>" + escape(str(sector)) + "</extra>",
            "marker": {
                "color": SERIES[place % len(SERIES)],
                "symbol": SHAPES[(place + place // len(SERIES)) % len(SHAPES)],
                "size": 9,
            },
        }
        for place, (sector, rows) in enumerate(table.groupby("sector"))
    ]
    titles = [f"axis {axis} ({100 * share:.0f} % of variance)" for axis, share in enumerate(shares, 1)]
    layout = {"xaxis": {"title": {"text": titles[0]}}, "yaxis": {"title": {"text": titles[1]}}}
    return {"data": traces, "layout": layout}


def _sides(places: np.ndarray) -> list[str]:
    """For each point the side on which its label is furthest from other points and labels."""
    spread = np.ptp(places, axis=0)
    points = places / np.where(spread > 0, spread, 1) * MAP_SIZE
    shifts = {
        "top center": (0, 14),
        "bottom center": (0, -14),
        "middle right": (26, 0),
        "middle left": (-26, 0),
    }
    taken, sides = points, []
    for number, point in enumerate(points):
        others = np.delete(taken, number, axis=0)
        room = {}
        for side, shift in shifts.items():
            away = np.abs((others - point - shift) / (26, 12))
            room[side] = min(1.0, away.max(axis=1).min(initial=1.0))
        side = max(room, key=lambda name: room[name])
        taken = np.vstack([taken, point + shifts[side]])
        sides.append(side)
    return sides


def best_epoch(epochs: list[dict[str, float]]) -> dict[str, float] | None:
    """The epoch of the lowest validation loss, whose weights are kept."""
    known = [epoch for epoch in epochs if np.isfinite(_loss(epoch, "val_loss"))]
    return min(known, key=lambda epoch: epoch["val_loss"]) if known else None


def training_curve(epochs: list[dict[str, float]]) -> Figure | None:
    """Loss on training and validation by epoch, the best epoch marked."""
    best = best_epoch(epochs)
    if best is None:
        return None
    styles = {"loss": ("training", "--c-2", "dot"), "val_loss": ("validation", "--c-ours", "solid")}
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": label,
            "x": [int(epoch["epoch"]) for epoch in epochs],
            "y": numbers(_loss(epoch, name) for epoch in epochs),
            "hovertemplate": label + " %{y:.4f}<extra>epoch %{x}</extra>",
            "line": {"color": colour, "dash": dash, "width": 2},
            "marker": {"size": 5},
        }
        for name, (label, colour, dash) in styles.items()
    ]
    marked = {
        "type": "scatter",
        "mode": "markers",
        "name": f"best: epoch {int(best['epoch'])}",
        "x": [int(best["epoch"])],
        "y": numbers([best["val_loss"]]),
        "hoverinfo": "skip",
        "marker": {"color": "--c-good", "symbol": "star", "size": 15},
    }
    ticks: dict[str, Any] = {"dtick": 1} if len(epochs) < 10 else {"nticks": 12}
    layout = {
        "xaxis": {"title": {"text": "epoch"}, "tickformat": "d", **ticks},
        "yaxis": {"title": {"text": "loss"}},
    }
    return {"data": [*traces, marked], "layout": layout}


def _loss(epoch: dict[str, float], name: str) -> float:
    value = epoch.get(name)
    return float("nan") if value is None else float(value)
