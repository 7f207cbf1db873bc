"""Parallel coordinates with horizontal axes, one below the other, and a line for each trial.

Drawn with ordinary plotly lines: plotly's own parallel coordinates need WebGL and ``eval``, which the page's
policy forbids, and vertical axes side by side do not fit a phone.
"""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from train.report.figures import GOOD, MUTED, OTHER, OURS, PAGE, TEXT, Figure, plain
from tune import labels
from tune.results import Tuning, finished, trials_with, winner

ROW_HEIGHT = 58
BEST_SHARE = 0.25
MAX_TICKS = 5
MAX_CHARACTERS = 18
"""Of the ticks of an axis together, so that they fit a phone."""
SHORT_NAME = 9
"""Longer names are broken into two lines."""


@dataclass(frozen=True)
class Axis:
    """One axis; maps values to positions from 0 to 1."""

    name: str
    low: float
    high: float
    log: bool
    choices: tuple[str, ...] = ()

    def position(self, value: Any) -> float:
        if self.choices:
            text = labels.value_text(value)
            return (
                self.choices.index(text) / max(1, len(self.choices) - 1) if text in self.choices else np.nan
            )
        if value is None or not np.isfinite(value):
            return np.nan
        value, low, high = map(self._scaled, (value, self.low, self.high))
        return float(np.clip((value - low) / (high - low), 0, 1)) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return positions and labels, including both ends."""
        if self.choices:
            return [(self.position(choice), choice) for choice in self.choices]
        for count in (MAX_TICKS, 3):
            values = self._steps(count)
            if sum(len(labels.value_text(value)) for value in values) <= MAX_CHARACTERS:
                break
        return [(self.position(value), labels.value_text(value)) for value in values]

    def _steps(self, count: int) -> list[float]:
        """Return the ends and evenly spaced, rounded values between them."""
        between = np.geomspace if self.log else np.linspace
        values = [float(f"{value:.1g}") for value in between(self.low, self.high, count)[1:-1]]
        return sorted({self.low, self.high, *(value for value in values if self.low < value < self.high)})

    def _scaled(self, value: float) -> float:
        return float(np.log(max(value, self.low))) if self.log else float(value)


def axes_of(tuning: Tuning) -> list[Axis]:
    """Return an axis per parameter over its searched range, and one for the score."""
    axes = []
    for name, kind in tuning.info["parameters"].items():
        if "choices" in kind:
            axes.append(Axis(name, 0, 1, False, tuple(map(labels.value_text, kind["choices"]))))
        else:
            axes.append(Axis(name, float(kind["low"]), float(kind["high"]), bool(kind.get("log"))))
    scores = finished(tuning)["score"]
    return [*axes, Axis("score", float(scores.min()), float(scores.max()), False)]


def parallel_coordinates(tuning: Tuning) -> Figure | None:
    """Draw all finished trials, and those stopped early without their score, which is not comparable."""
    done = finished(tuning)
    if len(done) < 2:
        return None
    axes = axes_of(tuning)
    best = done.head(max(1, round(BEST_SHARE * len(done))))
    default = done[done["trial"].isin(trials_with(tuning, tuning.info["default"])["trial"])].head(1)
    rest = done[~done["trial"].isin([*best["trial"], *default["trial"], *winner(tuning)["trial"]])]
    stopped = tuning.trials[tuning.trials["state"] == "stopped"]
    figure, count = go.Figure(), len(axes)
    for rows, name, line, opacity in (
        (stopped, "stopped early", {"color": MUTED, "width": 1, "dash": "dot"}, 0.45),
        (rest, "finished", {"color": MUTED, "width": 1.25}, 0.7),
        (best, "best quarter", {"color": OURS, "width": 2}, 0.9),
        (default, "default", {"color": OTHER, "width": 3.5}, 1),
        (winner(tuning), "winner", {"color": GOOD, "width": 3.5}, 1),
    ):
        figure.add_scatter(**_lines(rows, axes), name=name, line=line, opacity=opacity)
    for row, axis in enumerate(axes):
        ends = {"type": "line", "x0": 0, "x1": 1, "y0": -row, "y1": -row, "layer": "below"}
        figure.add_shape(**ends, line={"color": TEXT, "width": 1})
        for position, text in axis.ticks():
            figure.add_annotation(
                **{"x": position, "y": -row, "text": escape(text), "showarrow": False, "bgcolor": PAGE},
                **{"yanchor": "top", "yshift": -3, "font": {"size": 11, "color": TEXT}, "borderpad": 0},
                xanchor="left" if position == 0 else "right" if position == 1 else "center",
            )
    names = [_in_lines(labels.label(axis.name)) for axis in axes]
    return plain(
        figure,
        **{"height": ROW_HEIGHT * count + 110, "margin": {"r": 28, "b": 16}},
        xaxis={"visible": False, "range": [-0.03, 1.03]},
        yaxis={"range": [0.5 - count, 0.4], "showgrid": False, "ticktext": names},
        yaxis_tickvals=[-row for row in range(count)],
    )


def _lines(rows: pd.DataFrame, axes: list[Axis]) -> dict[str, Any]:
    """Return one trace with a line per trial and gaps between them; unfinished ones end before the score."""
    x: list[float] = []
    texts: list[str] = []
    for row in rows.to_dict(orient="records"):
        scored = row["state"] == "done"
        x += [axis.position(row[axis.name]) if scored or axis.name != "score" else np.nan for axis in axes]
        x.append(np.nan)
        texts += [f"trial {row['trial']}, {labels.label(axis.name)} {_value(row, axis)}" for axis in axes]
        texts.append("")
    y = [*range(0, -len(axes), -1), None] * len(rows)
    about = {"customdata": [escape(text) for text in texts], "hovertemplate": "%{customdata}<extra></extra>"}
    return {"x": x, "y": y, "mode": "lines", **about}


def _in_lines(name: str) -> str:
    return escape(name).replace(" ", "<br>", 1) if len(name) > SHORT_NAME else escape(name)


def _value(row: dict[str, Any], axis: Axis) -> str:
    return f"{row['score']:.4f}" if axis.name == "score" else labels.value_text(row[axis.name])
