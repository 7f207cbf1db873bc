"""A search end to end: trials, comparison on the test part, files. Called by the command line and others."""

import json
import math
import time
from pathlib import Path
from typing import Any

from cluster.connect.session import ray_session
from common import storage
from common.config import read_toml
from common.errors import ConfigError, TrainingError
from train.progress.console import Mode
from tune import evaluation
from tune.console import SearchTable
from tune.progress import SearchProgress
from tune.report.page import write_report
from tune.results import Tuning
from tune.search import search
from tune.search_plan import SearchBudget, SearchPlan
from tune.spec import SearchSpec
from tune.study import FILE, Study, sweep
from tune.summary import best_toml, tuning_of, winner_of

PROVENANCE = ("made", "model", "source", "data_sha256", "universe_sha256", "seed", "versions")
"""Of `Tuning.info`, what ``best.toml`` says of its origin."""


def execute(
    planned: SearchPlan,
    effort: SearchBudget,
    *,
    time_s: float | None = None,
    workers: int | None = None,
    with_contest: bool = True,
    mode: Mode | None = None,
    address: str | None = None,
) -> tuple[Tuning, bool]:
    """Do a search, or whatever of it is not done yet.

    Parameters
    ----------
    time_s : float, optional
        Seconds after which no trial starts and those running end with their epoch, to be continued.
    with_contest : bool
        Refit the winner and the default and compare them on the test part, once all trials have ended.
    address : str, optional
        A Ray cluster to work on, see `ray_session`.

    Returns
    -------
    (Tuning, bool)
        The result, and whether all of it had been done before.

    Raises
    ------
    ConfigError
        If the folder holds another search, or this one is at work in another process.
    TrainingError
        If no trial succeeded.
    """
    spec, root = planned.spec, planned.folder
    with storage.claim(root / "search.lock", f"search {spec.id}"):
        _open(planned)
        study = Study(spec, root)
        compared = sweep(spec, seeds=effort.sweep_seeds, sizes=effort.sizes)
        contest = evaluation.stored(root)
        before = _stored(root)
        whole = before is not None and len(before.trials) == len(study.trials())
        left = study.left(effort.trials, compared)
        if not left and before and whole and (before.info["contest"] or not with_contest):
            return before, True
        progress = SearchProgress(study, planned=effort.trials + len(compared), compared=len(compared))
        session = ray_session(cpus=workers, address=address, shared=root)
        earlier, started = _seconds(root), time.monotonic()

        def save() -> Tuning:
            seconds = earlier + time.monotonic() - started
            tuning = tuning_of(spec, study.trials(), contest, cpus=cpus, seconds=seconds)
            tuning.save(root)
            return tuning

        with SearchTable(progress.snapshot, mode=mode), session as cpus:
            try:
                if left:
                    deadline = time.time() + time_s if time_s else math.inf
                    search(
                        study, progress, cpus=cpus, trials=effort.trials, compared=compared, deadline=deadline
                    )
                winner = winner_of(spec, study.trials())
                if winner is None:
                    raise TrainingError(_nothing(study))
                if with_contest and contest is None and not study.left(effort.trials, compared):
                    progress.state = "refitting"
                    contest = evaluation.evaluate(spec, planned.panel, root, winner)
            except (KeyboardInterrupt, TrainingError):
                save()
                raise
            progress.state = "done"
        tuning = save()
        write_report(root / "report.html", tuning)
        _write_best(planned, study, tuning)
        return tuning, False


def _write_best(planned: SearchPlan, study: Study, tuning: Tuning) -> None:
    """Write ``best.toml``, the last file: with it the search is complete."""
    info = tuning.info
    winner = study.trials()[info["winner_trial"]]
    provenance: dict[str, Any] = {
        "search": info["id"],
        **{name: info[name] for name in PROVENANCE},
        "trials": len(tuning.trials),
        "trial": winner.number,
        "score": winner.score,
        "space": info["parameters"],
    }
    text = best_toml(planned.spec, planned.full, winner, info["contest"], provenance)
    storage.write_bytes(planned.folder / "best.toml", text.encode())


def _open(planned: SearchPlan) -> None:
    """Make the search's folder, or make sure that it is this search's."""
    spec, root = planned.spec, planned.folder
    if not storage.exists(root / "search.json"):
        planned.seen.save(root / "panel.parquet")
        spec.save(root)
        return
    other = SearchSpec.load(root)
    if other.id != spec.id:
        raise ConfigError(
            f"--out: {root} holds search {other.id}, need {spec.id}: other settings, prices or work. "
            "Use another folder."
        )
    if storage.names(root, "trials/*/trial.json") and not storage.exists(root / FILE):
        raise ConfigError(
            f"--out: {root} holds a search by an earlier version, whose trials cannot be continued (they are "
            f"in trials/, not in {FILE}). Its tables, report and best.toml stay as they are. Search again in "
            "another folder."
        )


def _stored(root: Path) -> Tuning | None:
    """The result of a search that ended; None where there is none, or where it was cut off since."""
    try:
        for name in ("result.json", "trials.csv", "curves.csv", "best.toml"):
            storage.current(root / name)
        stored = Tuning.load(root)
        made = read_toml(root / "best.toml")["provenance"]["made"]
    except (OSError, ValueError, KeyError, ConfigError):
        return None
    cut_off = made != stored.info["made"] or (stored.trials["state"] == "interrupted").any()
    return None if cut_off else stored


def _seconds(root: Path) -> float:
    """How long earlier sessions worked."""
    try:
        seconds: float = json.loads(storage.current(root / "result.json").read_bytes())["seconds"]
        return seconds
    except (OSError, ValueError):
        return 0.0


def _nothing(study: Study) -> str:
    trials = study.trials()
    reasons = [trial.reason for trial in trials if trial.state == "failed" and trial.reason]
    if reasons:
        return (
            f"no trial succeeded; the last of {len(trials)} said: {reasons[-1]} See {study.root / 'trials'}."
        )
    return "no trial was finished. Give it more --time; the same command continues."
