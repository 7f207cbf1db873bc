"""The report of a search: one self-contained HTML page."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
from plotly.offline import get_plotlyjs

from common import storage
from common.pages.render import render, script
from train.progress.snapshot import format_duration, is_synthetic
from train.report.figures import COLOURS
from tune.report import tables
from tune.report.charts import figures, proposals
from tune.results import Tuning

STATES = {"done": "finished", "stopped": "stopped early", "failed": "failed", "interrupted": "interrupted"}


def write_report(path: Path, tuning: Tuning, study: optuna.Study) -> None:
    """Write the report of a search and its study to an HTML file, atomically.

    Missing comparisons, and searches in which all trials failed, are explained on the page.
    """
    storage.write_bytes(path, page(tuning, study).encode())


def page(tuning: Tuning, study: optuna.Study) -> str:
    """Return the report as HTML."""
    own = proposals(study)
    charts = figures(tuning, own)
    return render(
        "tune.report",
        "search.html",
        id=str(tuning.info["id"]),
        synthetic=is_synthetic(tuning.info["source"]),
        quick=tuning.info["quick"],
        info=tuning.info,
        parameters=tuning.parameters,
        figures=charts,
        configurations=tables.configurations_table(tuning),
        refits=tables.contest_table(tuning),
        sizes=tables.sizes_table(tuning),
        importance=tables.importance_table(own),
        fewest=tables.FEWEST,
        trials=tables.trials_table(tuning),
        folds=tables.folds_table(tuning),
        data={"figures": {name: chart for name, chart in charts.items() if chart}, "colours": COLOURS},
        plotly=script(get_plotlyjs()),
        **card_values(tuning),
    )


def card_values(tuning: Tuning) -> dict[str, Any]:
    """Return the values of the cards at the top, see ``cards.html``."""
    states, contest = tuning.trials["state"], tuning.info["contest"] or {}
    counts = [(int((states == state).sum()), word) for state, word in STATES.items()]
    noise = contest.get("noise")
    return {
        "total": len(states),
        "ended": [(count, word) for count, word in counts if count or word == "finished"],
        "kinds": tuning.kinds,
        "best": next(iter(tuning.winner.to_dict(orient="records")), None),
        "default_score": tuning.default_score,
        "finished": len(tuning.finished),
        "contest": contest,
        "noise": noise if noise is not None and np.isfinite(noise) else None,
        "spent": format_duration(tuning.info["seconds"]),
        "cpus": tuning.info["cpus"],
    }
