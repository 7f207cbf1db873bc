"""Run a search from end to end: trials, comparison on the test part, files."""

import math
import time
from pathlib import Path

from cluster.connect.session import ray_session
from common import storage
from common.config import read_toml
from common.errors import ConfigError, TrainingError
from train.progress.console import LiveTable, Mode
from tune import evaluation
from tune.progress import SearchProgress
from tune.report import write_report
from tune.results import Tuning
from tune.search import search
from tune.search_plan import SearchBudget, SearchPlan
from tune.spec import SearchSpec
from tune.study import FILE, Study, sweep
from tune.summary import best_toml, tuning_of, winner_of


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
    """Run a search, or the rest of one that was interrupted.

    Parameters
    ----------
    time_s : float, optional
        Seconds after which no trial starts and running ones stop after their epoch, to be continued later.
    with_contest : bool
        Refit the winner and the default and compare them on the test part, once all trials have ended.
    address : str, optional
        A Ray cluster to run on, see `ray_session`.

    Returns
    -------
    (Tuning, bool)
        The result, and whether there was nothing left to do.

    Raises
    ------
    ConfigError
        If the folder holds another search, or another process is running this one.
    TrainingError
        If no trial succeeded.
    """
    spec, root = planned.spec, planned.folder
    with storage.lock_or_fail(root / "search.lock", f"search {spec.id}"):
        _open(planned)
        study = Study(spec, root)
        compared = sweep(spec, seeds=effort.sweep_seeds, sizes=effort.sizes)
        contest = evaluation.stored(root)
        stored = _stored(root)
        left = study.left(effort.trials, compared)
        is_current = stored is not None and len(stored.trials) == len(study.trials())
        if not left and stored and is_current and (stored.info["contest"] or not with_contest):
            return stored, True
        progress = SearchProgress(study, planned=effort.trials + len(compared), compared=len(compared))
        session = ray_session(cpus=workers, address=address, shared=root)

        def save() -> Tuning:
            return tuning_of(spec, study.trials(), contest, cpus=cpus).save(root)

        with LiveTable(progress.snapshot, mode=mode), session as cpus:
            try:
                if left:
                    deadline = time.time() + time_s if time_s else math.inf
                    search(
                        study, progress, cpus=cpus, trials=effort.trials, compared=compared, deadline=deadline
                    )
                winner = winner_of(spec, study.trials())
                if winner is None:
                    raise TrainingError(_no_winner(study))
                if with_contest and contest is None and not study.left(effort.trials, compared):
                    progress.state = "refitting"
                    contest = evaluation.evaluate(spec, planned.panel, root, winner)
            except (KeyboardInterrupt, TrainingError):
                save()
                raise
            progress.state = "done"
        tuning = save()
        write_report(root / "report.html", tuning, study.study)
        # The last file of a search.
        storage.write_bytes(root / "best.toml", best_toml(spec, planned.full, tuning).encode())
        return tuning, False


def _open(planned: SearchPlan) -> None:
    """Create the search's folder, or check that it belongs to this search."""
    spec, root = planned.spec, planned.folder
    if not storage.exists(root / "search.json"):
        planned.seen.save(root / "panel.parquet")
        spec.save(root)
        return
    other = SearchSpec.load(root)
    if other.id != spec.id:
        raise ConfigError(
            f"--out: {root} holds search {other.id}, need {spec.id}: settings, prices or work differ. "
            "Use another folder."
        )
    if storage.matching_names(root, "trials/*/trial.json") and not storage.exists(root / FILE):
        raise ConfigError(
            f"--out: {root} holds a search by an earlier version, whose trials cannot be continued (they are "
            f"in trials/, not in {FILE}). Its tables, report and best.toml are not changed. Use another "
            "folder."
        )


def _stored(root: Path) -> Tuning | None:
    """Return the result of a session that ended with its last file; None if there is none."""
    try:
        stored = Tuning.load(root)
        storage.up_to_date(root / "best.toml")
        complete = read_toml(root / "best.toml")["provenance"]["made"] == stored.info["made"]
    except (OSError, ValueError, KeyError, ConfigError):
        return None
    interrupted = (stored.trials["state"] == "interrupted").any()
    return stored if complete and not interrupted else None


def _no_winner(study: Study) -> str:
    trials = study.trials()
    reasons = [trial.reason for trial in trials if trial.state == "failed" and trial.reason]
    if reasons:
        folder = study.root / "trials"
        return f"no trial succeeded; the last of {len(trials)} failed with: {reasons[-1]} See {folder}."
    return "no trial finished. Give more --time; the same command continues the search."
