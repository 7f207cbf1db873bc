"""The release's report: an HTML page that needs no network."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
from plotly.offline import get_plotlyjs

from common import storage
from common.pages.render import render, script
from common.pages.tables import Table
from common.release.released_models import networks_line
from train.evaluation.evidence import Evidence
from train.evaluation.questions import Answer
from train.report import tables, worth_tables
from train.report.charts import MAPPED, best_epoch, figures, principal_axes
from train.report.figures import COLOURS
from train.report.stock_data import listed_stocks

FILTERS = {"tier": "Tier", "sector": "Sector", "confidence": "Confidence", "flags": "Flags"}
LISTED = 100
LONG_LIST = re.compile(rf"((?:[^\s,]+, ){{{LISTED - 1}}}[^\s,]+)((?:, [^\s,]*[^\s,.])+)")
"""Matches a longer list of symbols in a sentence: its first part and the rest."""


def write_report(path: Path, evidence: Evidence, answers: Sequence[Answer]) -> None:
    """Write the report of a release to ``path``, atomically.

    The page contains plotly.js, its styles, scripts and figures; a content security policy prevents it from
    loading anything. Tables are plain HTML, with unrounded numbers in ``data-v``. Of a large universe, the
    page has the most traded stocks, see `train.report.stock_data`.

    Parameters
    ----------
    path : Path
        The HTML file; smaller than 10 MB for any number of symbols.
    evidence : Evidence
        Intervals, probabilities of a move, rivals, embedding and training curves may be missing; the page
        then says so.
    answers : sequence of Answer
        See `train.evaluation.questions.answers`.
    """
    storage.write_bytes(path, page(evidence, answers).encode())


def page(evidence: Evidence, answers: Sequence[Answer]) -> str:
    """Return the report as HTML."""
    charts, columns = figures(evidence), tables.matrix_columns(evidence)
    listed, stocks = listed_stocks(evidence, len(columns))
    return render(
        "train.report",
        "report.html",
        id=evidence.release,
        synthetic=evidence.synthetic,
        quick=evidence.info.get("quick"),
        evidence=evidence,
        info={"preset": "unknown", "source": "unknown"} | {k: v for k, v in evidence.info.items() if v},
        networks=networks_line(evidence.info) if evidence.info.get("train_end") else "unknown",
        cutoff=evidence.forecasts.read(["cutoff"])["cutoff"].max(),
        horizons=evidence.horizons,
        pooled=evidence.pooled.to_dict(orient="records"),
        headline=tables.headline_columns(),
        rivals=tables.rivals_table(evidence),
        answers=[
            (number, answer, _shortened(answer.answer), _answer_tables(number, answer))
            for number, answer in enumerate(answers, start=1)
        ],
        filters=[(name, label, _choices(name, evidence.matrix[name])) for name, label in FILTERS.items()],
        matrix=tables.matrix_table(evidence, columns, listed),
        stocks=_stocks(evidence, listed, stocks["forecast"]),
        figures=charts,
        groups=tables.groups_table(evidence),
        worth=worth_tables.worth_section(evidence),
        directions=tables.directions_table(evidence),
        brier=tables.brier_table(evidence),
        coverage=tables.coverage_table(evidence),
        by_stock=tables.stock_coverage_table(evidence),
        factors=tables.factors_table(evidence),
        mapped=MAPPED,
        shares=principal_axes(evidence.embedding)[1].tolist() if charts["embedding"] else [],
        training=_training(evidence),
        data={"figures": charts, "stocks": stocks, "colours": COLOURS},
        plotly=script(get_plotlyjs()),
    )


def _shortened(text: str) -> str:
    return LONG_LIST.sub(lambda match: f"{match[1]} and {match[2].count(','):,} more", text)


def _answer_tables(number: int, answer: Answer) -> list[Table]:
    frames = {"Figures": answer.table, "More figures": answer.second}
    return [
        tables.table(frame, f"{word} behind the answer to question {number}")
        for word, frame in frames.items()
        if frame is not None and len(frame)
    ]


def _training(evidence: Evidence) -> Table:
    rows = []
    for name, epochs in evidence.training.items():
        best = best_epoch(epochs) or {}
        rows.append({"network": name, "epochs": len(epochs), "best epoch": best.get("epoch"), **best})
    summary = pd.DataFrame(rows).drop(columns="epoch", errors="ignore")
    return tables.table(summary, "Networks of the general model, at their best epoch")


def _choices(name: str, values: pd.Series) -> list[str]:
    """Return the choices of a filter; a cell of flags is a list that may be empty."""
    texts = {str(value) for value in values.dropna()}
    return sorted({part for text in texts for part in text.split(", ") if part} if name == "flags" else texts)


def _stocks(
    evidence: Evidence, listed: Sequence[str], forecast: Collection[str]
) -> list[tuple[str, str, bool]]:
    """Return symbol, label and selection of each stock; the most traded one with forecasts is selected."""
    selected, shown = next((symbol for symbol in listed if symbol in forecast), None), set(listed)
    return [
        (
            stock.symbol,
            f"{stock.symbol} – {stock.name}" + ("" if stock.symbol in forecast else " (no forecasts)"),
            stock.symbol == selected,
        )
        for stock in evidence.universe.stocks
        if stock.symbol in shown
    ]
