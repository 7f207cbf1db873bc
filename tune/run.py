"""A search end to end: trials, contest, files. The command line and other callers use this."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.session import ray_session, usable_cpus
from common import storage
from common.config import read_toml
from common.errors import ConfigError, TrainingError
from train.console import Mode
from tune import contest
from tune.best import best_toml, versions
from tune.book import Book, trial_score
from tune.console import SearchTable
from tune.outcome import tuning_of, universe_sha256, winner_of
from tune.plan import Effort, Search
from tune.proposals import Proposals, sweep
from tune.report.page import write_report
from tune.results import Tuning
from tune.search import Board, search
from tune.space import Parameters
from tune.spec import SearchSpec


def execute(
    planned: Search,
    effort: Effort,
    *,
    time_s: float | None = None,
    workers: int | None = None,
    workers_per_trial: int = 1,
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
        What was found, and whether all of it had been done before.

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
        book = Book(root)
        compared = sweep(spec, seeds=effort.sweep_seeds, sizes=effort.sizes)
        held = contest.read(root)
        before = _stored(root)
        whole = before is not None and len(before.trials) == len(book.trials)
        left = _left(spec, book, effort.trials, compared)
        if not left and before and whole and (before.info["contest"] or not with_contest):
            return before, True
        state = _State(planned, book, _seconds(root))
        state.contest = held
        board = Board(spec, book, planned=effort.trials + len(compared), compared=len(compared))
        session = ray_session(cpus=workers, address=address, shared=root)
        with SearchTable(board.snapshot, mode=mode), session as cpus:
            state.cpus = cpus
            if cpus < workers_per_trial:
                raise ConfigError(f"--workers-per-trial: got {workers_per_trial}, there are {cpus} CPUs.")
            try:
                if left:
                    search(
                        spec,
                        root,
                        board,
                        cpus=cpus,
                        trials=effort.trials,
                        compared=compared,
                        deadline=time.time() + time_s if time_s else math.inf,
                        workers_per_trial=workers_per_trial,
                    )
                winner = winner_of(spec, book)
                if winner is None:
                    raise TrainingError(_nothing(book, root))
                if with_contest and held is None and not _left(spec, book, effort.trials, compared):
                    board.state = "refitting"
                    state.contest = contest.hold(spec, planned.panel, root, winner)
            except (KeyboardInterrupt, TrainingError):
                state.save()
                raise
            board.state = "done"
        return state.finish(), False


@dataclass
class _State:
    """What there is to write at the end, or when it is cut short."""

    planned: Search
    book: Book
    seconds: float
    """Of earlier sessions."""
    contest: dict[str, Any] | None = None
    cpus: int = 0

    def __post_init__(self) -> None:
        self._started = time.monotonic()

    def save(self) -> Tuning:
        tuning = tuning_of(
            self.planned.spec,
            self.book,
            self.contest,
            cpus=self.cpus or usable_cpus(),
            seconds=self.seconds + time.monotonic() - self._started,
        )
        tuning.save(self.planned.folder)
        return tuning

    def finish(self) -> Tuning:
        """Write everything, the report too and ``best.toml`` last: with it the search is complete."""
        tuning, spec, root = self.save(), self.planned.spec, self.planned.folder
        winner = self.book.trials[tuning.info["winner_trial"]]
        write_report(root / "report.html", tuning)
        text = best_toml(spec, self.planned.full, winner, self.contest, self._provenance(tuning))
        storage.write_bytes(root / "best.toml", text.encode())
        return tuning

    def _provenance(self, tuning: Tuning) -> dict[str, Any]:
        spec = self.planned.spec
        winner = self.book.trials[tuning.info["winner_trial"]]
        return {
            "search": spec.id,
            "made": tuning.info["made"],
            "model": spec.model,
            "source": spec.source,
            "data_sha256": spec.data_sha256,
            "universe_sha256": universe_sha256(spec),
            "seed": spec.config.seed,
            "trials": len(tuning.trials),
            "trial": winner.number,
            "score": trial_score(winner.histories(spec)),
            "space": tuning.info["parameters"],
            "versions": versions(),
        }


def _open(planned: Search) -> None:
    """Make the search's folder, or make sure that it is this search's."""
    spec, root = planned.spec, planned.folder
    if storage.exists(root / "search.json"):
        other = SearchSpec.load(root)
        if other.id != spec.id:
            raise ConfigError(
                f"--out: {root} holds search {other.id}, need {spec.id}: other settings, prices or work. "
                "Use another folder."
            )
        return
    planned.seen.save(root / "panel.parquet")
    spec.save(root)


def _stored(root: Path) -> Tuning | None:
    """What a search that ended wrote; None where there is none, or where it was cut off since."""
    try:
        for name in ("result.json", "trials.csv", "curves.csv", "best.toml"):
            storage.current(root / name)
        stored = Tuning.load(root)
        made = read_toml(root / "best.toml")["provenance"]["made"]
    except (OSError, ValueError, KeyError, ConfigError):
        return None
    cut_off = made != stored.info["made"] or (stored.trials["state"] == "interrupted").any()
    return None if cut_off else stored


def _left(spec: SearchSpec, book: Book, trials: int, compared: list[tuple[Parameters, int]]) -> int:
    """How many trials have not ended."""
    return Proposals(spec, book, trials=trials, compared=compared).left()


def _seconds(root: Path) -> float:
    """How long earlier sessions worked."""
    try:
        seconds: float = json.loads(storage.current(root / "result.json").read_bytes())["seconds"]
        return seconds
    except (OSError, ValueError):
        return 0.0


def _nothing(book: Book, root: Path) -> str:
    reasons = [trial.end["reason"] for trial in book.trials.values() if trial.end and trial.end["reason"]]
    if reasons:
        return (
            f"no trial succeeded; the last of {len(book.trials)} said: {reasons[-1]} See {root / 'trials'}."
        )
    return "no trial was finished. Give it more --time; the same command continues."
