"""Trials as points of a chart, the default and the best marked."""

from html import escape
from typing import Any

import pandas as pd

from train.report.charts import Figure, numbers
from tune import labels
from tune.findings import finished, trials_with, winner
from tune.results import Tuning

SPREAD = 3
"""Scores further above the third quartile than this many quartile distances are drawn at the edge."""
BEST = {"color": "--c-good", "symbol": "star", "size": 15}
DEFAULT = {"color": "--c-2", "symbol": "diamond", "size": 12}
DOT = {"color": "--c-ours", "size": 7, "opacity": 0.75}


def points(tuning: Tuning, rows: pd.DataFrame, along: str, name: str, edge: float) -> Figure:
    """Trials as points; a score beyond ``edge`` is drawn there, and told truly on a hover."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": numbers(rows[along], 1),
        "y": numbers(rows["score"].clip(upper=edge), 5),
        "customdata": [_told(tuning, row) for row in rows.to_dict(orient="records")],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def marked(tuning: Tuning, along: str, edge: float, *, with_winner: bool = False) -> Figure:
    """The default's trials and, if asked for, the winner."""
    done = finished(tuning)
    own = trials_with(tuning, tuning.info["default"])
    own = done[done["trial"].isin(own["trial"])]
    rows = pd.concat([own, winner(tuning)]) if with_winner else own
    marks: list[dict[str, Any]] = [DEFAULT] * len(own) + [BEST] * (len(rows) - len(own))
    name = "default ◆, winner ★" if with_winner else "default"
    each = {key: [mark[key] for mark in marks] for key in ("color", "symbol", "size")}
    return points(tuning, rows, along, name, edge) | {"marker": each | {"opacity": 1}}


def edge_of(scores: pd.Series) -> float:
    low, high = scores.quantile([0.25, 0.75])
    return float(min(scores.max(), high + SPREAD * (high - low)))


def view(scores: pd.Series, edge: float) -> list[float]:
    low = float(scores.min())
    room = 0.08 * (edge - low) or 0.001
    return [low - room, edge + room]


def across(y: float) -> Figure:
    place = {"type": "line", "layer": "below", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
    return place | {"line": {"color": "--c-text", "width": 1.5}}


def _told(tuning: Tuning, row: dict[str, Any]) -> str:
    values = {name: row[name] for name in tuning.parameters}
    text = f"trial {row['trial']}: {row['score']:.4f}"
    rest = f"{labels.sizes(values)}, rate {labels.rate(values)}"
    return f"<b>{escape(text)}</b><br>{escape(rest)}"
