"""The top of the search's report: banners, the sentences, facts and cards."""

from html import escape
from typing import Any

import numpy as np

from common.model.bundle import GENERAL
from train.report.parts import quick_banner, synthetic_banner
from train.report.tables import ratio
from train.snapshot import is_synthetic
from tune import labels
from tune.findings import default_score, finished, winner
from tune.results import Tuning


def banners(tuning: Tuning) -> str:
    """What must not be overlooked: invented prices, a search made only to try it out."""
    found = [synthetic_banner()] if is_synthetic(tuning.info["source"]) else []
    if tuning.info["quick"]:
        found.append(quick_banner("search"))
    return "".join(found)


def sentences(tuning: Tuning) -> str:
    """The two answers, or why there is none yet."""
    info, done = tuning.info, finished(tuning)
    if info["embedding"]:
        size = str(info["embedding"]["because"])
    elif info["model"] == GENERAL:
        size = "Whether the embedding is wide enough was not compared in this search."
    else:
        size = "Specific models have no embedding, so none was compared."
    if info["contest"]:
        contest = str(info["contest"]["sentence"])
    elif not len(done):
        contest = "No trial finished, so there is nothing to compare with the default."
    else:
        contest = "The best configuration has not been compared with the default on the test part yet."
    return f'<p class="lead">{escape(size)}</p><p class="lead">{escape(contest)}</p>'


def facts(tuning: Tuning) -> str:
    """What was searched, on which data, by which means."""
    info = tuning.info
    versions = ", ".join(f"{name} {version}" for name, version in sorted(info["versions"].items()))
    found = {
        "Made": str(info["made"])[:16].replace("T", " "),
        "Model": info["model"],
        "Preset": info["preset"],
        "Data": info["source"],
        "Hash of the data": str(info["data_sha256"])[:16],
        "Hash of the universe": str(info["universe_sha256"])[:16],
        "Seed": info["seed"],
        "Epochs of a fold": info["epochs"],
        "CPUs": info["cpus"],
        "Versions": versions,
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(str(fact))}</dd></div>" for name, fact in found.items())
    return f'<dl class="facts">{rows}</dl>'


def cards(tuning: Tuning) -> str:
    return "".join((_trials_card(tuning), _best_card(tuning), _gain_card(tuning), _time_card(tuning)))


def horizon_names(info: dict[str, Any], count: int) -> list[str]:
    """``1 d``, ``5 d`` and so on."""
    return [f"{days}\N{NO-BREAK SPACE}d" for days in info["horizons"]]


def _trials_card(tuning: Tuning) -> str:
    states = tuning.trials["state"]
    total = len(states)
    words = {"done": "finished", "stopped": "stopped early", "failed": "failed", "interrupted": "interrupted"}
    parts = [
        f"{count} {word} ({100 * count / total:.0f} %)"
        for state, word in words.items()
        if (count := int((states == state).sum())) or (state == "done" and total)
    ]
    kind = " worse" if total and (states == "failed").mean() > 0.5 else ""
    compared = int((tuning.trials["origin"] == "sweep").sum())
    parts.append(labels.counted(total - compared, compared))
    return _card("Trials", str(total), ", ".join(parts) + "." if total else "None was started.", kind)


def _best_card(tuning: Tuning) -> str:
    found, default = winner(tuning), default_score(tuning)
    if not len(found):
        return _card("Winner on validation", "–", "No trial finished.")
    best, count = float(found["score"].iloc[0]), len(finished(tuning))
    text = f"Trial {found['trial'].iloc[0]}; naive is 1. "
    text += "The default did not finish." if default is None else f"The default reached {default:.4f}."
    if count > 1:
        text += f" Being chosen from {count} flatters it: the test tells."
    return _card("Winner on validation", ratio(best, digits=4), text, " better" if best < 1 else " worse")


def _gain_card(tuning: Tuning) -> str:
    held = tuning.info["contest"]
    if not held:
        return _card("Gain on the test part", "–", "Not measured yet.")
    if not held["seeds"]:
        return _card("Gain on the test part", "0", "The default is itself the best on validation.")
    noise = held["noise"]
    known = noise is not None and np.isfinite(noise)
    text = f"Default’s score less the winner’s, means of {len(held['seeds'])} seeds; "
    text += f"noise {noise:.4f}. " if known else "the noise cannot be told. "
    text += "Better than the default." if held["better"] else "Not better than the default."
    figure = f"{held['gain']:+.4f}"
    return _card("Gain on the test part", figure, text, " better" if held["better"] else "")


def _time_card(tuning: Tuning) -> str:
    spent = float(np.nansum(tuning.trials["seconds"]))
    text = f"From first to last. The trials together worked {_long(spent)}, on {tuning.info['cpus']} CPUs."
    return _card("Time", _long(tuning.info["seconds"]), text)


def _long(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _card(title: str, big: str, text: str, kind: str = "") -> str:
    return f'<li class="card{kind}"><h3>{title}</h3><p class="big">{big}</p><p>{escape(text)}</p></li>'
