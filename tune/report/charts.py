"""The charts of a search's report; colours and text as in `train.report.figures`."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from train.report import figures as style
from train.report.figures import LINE, NOTE, Figure, around, epoch_ticks, plain
from tune import labels
from tune.report.statistics import Importance, pareto_front
from tune.results import Tuning, finished, trials_with, winner

COSTS = {"weights": "weights of the network", "seconds": "seconds of training, all folds"}
SPREAD = 3
"""Scores more than this many interquartile ranges above the third quartile are drawn at the edge."""
BEST = {"color": style.GOOD, "symbol": "star", "size": 15}
DEFAULT = {"color": style.OTHER, "symbol": "diamond", "size": 12}
DOT = {"color": style.OURS, "size": 7, "opacity": 0.75}
SCORE = "validation score (naive = 1)"
SLICE_HEIGHT = 130
"""Pixels of one parameter's chart with its axis."""


def figures(tuning: Tuning, importance: Importance | None) -> dict[str, Figure | None]:
    """Return all charts by name; None where there is nothing to draw."""
    return {
        "sizes": size_differences(tuning),
        "contest": contest(tuning),
        "importance": importance_bars(importance) if importance else None,
        "slices": score_by_parameter(tuning),
        "curves": learning_curves(tuning),
        **{f"cost_{name}": cost_against_quality(tuning, name) for name in COSTS},
    }


def size_differences(tuning: Tuning) -> Figure | None:
    """Draw the difference in score of each embedding size to the default size, with its interval."""
    embedding = tuning.info["embedding"]
    if not embedding or not embedding["sizes"]:
        return None
    rows = pd.DataFrame(embedding["sizes"]).sort_values("size")
    values = rows[["difference", "low", "high"]].astype(float)
    marks = [DEFAULT if size == embedding["default"] else DOT | {"symbol": "circle"} for size in rows["size"]]
    figure = go.Figure()
    figure.add_scatter(
        **{"x": rows["size"], "y": values["difference"], "mode": "markers"},
        error_y={
            **{"type": "data", "symmetric": False, "color": style.OURS, "thickness": 2, "width": 6},
            "array": (values["high"] - values["difference"]).clip(lower=0).fillna(0),
            "arrayminus": (values["difference"] - values["low"]).clip(lower=0).fillna(0),
        },
        customdata=[_interval(row) for row in rows.to_dict(orient="records")],
        hovertemplate="size %{x}: %{y:+.4f}<br>%{customdata}<extra></extra>",
        marker={"color": [m["color"] for m in marks], "symbol": [m["symbol"] for m in marks], "size": 11},
    )
    figure.add_hline(0, **LINE)
    for text, y, anchor in (("↑ worse", 1, "top"), ("↓ better", 0, "bottom")):
        corner = {"x": 1, "y": y, "xref": "paper", "yref": "paper", "xanchor": "right", "yanchor": anchor}
        figure.add_annotation(text=text, showarrow=False, font=NOTE, **corner)
    limit = 1.15 * max(0.0005, values.abs().max(axis=None))
    return plain(
        figure,
        xaxis=_size_axis(rows["size"]),
        yaxis={"title_text": f"score less that of size {embedding['default']}", "tickformat": "+.4f"},
        yaxis_range=[-limit, limit],
        showlegend=False,
    )


def importance_bars(importance: Importance) -> Figure:
    """Draw a bar for each parameter, and a mark at what chance alone would reach."""
    names = [escape(labels.label(name)) for name in importance.share.index]
    figure = go.Figure()
    figure.add_bar(
        **{"x": 100 * importance.share, "y": names, "orientation": "h", "name": "importance"},
        **{"hovertemplate": "%{y}: %{x:.0f} %<extra></extra>", "marker_color": style.OURS},
    )
    figure.add_scatter(
        **{"x": 100 * importance.chance, "y": names, "mode": "markers", "name": "within reach of chance"},
        hovertemplate="chance alone stays below %{x:.0f} % 19 times in 20<extra></extra>",
        marker={"color": style.OTHER, "symbol": "line-ns-open", "size": 18, "line_width": 3},
    )
    return plain(
        figure,
        height=36 * len(names) + 110,
        xaxis={"title_text": "share of the importance, %", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
    )


def learning_curves(tuning: Tuning) -> Figure | None:
    """Draw the validation score by epoch in the first fold: trials grey, winner and default coloured."""
    curves = tuning.curves[tuning.curves["fold"] == 1].sort_values(["trial", "epoch"])
    curves = curves[np.isfinite(curves["score"])]
    if not len(curves):
        return None
    ended = curves["trial"].map(tuning.trials.set_index("trial")["state"]).eq("done")
    thin, figure = {"color": style.MUTED, "width": 1}, go.Figure()
    _add_curves(figure, curves[~ended], "ended early", line=thin | {"dash": "dot"}, opacity=0.6)
    _add_curves(figure, curves[ended], "finished", line=thin, opacity=0.6)
    for rows, name, colour in (
        (trials_with(tuning, tuning.info["default"]), "default", style.OTHER),
        (winner(tuning), "winner", style.GOOD),
    ):
        for trial in rows.loc[rows["trial"].isin(curves["trial"]), "trial"].head(1):
            strong = {"line": {"color": colour, "width": 3}, "marker": {"color": colour, "size": 7}}
            rows_of_trial = curves[curves["trial"] == trial]
            _add_curves(figure, rows_of_trial, f"{name} (trial {trial})", mode="lines+markers", **strong)
    last = curves.groupby("trial")["score"].min()
    low, high = curves["score"].min(), max(curves["score"].quantile(0.9), last.quantile(0.75))
    if low < 1 < high:
        figure.add_hline(1, **LINE)
    return plain(
        figure,
        xaxis={"title_text": "epoch", **epoch_ticks(int(curves["epoch"].max()))},
        yaxis={"title_text": "validation score, first fold", "range": around((low, high), 0.06, 0.001)},
    )


def cost_against_quality(tuning: Tuning, cost: str) -> Figure | None:
    """Draw the finished trials by cost and score, with the Pareto front."""
    done = finished(tuning)
    done = done[np.isfinite(done[cost])] if cost in done else done.iloc[:0]
    if len(done) < 2:
        return None
    edge, figure = _edge(done["score"]), go.Figure()
    front = done.iloc[pareto_front(done[cost].to_numpy(float), done["score"].to_numpy(float))]
    figure.add_scatter(
        x=[*front[cost], done[cost].max()],
        y=[*front["score"], front["score"].iloc[-1]],
        **{"mode": "lines", "name": "best for the price", "hoverinfo": "skip"},
        line={"shape": "hv", "color": style.GOOD, "width": 2},
    )
    _add_trials(figure, tuning, done, done[cost], edge, name="finished trials", marker=DOT)
    default = done[done["trial"].isin(trials_with(tuning, tuning.info["default"])["trial"])]
    rows = pd.concat([default, winner(tuning)])
    marks = pd.DataFrame([DEFAULT] * len(default) + [BEST] * (len(rows) - len(default)), columns=[*BEST])
    look = marks.to_dict("list") | {"opacity": 1}
    _add_trials(figure, tuning, rows, rows[cost], edge, name="default ◆, winner ★", marker=look)
    axis = {"title_text": COSTS[cost], "type": "log", "nticks": 6, "minor_showgrid": False}
    return plain(
        figure,
        xaxis=axis | _log_ticks(done[cost]),
        yaxis={"title_text": SCORE, "range": around((done["score"].min(), edge), 0.08, 0.001)},
    )


def score_by_parameter(tuning: Tuning) -> Figure | None:
    """Draw the finished trials by score and each parameter, one small chart below the other."""
    done, kinds = finished(tuning), tuning.info["parameters"]
    if len(done) < 2:
        return None
    edge, count = _edge(done["score"]), len(kinds)
    figure = make_subplots(rows=count, cols=1, vertical_spacing=0.5 / count)
    for number, (name, kind) in enumerate(kinds.items(), start=1):
        choices = [labels.value_text(choice) for choice in kind.get("choices", ())]
        values = done[name].map(labels.value_text) if choices else done[name]
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": False}
        for rows, look in ((done, DOT), (winner(tuning), BEST)):
            along = values.reindex(rows.index)
            _add_trials(figure, tuning, rows, along, edge, marker=look, **axes)
        axis = {"type": "category", "categoryarray": choices} if choices else {}
        axis |= {"type": "log"} | _log_ticks(values) if kind.get("log") else {}
        figure.update_xaxes(title_text=escape(labels.label(name)), row=number, col=1, **axis)
    figure.update_yaxes(range=around((done["score"].min(), edge), 0.08, 0.001), nticks=4)
    return plain(figure, height=SLICE_HEIGHT * count + 60)


def contest(tuning: Tuning) -> Figure | None:
    """Draw each refit's score on the test part; lines join refits of the same seed."""
    comparison = tuning.info["contest"]
    if not comparison or not comparison["default"]:
        return None
    sides = ("default", "winner")
    totals = pd.DataFrame({side: {row["seed"]: row["total"] for row in comparison[side]} for side in sides})
    figure = go.Figure()
    pairs = totals.dropna().assign(gap=None)
    figure.add_scatter(
        **{"x": [*sides, None] * len(pairs), "y": pairs.to_numpy().ravel(), "mode": "lines"},
        **{"hoverinfo": "skip", "showlegend": False, "line": {"color": style.MUTED, "width": 1}},
    )
    for side, mark in zip(sides, (DEFAULT, BEST), strict=True):
        own = totals[side].dropna()
        figure.add_scatter(
            **{"x": [side] * len(own), "y": own, "mode": "markers", "name": side, "customdata": own.index},
            hovertemplate=f"{side}, seed %{{customdata}}: %{{y:.4f}}<extra></extra>",
            marker=mark | {"size": 13},
        )
    return plain(
        figure,
        xaxis={"type": "category", "range": [-0.5, 1.5]},
        yaxis_title_text="score on the test part (naive = 1)",
        showlegend=False,
    )


def _add_trials(
    figure: go.Figure, tuning: Tuning, rows: pd.DataFrame, along: pd.Series, edge: float, **look: Any
) -> None:
    """Add trials as points; scores beyond ``edge`` are drawn there, with the true value on hover."""
    texts = []
    for row in rows.to_dict(orient="records"):
        values = {name: row[name] for name in tuning.parameters}
        about = escape(f"{labels.sizes(values)}, rate {labels.rate(values)}")
        texts.append(f"<b>trial {row['trial']}: {row['score']:.4f}</b><br>{about}")
    figure.add_scatter(
        **{"x": along, "y": rows["score"].clip(upper=edge), "mode": "markers", "customdata": texts},
        **{"hovertemplate": "%{customdata}<extra></extra>", **look},
    )


def _add_curves(figure: go.Figure, rows: pd.DataFrame, name: str, **look: Any) -> None:
    """Add many trials as one trace, with gaps between them."""
    if not len(rows):
        return
    gaps = rows.drop_duplicates("trial").assign(epoch=np.inf)
    rows = pd.concat([rows, gaps]).sort_values(["trial", "epoch"], kind="stable")
    drawn = np.isfinite(rows["epoch"])
    figure.add_scatter(
        **{"x": rows["epoch"].where(drawn), "y": rows["score"].where(drawn), "name": escape(name)},
        customdata=[f"trial {trial}" for trial in rows["trial"]],
        **{"hovertemplate": "%{customdata}, epoch %{x}: %{y:.4f}<extra></extra>", "mode": "lines", **look},
    )


def _edge(scores: pd.Series) -> float:
    low, high = scores.quantile([0.25, 0.75])
    return float(min(scores.max(), high + SPREAD * (high - low)))


def _log_ticks(values: pd.Series) -> dict[str, Any]:
    """Return ticks at 1, 2 and 5 times powers of ten, if at least two lie among the values."""
    low, high = float(values.min()), float(values.max())
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low * 0.85 <= tick <= high * 1.15]
    return {"tickvals": shown, "ticktext": [f"{tick:,.0f}" for tick in shown]} if len(shown) > 1 else {}


def _size_axis(sizes: Any) -> dict[str, Any]:
    """Return a logarithmic axis of sizes with ticks at powers of two."""
    low, high = np.log2(np.min(sizes)), np.log2(np.max(sizes))
    ticks = [2**power for power in range(int(np.floor(low)), int(np.ceil(high)) + 1)]
    ends = [float(end * np.log10(2)) for end in around((low, high), 0.05, 0.5)]
    axis = {"title_text": "embedding size", "type": "log", "range": ends}
    return axis | {"tickvals": ticks, "ticktext": [str(tick) for tick in ticks]}


def _interval(row: dict[str, Any]) -> str:
    if pd.isna(row["low"]):
        return "one fit, no interval"
    if row["low"] == row["high"]:
        return "the default size"
    return f"95 % interval {row['low']:+.4f} to {row['high']:+.4f}, {row['fits']} fits"
