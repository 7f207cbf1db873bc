"""The report's charts: probabilities, single stocks, the embedding, and training."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from common.forecast.probabilities import DIRECTIONS
from train.evaluation.evidence import Evidence
from train.evaluation.questions import turnover
from train.report.figures import (
    BAND,
    GOOD,
    MUTED,
    OTHER,
    OURS,
    SERIES,
    SHAPES,
    TEXT,
    Figure,
    epoch_ticks,
    plain,
)

MAPPED, LABELLED = 2_000, 150
"""Maximum number of stocks on the map (those traded most), and of stocks on a map with labels."""
FEW_STOCKS = 3
"""An embedding of fewer stocks has no map."""
FEW = 30
"""Shares of fewer forecasts are not drawn."""


def figures(evidence: Evidence) -> dict[str, Any]:
    """Return the charts by name: ``directions`` by horizon, ``stock`` (without data), ``training_0`` ..."""
    charts: dict[str, Any] = {
        "directions": {str(h): direction_reliability(evidence, h) for h in evidence.horizons},
        "stock": stock_frame(),
        "embedding": embedding_map(evidence),
    }
    for number, epochs in enumerate(evidence.training.values()):
        charts[f"training_{number}"] = training_curve(epochs)
    return charts


def direction_reliability(evidence: Evidence, horizon: int) -> Figure | None:
    """Plot how often prices rose, stayed and fell against the forecast probability of each."""
    table = evidence.calibration_of_directions
    table = table[(table["horizon"] == horizon) & (table["tier"] == "all") & (table["n"] >= FEW)]
    if not len(table):
        return None
    figure = go.Figure()
    ends, dashed = [0, 100], {"color": MUTED, "dash": "dash", "width": 1.5}
    figure.add_scatter(x=ends, y=ends, mode="lines", name="as forecast", hoverinfo="skip", line=dashed)
    for number, outcome in enumerate(DIRECTIONS):
        rows = table[table["outcome"] == outcome]
        figure.add_scatter(
            **{"x": 100 * rows["forecast"], "y": 100 * rows["seen"], "mode": "lines+markers"},
            name=outcome,
            customdata=rows["n"].astype(int),
            hovertemplate=outcome
            + ": forecast %{x:.0f} %, observed %{y:.0f} % of %{customdata:,}<extra></extra>",
            marker={"color": SERIES[number], "size": 9, "symbol": SHAPES[number]},
            line={"color": SERIES[number], "width": 2},
        )
    return plain(
        figure,
        xaxis={"title_text": "probability, forecast %", "range": [0, 100]},
        yaxis={"title_text": "observed, %", "range": [0, 103]},
    )


def stock_frame() -> Figure:
    """Return the empty chart of one stock; the page fills in low, high, published and actual."""
    line = {"mode": "lines", "x": [None], "y": [None]}
    band = line | {"name": "90 % interval", "line_width": 0}
    figure = go.Figure()
    figure.add_scatter(**band, showlegend=False, hovertemplate="from %{y:,.2f}")
    figure.add_scatter(**band, fill="tonexty", fillcolor=BAND, hovertemplate="to %{y:,.2f}")
    line["hovertemplate"] = "%{y:,.2f}"
    dotted = {"color": OURS, "width": 2, "dash": "dot"}
    figure.add_scatter(**line, name="forecast for that day", line=dotted)
    figure.add_scatter(**line, name="actual close", line={"color": TEXT, "width": 1.75})
    return plain(
        figure,
        **{"hovermode": "x unified", "dragmode": "zoom"},
        xaxis={"type": "date", "hoverformat": "%a %d %b %Y"},
        yaxis={"title_text": "KES", "fixedrange": True},
    )


def principal_axes(vectors: dict[str, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates on the first two principal axes, shape (N, 2), and their shares of the variance."""
    matrix = np.array(list(vectors.values()), dtype=float)
    left, size, _ = np.linalg.svd(matrix - matrix.mean(axis=0), full_matrices=False)
    axes = min(2, len(size))
    points, shares = np.zeros((len(matrix), 2)), np.zeros(2)
    points[:, :axes] = (left * size)[:, :axes]
    if size.any():
        shares[:axes] = (size**2 / (size**2).sum())[:axes]
    return points, shares


def embedding_map(evidence: Evidence) -> Figure | None:
    """Plot the general model's embedding on its first two principal axes, by sector."""
    if len(evidence.embedding) < FEW_STOCKS:
        return None
    points, shares = principal_axes(evidence.embedding)
    stocks = {stock.symbol: (stock.name, stock.sector) for stock in evidence.universe.stocks}
    names = [stocks.get(symbol, (symbol, "Unknown")) for symbol in evidence.embedding]
    table = pd.DataFrame(names, columns=["name", "sector"])
    table = table.assign(symbol=list(evidence.embedding), x=points[:, 0], y=points[:, 1])
    if len(table) > MAPPED:
        rank = {symbol: number for number, symbol in enumerate(turnover(evidence.panel).index)}
        table = table.loc[table["symbol"].map(rank).sort_values(kind="stable").index[:MAPPED]]
    labelled = len(table) <= LABELLED
    figure = go.Figure()
    for number, (sector, rows) in enumerate(table.groupby("sector")):
        name = escape(str(sector))
        figure.add_scatter(
            **{"x": rows["x"], "y": rows["y"], "text": rows["symbol"].map(escape), "name": name},
            customdata=rows["name"].astype(str).map(escape),
            hovertemplate=f"<b>%{{text}}</b> %{{customdata}}<extra>{name}</extra>",
            marker={"color": SERIES[number % len(SERIES)], "size": 9},
            marker_symbol=SHAPES[(number + number // len(SERIES)) % len(SHAPES)],
            mode="markers+text" if labelled else "markers",
            **({"textposition": "top center", "textfont_size": 10} if labelled else {}),
        )
    first, second = (f"axis {axis} ({100 * share:.0f} % of variance)" for axis, share in enumerate(shares, 1))
    return plain(figure, xaxis_title_text=first, yaxis_title_text=second)


def best_epoch(epochs: list[dict[str, float]]) -> dict[str, float] | None:
    """Return the epoch with the lowest validation loss."""
    losses = _losses(epochs)["val_loss"]
    return epochs[int(losses.idxmin())] if losses.notna().any() else None


def training_curve(epochs: list[dict[str, float]]) -> Figure | None:
    """Plot the training and validation loss by epoch, and mark the best epoch."""
    best, losses = best_epoch(epochs), _losses(epochs)
    if best is None:
        return None
    figure = go.Figure()
    for name, label, colour, dash in (
        ("loss", "training", OTHER, "dot"),
        ("val_loss", "validation", OURS, "solid"),
    ):
        figure.add_scatter(
            **{"x": losses["epoch"].astype(int), "y": losses[name], "mode": "lines+markers", "name": label},
            hovertemplate=label + " %{y:.4f}<extra>epoch %{x}</extra>",
            line={"color": colour, "dash": dash, "width": 2},
            marker_size=5,
        )
    epoch = int(best["epoch"])
    figure.add_scatter(
        **{"x": [epoch], "y": [best["val_loss"]], "mode": "markers", "name": f"best: epoch {epoch}"},
        hoverinfo="skip",
        marker={"color": GOOD, "symbol": "star", "size": 15},
    )
    axis = {"title_text": "epoch", **epoch_ticks(len(epochs))}
    return plain(figure, xaxis=axis, yaxis_title_text="loss")


def _losses(epochs: list[dict[str, float]]) -> pd.DataFrame:
    """Return a row per epoch; NaN for a missing or non-finite loss."""
    table = pd.DataFrame(epochs, columns=["epoch", "loss", "val_loss"], dtype=float)
    return table.replace([np.inf, -np.inf], np.nan)
