"""The release's report: one HTML page that needs nothing else, no network either."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from common import storage
from train.evaluation.evidence import Evidence
from train.evaluation.questions import Answer, turnover
from train.evaluation.summary import LEVELS
from train.report.charts import days, figures
from train.report.headline import across_horizons, banners, cards, facts, headline_table, rivals_table
from train.report.model_charts import best_epoch, model_figures, principal_axes, stock_series
from train.report.parts import asset, chart, folded, together, whole_page
from train.report.tables import TESTED, matrix_table, table

PICKERS = ("matrix", "stock", "groups", "moves")
"""Sections that show one horizon at a time."""
FILTERS = {"tier": "Tier", "sector": "Sector", "confidence": "Confidence", "flags": "Flags"}


def write_report(path: Path, evidence: Evidence, answers: Sequence[Answer]) -> None:
    """Write the report of a release to ``path``, whole or not at all.

    The page holds plotly.js, its styles, its programs and all figures; a content security policy keeps it
    from loading anything. Its tables are plain HTML, with numbers unrounded in ``data-v``.

    Parameters
    ----------
    path : Path
        The HTML file.
    evidence : Evidence
        Intervals, probabilities of a move, rivals, embedding and training curves may be missing: their
        place then says so.
    answers : sequence of Answer
        See `train.evaluation.questions.answers`.
    """
    storage.write_bytes(path, page(evidence, answers).encode())


def page(evidence: Evidence, answers: Sequence[Answer]) -> str:
    """The report as HTML."""
    made = figures(evidence) | model_figures(evidence)
    series = stock_series(evidence)
    synthetic = "Synthetic data: every price was invented. " if evidence.synthetic else ""
    values = {
        "release": escape(evidence.release),
        "counters": str(len(evidence.universe.stocks)),
        "banners": banners(evidence),
        "facts": facts(evidence),
        "cards": together(cards(evidence)),
        "headline": headline_table(evidence),
        "rivals": rivals_table(evidence),
        "answers": "".join(_answer(number, answer) for number, answer in enumerate(answers, start=1)),
        "filters": _filters(evidence.matrix),
        "matrix": matrix_table(evidence),
        "stocks": _stocks(evidence, series["forecast"]),
        "synthetic": synthetic,
        **{f"picker_{place}": _picker(place, evidence.horizons) for place in PICKERS},
        **_charts(evidence, made),
    }
    return whole_page(
        f"{synthetic[:9].upper()} nsecast release {evidence.release}".strip(),
        Template(together(asset("page.html"))).substitute(values),
        {"figures": made, "stocks": series, "horizons": evidence.horizons},
        asset("table.js") + asset("charts.js"),
        style=_switch(evidence.horizons),
        near=str(evidence.horizons[0]) if evidence.horizons else "",
    )


def _charts(evidence: Evidence, made: dict[str, Any]) -> dict[str, str]:
    """Places of the charts, each with its figures as a table."""
    no_moves = "This preset does not forecast how likely a price is to move."
    no_interval = "This preset forecasts no intervals."
    by_group = pd.concat(
        [
            evidence.by_tier.assign(group=evidence.by_tier["tier"].astype(str) + " tier"),
            evidence.by_sector.rename(columns={"sector": "group"}),
        ]
    )
    groups = table(
        across_horizons(by_group, "group"), "Ratios by tier and sector", hidden=tuple(TESTED.values())
    )
    moves = evidence.calibration_of_moves.assign(
        bin=[f"{10 * place} to {10 * place + 10} %" for place in evidence.calibration_of_moves["bin"]]
    )
    intervals = evidence.pooled[["horizon", *(f"cover{level}" for level in LEVELS)]]
    found = {
        "chart_rel_mae": _chart("by_horizon_rel_mae", made, "relMAE by days ahead"),
        "chart_rel_rmse": _chart("by_horizon_rel_rmse", made, "relRMSE by days ahead"),
        "chart_groups": _chart("groups", made, "Ratio to naive by tier and sector"),
        "groups_table": folded(groups),
        "chart_moves": _chart("moves", made, "Chance of a move: forecast against seen", no_moves),
        "moves_table": folded(table(moves, "Chance of a move, every horizon")) if len(moves) else "",
        "chart_coverage": _chart("coverage", made, "Actual prices inside each interval", no_interval),
        "coverage_table": "" if made["coverage"] is None else folded(table(intervals, "Coverage by horizon")),
        "chart_embedding": _chart(
            "embedding", made, "Map of the embedding", "The release has no embedding to draw."
        ),
        "embedding_text": "",
    }
    if made["embedding"] is not None:
        first, second = principal_axes(evidence.embedding)[1]
        found["embedding_text"] = together(
            f"The two axes hold {100 * (first + second):.0f} % of the variance ({100 * first:.0f} % and "
            f"{100 * second:.0f} %) of {len(evidence.embedding)} stocks. The rest is not in this picture, so "
            "stocks that look close may still be apart."
        )
    return found | {"training": _training(evidence, made)}


def _training(evidence: Evidence, made: dict[str, Any]) -> str:
    if not evidence.training:
        return '<p class="empty">The release keeps no training curves.</p>'
    parts, rows = [], []
    for number, (name, epochs) in enumerate(evidence.training.items()):
        best = best_epoch(epochs) or {}
        label = f"Network {number + 1} ({name})"
        chart = _chart(f"training_{number}", made, f"Training of {label}", "No epoch ended with a loss.")
        parts.append(f"<div><h3>{escape(label)}</h3>{chart}</div>")
        rows.append({"network": name, "epochs": len(epochs), "best epoch": best.get("epoch"), **best})
    summary = pd.DataFrame(rows).drop(columns="epoch", errors="ignore")
    caption = "Networks of the general model, at their best epoch"
    return f'<div class="pair">{"".join(parts)}</div>{folded(table(summary, caption))}'


def _chart(name: str, made: dict[str, Any], label: str, missing: str = "") -> str:
    figure, by_horizon = made[name], name in ("groups", "moves")
    there = figure is not None and not (by_horizon and not any(figure.values()))
    return chart(name, label, there=there, missing=missing, by_horizon=by_horizon)


def _answer(number: int, answer: Answer) -> str:
    note, said = "", together(escape(answer.answer))
    if "verdict" in answer.table:
        note = "<p>Ratios here are a stock’s own model over the general one: below 1 its own is better.</p>"
    caption = f"Figures behind the answer to question {number}"
    shown = table(answer.table, caption) if len(answer.table) else ""
    if answer.second is not None:
        shown += table(answer.second, f"More figures behind the answer to question {number}")
    return (
        f'<article class="answer"><h3>{number}. {escape(answer.question)}</h3><p>{said}</p>'
        f"{folded(note + shown) if shown else ''}</article>"
    )


def _filters(matrix: pd.DataFrame) -> str:
    """Choices of each filter; flags are a list in one cell, of which a stock may have none."""
    found = []
    for name, label in FILTERS.items():
        values = {part for value in matrix[name].dropna() for part in str(value).split(", ") if part}
        if name != "flags":
            values = {str(value) for value in matrix[name].dropna()}
        options = "".join(
            f'<option value="{escape(each)}">{escape(each)}</option>' for each in sorted(values)
        )
        none = '<option value="-">none</option>' if name == "flags" else ""
        found.append(
            f'<div class="field"><label for="filter-{name}">{label}</label>'
            f'<select id="filter-{name}" data-filter="{name}"><option value="">all</option>{none}{options}'
            "</select></div>"
        )
    return "".join(found)


def _stocks(evidence: Evidence, forecast: dict[str, Any]) -> str:
    """The choice of a stock; the most traded one with forecasts comes first up."""
    busiest = next((symbol for symbol in turnover(evidence.panel).index if symbol in forecast), None)
    options = []
    for stock in evidence.universe.stocks:
        chosen = " selected" if stock.symbol == busiest else ""
        name = f"{stock.symbol} – {stock.name}" + ("" if stock.symbol in forecast else " (no forecasts)")
        options.append(f'<option value="{escape(stock.symbol)}"{chosen}>{escape(name)}</option>')
    return "".join(options)


def _picker(place: str, horizons: Sequence[int]) -> str:
    """Radio buttons for the horizon; the page keeps those of all sections on the same one."""
    buttons = "".join(
        f'<label><input type="radio" name="horizon-{place}" value="{horizon}"'
        f"{' checked' if not number else ''}><span>{days(horizon)}</span></label>"
        for number, horizon in enumerate(horizons)
    )
    return f'<fieldset class="picker"><legend>Days ahead</legend>{buttons}</fieldset>'


def _switch(horizons: Sequence[int]) -> str:
    """Styles that hide the figures of the horizons that are not chosen."""
    return "".join(
        f'body[data-horizon="{horizon}"] [data-h]:not([data-h="{horizon}"]){{display:none}}\n'
        for horizon in horizons
    )
