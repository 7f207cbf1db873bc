"""The report's charts of single stocks, of the embedding and of training."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from train.evaluation.evidence import Evidence
from train.evaluation.questions import turnover
from train.report.figures import (
    BAND,
    GOOD,
    OTHER,
    OURS,
    SERIES,
    SHAPES,
    TEXT,
    Figure,
    epoch_ticks,
    plain,
)

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
    figure = go.Figure()
    for place, (sector, rows) in enumerate(table.groupby("sector")):
        name = escape(str(sector))
        figure.add_scatter(
            **{"x": rows["x"], "y": rows["y"], "text": rows["symbol"].map(escape), "name": name},
            customdata=rows["name"].astype(str).map(escape),
            hovertemplate=f"<b>%{{text}}</b> %{{customdata}}<extra>{name}</extra>",
            marker={"color": SERIES[place % len(SERIES)], "size": 9},
            marker_symbol=SHAPES[(place + place // len(SERIES)) % len(SHAPES)],
            mode="markers+text" if labelled else "markers",
            **({"textposition": rows["side"], "textfont_size": 10} if labelled else {}),
        )
    first, second = (f"axis {axis} ({100 * share:.0f} % of variance)" for axis, share in enumerate(shares, 1))
    return plain(figure, xaxis_title_text=first, yaxis_title_text=second)


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
    losses = _losses(epochs)["val_loss"]
    return epochs[int(losses.idxmin())] if losses.notna().any() else None


def training_curve(epochs: list[dict[str, float]]) -> Figure | None:
    """Loss on training and validation by epoch, the best epoch marked."""
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
    """A row per epoch; NaN for a loss that is missing or not finite."""
    table = pd.DataFrame(epochs, columns=["epoch", "loss", "val_loss"], dtype=float)
    return table.replace([np.inf, -np.inf], np.nan)
