"""The report of a search: one self-contained HTML page."""

from pathlib import Path
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from common import storage
from common.pages.render import render, script
from train.progress.snapshot import is_synthetic
from train.report.figures import COLOURS
from tune import labels
from tune.report import tables
from tune.report.charts import COSTS, figures
from tune.report.statistics import FEWEST_BEST, importance
from tune.results import Tuning, cleaned, default_score, finished, winner

STATES = {"done": "finished", "stopped": "stopped early", "failed": "failed", "interrupted": "interrupted"}


def write_report(path: Path, tuning: Tuning) -> None:
    """Write the report of a search to an HTML file, atomically.

    Missing comparisons, and searches in which all trials failed, are explained on the page.
    """
    storage.write_bytes(path, page(tuning).encode())


def page(tuning: Tuning) -> str:
    """Return the report as HTML."""
    tuning = cleaned(tuning)
    shares = importance(tuning)
    charts = figures(tuning, shares)
    drawn = {name: figure for name, figure in charts.items() if figure is not None}
    return render(
        "tune.report",
        "search.html",
        id=str(tuning.info["id"]),
        synthetic=is_synthetic(tuning.info["source"]),
        quick=tuning.info["quick"],
        info=tuning.info,
        figures=charts,
        costs=COSTS,
        configurations=tables.configurations_table(tuning),
        refits=tables.contest_table(tuning),
        sizes=tables.sizes_table(tuning),
        importance=shares,
        importance_table=shares and tables.importance_table(shares),
        fewest=FEWEST_BEST,
        curves=tables.curves_table(tuning) if len(tuning.curves) else None,
        trials=tables.trials_table(tuning),
        folds=tables.folds_table(tuning),
        data={"figures": drawn, "colours": COLOURS},
        plotly=script(get_plotlyjs()),
        **card_values(tuning),
    )


def card_values(tuning: Tuning) -> dict[str, Any]:
    """Return the values of the cards at the top, see ``cards.html``."""
    states, info = tuning.trials["state"], tuning.info
    counts = [(int((states == state).sum()), word) for state, word in STATES.items()]
    compared = int((tuning.trials["origin"] == "sweep").sum())
    contest = info["contest"] or {}
    noise = contest.get("noise")
    return {
        "total": len(states),
        "ended": [(count, word) for count, word in counts if count or word == "finished"],
        "kinds": labels.counted(len(states) - compared, compared),
        "best": next(iter(winner(tuning).to_dict(orient="records")), None),
        "default_score": default_score(tuning),
        "finished": len(finished(tuning)),
        "contest": contest,
        "noise": noise if noise is not None and np.isfinite(noise) else None,
        "spent": _duration(float(np.nansum(tuning.trials["seconds"]))),
        "took": _duration(info["seconds"]),
        "cpus": info["cpus"],
    }


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
