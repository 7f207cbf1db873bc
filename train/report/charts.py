"""The report's charts of errors and calibration."""

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from common.forecast.probabilities import DIRECTIONS
from common.pages.render import days
from train.evaluation.evidence import Evidence
from train.evaluation.summary import LEVELS
from train.report import figures as style
from train.report.figures import LINE, NOTE, SERIES, SHAPES, Figure, around, plain

OURS, NAIVE = "nsecast", "naive"
RATIOS = {"rel_mae": "relMAE", "rel_rmse": "relRMSE"}
FAR = 1.5
"""Rivals with a larger ratio are hidden at first, because they would compress the scale."""
FEW = 30
"""Shares of fewer forecasts are drawn as open circles, without a line."""
LABEL_WIDTH = 18


def figures(evidence: Evidence) -> dict[str, Any]:
    """Return the charts of errors and calibration by name; some are dicts by horizon."""
    charts: dict[str, Any] = {f"by_horizon_{name}": ratios_by_horizon(evidence, name) for name in RATIOS}
    charts["groups"] = {str(horizon): ratios_by_group(evidence, horizon) for horizon in evidence.horizons}
    charts["moves"] = {str(horizon): move_reliability(evidence, horizon) for horizon in evidence.horizons}
    charts["directions"] = {
        str(horizon): direction_reliability(evidence, horizon) for horizon in evidence.horizons
    }
    charts["coverage"] = interval_coverage(evidence)
    return charts


def with_ours(evidence: Evidence) -> pd.DataFrame:
    """Return figures by ``model`` and ``horizon``: this release, naive, then the rivals."""
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
    """Plot one ratio by horizon for the release and its rivals, with a line at naive."""
    table = with_ours(evidence)
    table = table[table["horizon"].isin(evidence.horizons) & (table["model"] != NAIVE)]
    figure = go.Figure()
    shown: list[float] = []
    for number, (model, rows) in enumerate(table.groupby("model", sort=False)):
        ours = model == OURS
        values = rows.set_index("horizon")[name].reindex(evidence.horizons)
        colour = SERIES[0 if ours else number % len(SERIES)]
        visible = ours or not values.max() > FAR
        shown += values[values.notna()].tolist() if visible else []
        figure.add_scatter(
            **{"x": [days(horizon) for horizon in evidence.horizons], "y": values, "mode": "lines+markers"},
            **{"name": escape(str(model)), "visible": True if visible else "legendonly"},
            line={"color": colour, "width": 3.5 if ours else 1.5, "dash": "solid" if ours else "dot"},
            marker={"color": colour, "size": 10 if ours else 7, "symbol": SHAPES[number % len(SHAPES)]},
        )
    if not shown:
        return None
    figure.add_hline(1, **LINE, annotation_text="naive", annotation_position="top left", annotation_font=NOTE)
    return plain(
        figure,
        xaxis=_horizons(evidence.horizons),
        yaxis={"title_text": f"{RATIOS[name]} (naive = 1)", "range": _around_one(shown)},
        showlegend=len(figure.data) > 1,
    )


def ratios_by_group(evidence: Evidence, horizon: int) -> Figure | None:
    """Plot both ratios of all stocks, the tiers and the sectors at one horizon, worst sector last."""
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
    figure = go.Figure()
    for number, (name, kind) in enumerate({"rel_mae": "published", "rel_rmse": "raw"}.items()):
        figure.add_scatter(
            **{"x": table[name], "y": names, "mode": "markers", "name": f"{RATIOS[name]} ({kind})"},
            customdata=table["n"].astype(int),
            hovertemplate=RATIOS[name] + " %{x:.3f}, %{customdata:,} forecasts<extra></extra>",
            marker={"color": SERIES[number], "symbol": SHAPES[number], "size": 11},
        )
    figure.add_vline(1, **LINE, annotation_text="naive", annotation_position="top", annotation_font=NOTE)
    return plain(
        figure,
        height=40 * len(names) + 110,
        xaxis_title_text="error / naive error",
        xaxis_range=_around_one(table[[*RATIOS]].to_numpy().ravel()),
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
    )


def move_reliability(evidence: Evidence, horizon: int) -> Figure | None:
    """Plot how often prices moved against the forecast probability, and the number of forecasts."""
    table = evidence.calibration_of_moves
    table = table[table["horizon"] == horizon]
    if not len(table):
        return None
    figure = go.Figure()
    ends, dashed = [0, 100], {"color": style.MUTED, "dash": "dash", "width": 1.5}
    figure.add_scatter(x=ends, y=ends, mode="lines", name="as forecast", hoverinfo="skip", line=dashed)
    for rows, name, mode, symbol in (
        (table[table["n"] >= FEW], "seen", "lines+markers", "circle"),
        (table[table["n"] < FEW], f"seen in fewer than {FEW} forecasts", "markers", "circle-open"),
    ):
        figure.add_scatter(
            **{"x": 100 * rows["forecast"], "y": 100 * rows["seen"], "mode": mode, "name": name},
            customdata=rows["n"].astype(int),
            hovertemplate="forecast %{x:.0f} %, moved %{y:.0f} % of %{customdata:,}<extra></extra>",
            marker={"color": style.OURS, "size": 9, "symbol": symbol},
            line={"color": style.OURS, "width": 2.5},
        )
    figure.add_bar(
        **{"x": 10 * table["bin"] + 5, "y": table["n"].astype(int), "yaxis": "y2", "width": 8},
        **{"name": "forecasts", "hovertemplate": "%{y:,} forecasts<extra></extra>", "showlegend": False},
        text=[f"{count:,}" for count in table["n"]],
        **{"textposition": "outside", "textangle": 0, "cliponaxis": False, "marker_color": style.MUTED},
    )
    return plain(
        figure,
        xaxis={"title_text": "probability of a move, forecast %", "range": [0, 100], "anchor": "y2"},
        yaxis={"title_text": "moved, %", "range": [0, 103], "domain": [0.36, 1]},
        yaxis2={"title_text": "forecasts", "domain": [0, 0.22], "rangemode": "tozero", "nticks": 3},
    )


def direction_reliability(evidence: Evidence, horizon: int) -> Figure | None:
    """Plot how often prices rose, stayed and fell against the forecast probability of each."""
    table = evidence.calibration_of_directions
    table = table[(table["horizon"] == horizon) & (table["tier"] == "all") & (table["n"] >= FEW)]
    if not len(table):
        return None
    figure = go.Figure()
    ends, dashed = [0, 100], {"color": style.MUTED, "dash": "dash", "width": 1.5}
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


def interval_coverage(evidence: Evidence) -> Figure | None:
    """Plot the share of actual prices inside each interval by horizon, with a line at its nominal level."""
    table = evidence.pooled
    seen = 100 * table[[f"cover{level}" for level in LEVELS]]
    if not seen.notna().to_numpy().any():
        return None
    figure = go.Figure()
    for number, level in enumerate(LEVELS):
        figure.add_scatter(
            **{"x": table["horizon"].map(days), "y": seen[f"cover{level}"], "mode": "markers"},
            name=f"{level} % interval",
            hovertemplate=f"{level} % interval contained %{{y:.1f}} %<extra></extra>",
            marker={"color": SERIES[number], "symbol": SHAPES[number], "size": 12},
        )
        figure.add_hline(level, line_color=SERIES[number], line_dash="dash", layer="below")
    lowest = min(75, seen.min(axis=None))
    return plain(
        figure,
        xaxis=_horizons(table["horizon"]),
        yaxis={"title_text": "inside the interval, %", "range": [lowest - 2, 100.5], "showgrid": False},
    )


def _horizons(horizons: Sequence[int]) -> dict[str, Any]:
    """Return an axis of horizons, with the same margin at both ends."""
    return {"title_text": "days ahead", "type": "category", "range": [-0.4, len(horizons) - 0.6]}


def _around_one(values: Sequence[float]) -> list[float]:
    """Return a range that includes all values and at least 0.99 to 1.01."""
    return around((*values, 0.99, 1.01), 0.12)


def _wrapped(label: str) -> str:
    return "<br>".join(escape(line) for line in textwrap.wrap(label, LABEL_WIDTH))
