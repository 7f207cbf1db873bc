"""The release's report: an HTML page that needs no network, with data files if it would be too large."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from common import storage
from common.pages.render import render, script
from common.pages.tables import Table
from common.release.forecasts import networks_line
from train.evaluation.evidence import Evidence
from train.evaluation.questions import Answer, turnover
from train.report import tables, worth_tables
from train.report.charts import figures
from train.report.data_files import DataFiles, counters, series
from train.report.figures import COLOURS
from train.report.model_charts import MAPPED, best_epoch, model_figures, principal_axes

FILTERS = {"tier": "Tier", "sector": "Sector", "confidence": "Confidence", "flags": "Flags"}
LISTED = 100
LONG_LIST = re.compile(rf"((?:[^\s,]+, ){{{LISTED - 1}}}[^\s,]+)((?:, [^\s,]*[^\s,.])+)")
"""Matches a longer list of symbols in a sentence: its first part and the rest."""


def write_report(path: Path, evidence: Evidence, answers: Sequence[Answer]) -> None:
    """Write the report of a release to ``path`` atomically, after the data files beside it.

    The page contains plotly.js, its styles, scripts and figures; a content security policy prevents it from
    loading anything but its own data files. Tables are plain HTML, with unrounded numbers in ``data-v``.
    Data that do not fit are written as scripts to the folder ``<stem>_data``, see `train.report.data_files`.

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
    files = DataFiles(path.with_name(f"{path.stem}_data"), evidence.release)
    content = page(evidence, answers, files)
    storage.write_bytes(path, content.encode())
    files.remove_others()


def page(evidence: Evidence, answers: Sequence[Answer], files: DataFiles) -> str:
    """Return the report as HTML; data that it loads on demand are written to ``files``."""
    charts = figures(evidence) | model_figures(evidence)
    stocks, forecast = series(evidence, files)
    matrix, counts = counters(tables.matrix_table(evidence), forecast, files)
    data: dict[str, Any] = {"release": evidence.release, "folder": files.folder.name, "figures": charts}
    data |= {"stocks": stocks, "counters": counts, "colours": COLOURS}
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
        matrix=matrix,
        stocks=_stocks(evidence, forecast, matrix),
        figures=charts,
        groups=tables.groups_table(evidence),
        worth=worth_tables.worth_section(evidence),
        moves=tables.moves_table(evidence),
        directions=tables.directions_table(evidence),
        brier=tables.brier_table(evidence),
        coverage=tables.coverage_table(evidence),
        by_stock=tables.stock_coverage_table(evidence),
        factors=tables.factors_table(evidence),
        mapped=MAPPED,
        shares=principal_axes(evidence.embedding)[1].tolist() if charts["embedding"] else [],
        training=_training(evidence),
        beside=bool(files.names),
        data=data,
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


def _stocks(evidence: Evidence, forecast: set[str], matrix: Table) -> list[tuple[str, str, bool]]:
    """Return symbol, label and selection of each stock; the most traded one with forecasts is selected."""
    selected = next((symbol for symbol in turnover(evidence.panel).index if symbol in forecast), None)
    symbols = {row["symbol"] for row in matrix.rows} | {selected}
    return [
        (
            stock.symbol,
            f"{stock.symbol} – {stock.name}" + ("" if stock.symbol in forecast else " (no forecasts)"),
            stock.symbol == selected,
        )
        for stock in evidence.universe.stocks
        if stock.symbol in symbols
    ]
