"""The report's charts of single stocks, of the embedding and of training."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from train.evaluation.evidence import Evidence
from train.evaluation.questions import turnover
from train.report.figures import BAND, GOOD, OTHER, OURS, SERIES, SHAPES, TEXT, Figure, epoch_ticks, plain

MAP_SIZE = (1050, 430)
"""Typical width and height of the map in pixels, for which labels are placed."""
MAPPED, LABELLED = 2_000, 150
"""Maximum number of stocks on the map (those traded most), and of stocks on a map with labels."""
FEW = 3
"""An embedding of fewer stocks has no map."""


def model_figures(evidence: Evidence) -> dict[str, Any]:
    """Return the charts by name: ``embedding``, ``stock`` (without data), ``training_0`` and so on."""
    charts: dict[str, Any] = {"embedding": embedding_map(evidence), "stock": stock_frame()}
    for number, epochs in enumerate(evidence.training.values()):
        charts[f"training_{number}"] = training_curve(epochs)
    return charts


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
    if len(evidence.embedding) < FEW:
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
    table["side"] = _label_sides(points) if labelled else ""
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
            **({"textposition": rows["side"], "textfont_size": 10} if labelled else {}),
        )
    first, second = (f"axis {axis} ({100 * share:.0f} % of variance)" for axis, share in enumerate(shares, 1))
    return plain(figure, xaxis_title_text=first, yaxis_title_text=second)


def _label_sides(points: np.ndarray) -> list[str]:
    """Return for each point the side on which its label is furthest from other points and labels."""
    extent = np.ptp(points, axis=0)
    points = points / np.where(extent > 0, extent, 1) * MAP_SIZE
    shifts = {"top center": (0, 14), "bottom center": (0, -14)}
    shifts |= {"middle right": (26, 0), "middle left": (-26, 0)}
    occupied, sides = points, []
    for number, point in enumerate(points):
        others = np.delete(occupied, number, axis=0)
        free = {}
        for side, shift in shifts.items():
            distance = np.abs((others - point - shift) / (26, 12))
            free[side] = min(1.0, distance.max(axis=1).min(initial=1.0))
        side = max(free, key=free.__getitem__)
        occupied = np.vstack([occupied, point + shifts[side]])
        sides.append(side)
    return sides


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
