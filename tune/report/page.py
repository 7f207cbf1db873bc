"""The search's report: one HTML page that needs nothing else, no network either."""

from html import escape
from pathlib import Path
from string import Template

import numpy as np

from common import storage
from train.report.parts import asset, chart, folded, together, whole_page
from train.snapshot import is_synthetic
from tune.findings import FEWEST_BEST, Importance, cleaned, finished, importance, pareto_front
from tune.report import tables
from tune.report.charts import COSTS, figures
from tune.report.headline import banners, cards, facts, horizon_names, sentences
from tune.results import Tuning

FEW = "Fewer than two trials finished, so there is nothing to draw."


def write_report(path: Path, tuning: Tuning) -> None:
    """Write the report of a search to ``path``, whole or not at all.

    The page is made as that of a release is, see `train.report.page.write_report`.

    Parameters
    ----------
    path : Path
        The HTML file.
    tuning : Tuning
        The contest and the comparison of embedding sizes may be missing, and all trials may have failed:
        their place then says so.
    """
    storage.write_bytes(path, page(tuning).encode())


def page(tuning: Tuning) -> str:
    """The report as HTML."""
    tuning = cleaned(tuning)
    info, found = tuning.info, importance(tuning)
    made = figures(tuning, found)
    synthetic = "Synthetic data: every price was invented. " if is_synthetic(info["source"]) else ""
    values = {
        "banners": banners(tuning),
        "id": escape(str(info["id"])),
        "question": escape(_question(tuning)),
        "sentences": together(sentences(tuning)),
        "cards": together(cards(tuning)),
        "configurations": tables.configurations_table(tuning),
        "contest": _contest(tuning),
        "sizes": _sizes(tuning),
        "chart_points": chart(
            "points", "Score by embedding size", there=made["points"] is not None, missing=_no_points(tuning)
        ),
        "importance": _importance(found),
        "chart_parallel": chart(
            "parallel", "Parameters and score of each trial", there=made["parallel"] is not None, missing=FEW
        ),
        "curves": _curves(tuning),
        "costs": "".join(_cost(tuning, cost) for cost in COSTS),
        "trials": tables.trials_table(tuning),
        "folds": tables.folds_table(tuning),
        "facts": facts(tuning),
        "synthetic": synthetic,
    }
    return whole_page(
        f"{synthetic[:9].upper()} nsecast search {info['id']}".strip(),
        Template(together(asset("page.html", "tune.report"))).substitute(values),
        {"figures": {name: figure for name, figure in made.items() if figure is not None}},
        asset("search.js", "tune.report"),
        style=asset("search.css", "tune.report"),
    )


def _question(tuning: Tuning) -> str:
    model = tuning.info["model"]
    if model == "general":
        return "Which embedding and LSTM sizes, and is the default enough?"
    own = "all specific models" if model.endswith(":all") else f"the model of {model.split(':')[-1]}"
    return f"Which sizes suit {own}?"


def _contest(tuning: Tuning) -> str:
    held = tuning.info["contest"]
    if not held:
        return '<p class="empty">Not held yet: the winner is refitted with several seeds at the end.</p>'
    if not held["default"] or not held["winner"]:
        return f'<p class="empty">{escape(str(held["sentence"]))}</p>'
    names = horizon_names(tuning.info, len(held["default"][0]["rel_mae"]))
    drawn = chart("contest", "Score of each refit on the test part")
    return f"{drawn}{tables.contest_table(held, names)}"


def _sizes(tuning: Tuning) -> str:
    embedding = tuning.info["embedding"]
    if not embedding or not embedding["sizes"]:
        return chart("sizes", "", there=False, missing="Embedding sizes were not compared in this search.")
    drawn = chart("sizes", f"Embedding sizes beside size {embedding['default']}")
    return drawn + folded(tables.sizes_table(embedding))


def _no_points(tuning: Tuning) -> str:
    return FEW if tuning.info["model"] == "general" else "Specific models have no embedding."


def _importance(found: Importance | None) -> str:
    if found is None:
        return (
            '<p class="empty">Too few trials: importance needs '
            f"{FEWEST_BEST} finished ones among the best quarter of a search over several parameters.</p>"
        )
    text = (
        f"Of {found.trials} searched trials, the {found.best} best against all. Trials stopped early "
        "count as not among the best; failed ones and those that only change the embedding are left out."
    )
    drawn = chart("importance", "Importance of each parameter")
    return f"<p>{text}</p>{drawn}{folded(tables.importance_table(found))}"


def _curves(tuning: Tuning) -> str:
    there = bool(len(tuning.curves))
    drawn = chart(
        "curves", "Learning curves of all trials", there=there, missing="No trial finished an epoch."
    )
    return drawn + (folded(tables.curves_table(tuning)) if there else "")


def _cost(tuning: Tuning, cost: str) -> str:
    done = finished(tuning)
    done = done[np.isfinite(done[cost])]
    there = len(done) > 1
    drawn = chart(f"cost_{cost}", f"Score against {COSTS[cost]}", there=there, missing=FEW)
    title = f"<h3>{COSTS[cost].capitalize()}</h3>"
    if not there:
        return f"<div>{title}{drawn}</div>"
    places = pareto_front(done[cost].to_numpy(float), done["score"].to_numpy(float))
    table = tables.front_table(tuning, done.iloc[places], cost)
    return f"<div>{title}{drawn}{folded(table, 'The best for the price as a table')}</div>"
