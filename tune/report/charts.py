"""The search's charts as plain plotly figures, made of one Tuning.

Colours and text as in `train.report.charts`. A chart without figures is None.
"""

from html import escape

import numpy as np
import pandas as pd

from train.report.charts import Figure, numbers
from tune import labels
from tune.findings import Importance, finished, pareto_front, trials_with, winner
from tune.report.parallel import parallel_coordinates
from tune.report.points import DOT, across, edge_of, marked, points, view
from tune.report.sizes import score_by_size, size_differences
from tune.results import Tuning

COSTS = {"weights": "weights of the network", "seconds": "seconds of training, all folds"}


def figures(tuning: Tuning, found: Importance | None) -> dict[str, Figure | None]:
    """All charts by name."""
    return {
        "sizes": size_differences(tuning),
        "points": score_by_size(tuning),
        "contest": contest(tuning),
        "importance": None if found is None else importance_bars(found),
        "parallel": parallel_coordinates(tuning),
        "curves": learning_curves(tuning),
        **{f"cost_{name}": cost_against_quality(tuning, name) for name in COSTS},
    }


def importance_bars(found: Importance) -> Figure:
    """A bar for each parameter, and a mark where chance alone would reach."""
    names = [escape(labels.label(name)) for name in found.share.index]
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "importance",
        "y": names,
        "x": numbers(100 * found.share, 2),
        "hovertemplate": "%{y}: %{x:.0f} %<extra></extra>",
        "marker": {"color": "--c-ours"},
    }
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": "within reach of chance",
        "y": names,
        "x": numbers(100 * found.chance, 2),
        "hovertemplate": "chance alone stays below %{x:.0f} % 19 times in 20<extra></extra>",
        "marker": {"color": "--c-2", "symbol": "line-ns-open", "size": 18, "line": {"width": 3}},
    }
    layout = {
        "height": 36 * len(names) + 110,
        "xaxis": {"title": {"text": "share of the importance, %"}, "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False},
    }
    return {"data": [bars, marks], "layout": layout}


def learning_curves(tuning: Tuning) -> Figure | None:
    """The validation score by epoch in the first fold: all trials grey, the winner and the default not."""
    curves = tuning.curves[tuning.curves["fold"] == 1].sort_values(["trial", "epoch"])
    curves = curves[np.isfinite(curves["score"])]
    if not len(curves):
        return None
    known = set(curves["trial"])
    default = next((t for t in trials_with(tuning, tuning.info["default"])["trial"] if t in known), None)
    best = next((trial for trial in winner(tuning)["trial"] if trial in known), None)
    states = tuning.trials.set_index("trial")["state"]
    ended = curves["trial"].map(states).eq("done")
    groups = (
        (curves[~ended], "ended early", {"color": "--c-muted", "width": 1, "dash": "dot"}, 0.6),
        (curves[ended], "finished", {"color": "--c-muted", "width": 1}, 0.6),
    )
    traces = [
        _lines(rows, name) | {"line": line, "opacity": opacity}
        for rows, name, line, opacity in groups
        if len(rows)
    ]
    special = ((default, "default", "--c-2"), (best, "winner", "--c-good"))
    for trial, name, colour in special:
        if trial is not None:
            own = curves[curves["trial"] == trial]
            line = {"line": {"color": colour, "width": 3}, "marker": {"color": colour, "size": 7}}
            traces.append(_lines(own, f"{name} (trial {trial})") | line | {"mode": "lines+markers"})
    last = curves.groupby("trial")["score"].min()
    high = float(max(np.quantile(curves["score"], 0.9), last.quantile(0.75)))
    low = float(curves["score"].min())
    room = 0.06 * (high - low) or 0.001
    layout = {
        "xaxis": {"title": {"text": "epoch"}, "tickformat": "d", **_whole_ticks(int(curves["epoch"].max()))},
        "yaxis": {"title": {"text": "validation score, first fold"}, "range": [low - room, high + room]},
        "shapes": [across(1)] if low < 1 < high else [],
    }
    return {"data": traces, "layout": layout}


def cost_against_quality(tuning: Tuning, cost: str) -> Figure | None:
    """Finished trials by what they cost and how they score, with the front that nothing beats in both."""
    done = finished(tuning)
    done = done[np.isfinite(done[cost])] if cost in done else done.iloc[:0]
    if len(done) < 2:
        return None
    edge = edge_of(done["score"])
    front = done.iloc[pareto_front(done[cost].to_numpy(float), done["score"].to_numpy(float))]
    steps = {
        "type": "scatter",
        "mode": "lines",
        "name": "best for the price",
        "x": numbers([*front[cost], done[cost].max()], 1),
        "y": numbers([*front["score"], front["score"].iloc[-1]], 5),
        "hoverinfo": "skip",
        "line": {"shape": "hv", "color": "--c-good", "width": 2},
    }
    others = points(tuning, done, cost, "finished trials", edge) | {"marker": DOT}
    layout: Figure = {
        "xaxis": {"title": {"text": COSTS[cost]}, "type": "log", "nticks": 6, "minor": {"showgrid": False}},
        "yaxis": {"title": {"text": "validation score (naive = 1)"}, "range": view(done["score"], edge)},
    }
    layout["xaxis"] |= _log_ticks(done[cost])
    return {"data": [steps, others, marked(tuning, cost, edge, with_winner=True)], "layout": layout}


def contest(tuning: Tuning) -> Figure | None:
    """Scores on the test part of each refit of both configurations, seeds joined by a line."""
    held = tuning.info["contest"]
    if not held or not held["default"]:
        return None
    sides = {"default": ("--c-2", "diamond"), "winner": ("--c-good", "star")}
    totals = {side: {row["seed"]: row["total"] for row in held[side]} for side in sides}
    seeds = [seed for seed in totals["default"] if seed in totals["winner"]]
    pairs = {
        "type": "scatter",
        "mode": "lines",
        "x": [side for _ in seeds for side in ("default", "winner", None)],
        "y": [value for seed in seeds for value in (totals["default"][seed], totals["winner"][seed], None)],
        "hoverinfo": "skip",
        "showlegend": False,
        "line": {"color": "--c-muted", "width": 1},
    }
    traces = [pairs]
    for side, (colour, symbol) in sides.items():
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": side,
                "x": [side] * len(totals[side]),
                "y": list(totals[side].values()),
                "customdata": list(totals[side]),
                "hovertemplate": f"{side}, seed %{{customdata}}: %{{y:.4f}}<extra></extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 13},
            }
        )
    layout = {
        "xaxis": {"type": "category", "range": [-0.5, 1.5]},
        "yaxis": {"title": {"text": "score on the test part (naive = 1)"}},
        "showlegend": False,
    }
    return {"data": traces, "layout": layout}


def _lines(rows: pd.DataFrame, name: str) -> Figure:
    """One trace for many trials, with gaps between them."""
    x: list[int | None] = []
    y: list[float | None] = []
    told: list[str] = []
    for trial, own in rows.groupby("trial", sort=False):
        x += [*(int(epoch) for epoch in own["epoch"]), None]
        y += [*numbers(own["score"], 5), None]
        told += [f"trial {trial}"] * (len(own) + 1)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name),
        "x": x,
        "y": y,
        "customdata": told,
        "hovertemplate": "%{customdata}, epoch %{x}: %{y:.4f}<extra></extra>",
    }


def _log_ticks(values: pd.Series) -> Figure:
    """Ticks at 1, 2 and 5 times the powers of ten among the values, where there are several."""
    low, high = float(values.min()), float(values.max())
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low * 0.85 <= tick <= high * 1.15]
    return {"tickvals": shown, "ticktext": [f"{tick:,.0f}" for tick in shown]} if len(shown) > 1 else {}


def _whole_ticks(epochs: int) -> Figure:
    return {"dtick": 1} if epochs < 10 else {"nticks": 12}
