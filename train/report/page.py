"""The release's report: one HTML page that needs no network, with data files where it would be too large."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from common import storage
from common.pages.render import render, script
from common.pages.tables import Table
from train.evaluation.evidence import Evidence
from train.evaluation.questions import Answer, turnover
from train.report import tables
from train.report.charts import figures
from train.report.data_files import DataFiles, counters, series
from train.report.figures import COLOURS
from train.report.model_charts import MAPPED, best_epoch, model_figures, principal_axes

FILTERS = {"tier": "Tier", "sector": "Sector", "confidence": "Confidence", "flags": "Flags"}
LISTED = 100
LONG_LIST = re.compile(rf"((?:[^\s,]+, ){{{LISTED - 1}}}[^\s,]+)((?:, [^\s,]*[^\s,.])+)")
"""Of a longer list of symbols in a sentence, the first part and the rest."""


def write_report(path: Path, evidence: Evidence, answers: Sequence[Answer]) -> None:
    """Write the report of a release to ``path``, whole or not at all, after the data files beside it.

    The page holds plotly.js, its styles, its programs and the figures; a content security policy keeps it
    from loading anything but its own data files. Its tables are plain HTML, with numbers unrounded in
    ``data-v``. What does not fit (see `train.report.data_files`) is written to the folder ``<stem>_data``
    beside the page, as programs, because a browser reads no other files for a page opened as a file.

    Parameters
    ----------
    path : Path
        The HTML file, less than 10 MB whatever the number of symbols.
    evidence : Evidence
        Intervals, probabilities of a move, rivals, embedding and training curves may be missing: their
        place then says so.
    answers : sequence of Answer
        See `train.evaluation.questions.answers`.
    """
    files = DataFiles(path.with_name(f"{path.stem}_data"), evidence.release)
    content = page(evidence, answers, files)
    files.write()
    storage.write_bytes(path, content.encode())
    files.remove_others()


def page(evidence: Evidence, answers: Sequence[Answer], files: DataFiles) -> str:
    """The report as HTML; what it loads when it is needed is added to ``files``."""
    made = figures(evidence) | model_figures(evidence)
    matrix = tables.matrix_table(evidence)
    stocks, forecast = series(evidence, files)
    listed, symbols = counters(matrix, forecast, files)
    data: dict[str, Any] = {"release": evidence.release, "folder": files.folder.name, "figures": made}
    data |= {"stocks": stocks, "counters": symbols, "colours": COLOURS}
    return render(
        "train.report",
        "report.html",
        id=evidence.release,
        synthetic=evidence.synthetic,
        quick=evidence.info.get("quick"),
        evidence=evidence,
        info={"preset": "unknown", "source": "unknown"} | {k: v for k, v in evidence.info.items() if v},
        cutoff=evidence.table["cutoff"].max(),
        horizons=evidence.horizons,
        pooled=evidence.pooled.to_dict(orient="records"),
        headline=tables.headline_columns(),
        rivals=tables.rivals_table(evidence),
        answers=[
            (number, answer, _shortened(answer.answer), _behind(number, answer))
            for number, answer in enumerate(answers, start=1)
        ],
        filters=[(name, label, _choices(name, evidence.matrix[name])) for name, label in FILTERS.items()],
        matrix=listed,
        stocks=_stocks(evidence, forecast, listed),
        figures=made,
        groups=tables.groups_table(evidence),
        moves=tables.moves_table(evidence),
        coverage=tables.coverage_table(evidence),
        mapped=MAPPED,
        shares=principal_axes(evidence.embedding)[1].tolist() if made["embedding"] else [],
        training=_training(evidence),
        beside=bool(files.contents),
        data=data,
        plotly=script(get_plotlyjs()),
    )


def _shortened(text: str) -> str:
    return LONG_LIST.sub(lambda found: f"{found[1]} and {found[2].count(','):,} more", text)


def _behind(number: int, answer: Answer) -> list[Table]:
    """The tables behind an answer."""
    caption = f"igures behind the answer to question {number}"
    found = [tables.table(answer.table, f"F{caption}")] if len(answer.table) else []
    return found + ([] if answer.second is None else [tables.table(answer.second, f"More f{caption}")])


def _training(evidence: Evidence) -> Table:
    rows = []
    for name, epochs in evidence.training.items():
        best = best_epoch(epochs) or {}
        rows.append({"network": name, "epochs": len(epochs), "best epoch": best.get("epoch"), **best})
    summary = pd.DataFrame(rows).drop(columns="epoch", errors="ignore")
    return tables.table(summary, "Networks of the general model, at their best epoch")


def _choices(name: str, values: pd.Series) -> list[str]:
    """Choices of a filter; flags are a list in one cell, of which a stock may have none."""
    texts = {str(value) for value in values.dropna()}
    return sorted({part for text in texts for part in text.split(", ") if part} if name == "flags" else texts)


def _stocks(evidence: Evidence, forecast: set[str], listed: Table) -> list[tuple[str, str, bool]]:
    """The choice of a stock; the most traded one with forecasts is shown first."""
    busiest = next((symbol for symbol in turnover(evidence.panel).index if symbol in forecast), None)
    shown = {row["symbol"] for row in listed.rows} | {busiest}
    return [
        (
            stock.symbol,
            f"{stock.symbol} – {stock.name}" + ("" if stock.symbol in forecast else " (no forecasts)"),
            stock.symbol == busiest,
        )
        for stock in evidence.universe.stocks
        if stock.symbol in shown
    ]
