"""Parallel coordinates, lying: an axis for each parameter, one below the other, and a line for each trial.

Drawn with plotly's ordinary lines: its own parallel coordinates need WebGL and programs made at run time,
which the page's policy forbids, and axes side by side do not fit a phone.
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
MOST_TICKS = 5
ROOM = 18
"""Characters that the ticks of an axis may have together on a phone."""
SHORT_NAME = 9
"""Longer names have two lines."""


@dataclass(frozen=True)
class Axis:
    """One axis: places from 0 to 1 of values, and its ticks."""

    name: str
    low: float
    high: float
    log: bool
    choices: tuple[str, ...] = ()

    def place(self, value: Any) -> float:
        if self.choices:
            text = labels.said(value)
            return (
                self.choices.index(text) / max(1, len(self.choices) - 1) if text in self.choices else np.nan
            )
        if value is None or not np.isfinite(value):
            return np.nan
        value, low, high = (self._scaled(each) for each in (value, self.low, self.high))
        return float(np.clip((value - low) / (high - low), 0, 1)) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts, the ends among them."""
        if self.choices:
            return [(self.place(choice), choice) for choice in self.choices]
        for count in (MOST_TICKS, 3):
            values = self._steps(count)
            if sum(len(labels.said(value)) for value in values) <= ROOM:
                break
        return [(self.place(value), labels.said(value)) for value in values]

    def _steps(self, count: int) -> list[float]:
        """Round values evenly between the ends, and the ends."""
        between = np.geomspace if self.log else np.linspace
        values = [float(f"{value:.1g}") for value in between(self.low, self.high, count)[1:-1]]
        return sorted({self.low, self.high, *(value for value in values if self.low < value < self.high)})

    def _scaled(self, value: float) -> float:
        return float(np.log(max(value, self.low))) if self.log else float(value)


def axes_of(tuning: Tuning) -> list[Axis]:
    """An axis per parameter over the range that was searched, and one of the score."""
    found = []
    for name, kind in tuning.info["parameters"].items():
        if "choices" in kind:
            found.append(Axis(name, 0, 1, False, tuple(labels.said(choice) for choice in kind["choices"])))
        else:
            found.append(Axis(name, float(kind["low"]), float(kind["high"]), bool(kind.get("log"))))
    scores = finished(tuning)["score"]
    return [*found, Axis("score", float(scores.min()), float(scores.max()), False)]


def parallel_coordinates(tuning: Tuning) -> Figure | None:
    """Every trial that finished; those stopped early too, but for their score, which cannot be compared."""
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
        for place, text in axis.ticks():
            figure.add_annotation(
                **{"x": place, "y": -row, "text": escape(text), "showarrow": False, "bgcolor": PAGE},
                **{"yanchor": "top", "yshift": -3, "font": {"size": 11, "color": TEXT}, "borderpad": 0},
                xanchor="left" if place == 0 else "right" if place == 1 else "center",
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
    """One line per trial over all axes, with gaps between them; unfinished ones end before the score."""
    x: list[float] = []
    texts: list[str] = []
    for row in rows.to_dict(orient="records"):
        scored = row["state"] == "done"
        x += [axis.place(row[axis.name]) if scored or axis.name != "score" else np.nan for axis in axes]
        x.append(np.nan)
        texts += [f"trial {row['trial']}, {labels.label(axis.name)} {_value(row, axis)}" for axis in axes]
        texts.append("")
    y = [*range(0, -len(axes), -1), None] * len(rows)
    about = {"customdata": [escape(text) for text in texts], "hovertemplate": "%{customdata}<extra></extra>"}
    return {"x": x, "y": y, "mode": "lines", **about}


def _in_lines(name: str) -> str:
    return escape(name).replace(" ", "<br>", 1) if len(name) > SHORT_NAME else escape(name)


def _value(row: dict[str, Any], axis: Axis) -> str:
    return f"{row['score']:.4f}" if axis.name == "score" else labels.said(row[axis.name])
