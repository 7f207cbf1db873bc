"""The search as a user runs it: from the command to settings to train with, and stopped in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages.journal import JournalFileBackend
from support.machine.processes import is_alive, running
from support.training.train_command import universe
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from common.prices.panel import Panel
from train.run.plan import stored_result
from tune.results import TRIAL_COLUMNS, Tuning

pytestmark = [pytest.mark.integration, pytest.mark.long]
EPOCHS = 12
UNIVERSE = universe("ABSA", "COOP")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, small_archive: Path) -> Iterator[Callable[..., Any]]:
    """Starts the command in a user's folder; what still runs at the end is ended."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "universe.toml").write_text(UNIVERSE)
    data = ["--archive", str(small_archive), "--universe", "universe.toml", "--workers", "2"]

    def start(verb: str, *arguments: str) -> subprocess.Popen[str]:
        return started.enter_context(
            running(
                [sys.executable, "-m", "nsecast", verb, *data, *arguments],
                cwd=folder,
                env=os.environ | {"NSECAST_HOME": str(folder / "home")},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    start.folder = folder
    with ExitStack() as started:
        yield start


def finish(process: subprocess.Popen[str], *, expect: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == expect, err
    return out, err


def epochs_of(root: Path, trial: int) -> Counter[tuple[int, int]]:
    """How often each (fold, epoch) of a trial was finished, from its TensorBoard files."""
    counts: Counter[tuple[int, int]] = Counter()
    for fold in (1, 2):
        for path in (root / f"trials/{trial:03}/fold-{fold}/tensorboard/general/seed-0").glob("*"):
            for event in EventFileLoader(str(path)).Load():
                counts.update((fold, event.step) for value in event.summary.value if value.tag == "val_loss")
    return counts


def study_of(root: Path) -> optuna.Study:
    """The search's study, by plain Optuna."""
    backend = JournalFileBackend(str(root / "study.journal"))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))


def workers_on(root: Path, trial: int) -> list[int]:
    """Processes that have a file of a trial's folder open."""
    pids = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if link.readlink().is_relative_to(root / f"trials/{trial:03}"):
                pids.append(int(link.parts[2]))
    return pids


def worker_at(root: Path, trial: int, epochs: int, *, timeout_s: float = 120) -> int:
    """Process that works on a trial, once that has finished so many epochs."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if sum(epochs_of(root, trial).values()) >= epochs:
            state = study_of(root).trials[trial].state
            assert not state.is_finished(), "the trial ended before it could be disturbed"
            if pids := workers_on(root, trial):
                return pids[0]
        time.sleep(0.05)
    raise TimeoutError(f"trial {trial} never got to epoch {epochs}")


def all_gone(pids: list[int], *, timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not any(map(is_alive, pids))


def test_a_quick_search_leaves_tables_a_report_and_settings_that_training_takes(user):
    root = user.folder / "quick"
    (root / "trials/001/fold-1/spec.json").mkdir(parents=True)  # in the way of the trial's first file
    command = ["tune", "--trials", "4", "--quick", "--out", "quick"]
    first = json.loads(finish(user(*command, "--json"))[0])
    tuning = Tuning.load(root)
    assert tuning.info == first
    trials = tuning.trials
    assert list(trials.columns[: len(TRIAL_COLUMNS)]) == list(TRIAL_COLUMNS)
    assert trials["origin"].value_counts().to_dict() == {"search": 4, "sweep": 3}
    assert set(trials["state"]) <= {"done", "stopped", "failed"}
    failed = trials[trials["state"] == "failed"]
    assert failed["trial"].tolist() == [1] and "spec.json" in failed["reason"].iloc[0], "it costs only itself"
    assert sorted(trials.loc[trials["origin"] == "sweep", "embedding_dim"]) == [2, 10, 32]
    done = trials[trials["state"] == "done"]
    assert (done["epochs"] == 4).all() and (done["folds"] == 2).all()
    assert done["score"].to_numpy() == pytest.approx(done[["fold_1", "fold_2"]].mean(axis=1).to_numpy())
    winner = trials.set_index("trial").loc[first["winner_trial"]]
    assert winner["score"] == done[(done["origin"] == "search") | (done["trial"] == 0)]["score"].min()
    assert first["embedding"]["because"].startswith("Embedding size 10 is ")
    held = first["contest"]
    default, best = (np.mean([seed["total"] for seed in held[name]]) for name in ("default", "winner"))
    tested = held["diebold_mariano"]
    better = default - best > held["noise"] and tested["p_value"] < 0.05 and tested["mean"] < 0
    assert held["better"] is bool(better)
    wanted = (
        "The winner is better than the default: " if better else "The winner is not better than the default: "
    )
    assert held["sentence"].startswith(wanted) and f"{default - best:+.4f} in score" in held["sentence"]
    assert (root / "report.html").stat().st_size > 10_000
    assert not (root / "ray").exists()

    seen = Panel.load(root / "panel.parquet")
    assert str(seen.dates[-1].date()) == first["folds"][0]["valid_end"]

    plan = json.loads(finish(user("train", "--config", str(root / "best.toml"), "--dry-run", "--json"))[0])
    network = plan["config"]["network"]
    better = first["contest"]["better"]
    expected = first["winner" if better else "default"]
    assert network["embedding_dim"] == expected["embedding_dim"]
    assert network["lstm_units"] == [expected["lstm_1"], expected["lstm_2"]]
    assert plan["config"]["window"]["network_days"] == expected["window_size"]
    assert not plan["config"]["quick"]

    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    out, _ = finish(user(*command))
    assert "nothing to do" in out and first["contest"]["sentence"] in out and "SYNTHETIC" in out
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    changed = {path.name for path in before | after if before.get(path) != after.get(path)}
    assert changed <= {"search.lock"}


def test_a_search_killed_in_every_way_loses_one_epoch_at_most_and_no_figure_changes(user):
    command = ["--trials", "2", "--quick", "--epochs", str(EPOCHS), "--sweep-seeds", "0"]
    command += ["--no-asha", "--no-contest"]
    root = user.folder / "disturbed"
    disturbed = ["tune", *command, "--out", "disturbed"]

    process = user(*disturbed)
    killed = worker_at(root, 0, 3)
    os.kill(killed, signal.SIGKILL)
    worker_at(root, 0, 6)
    pids = [killed, *workers_on(root, 0), *workers_on(root, 1)]
    os.kill(process.pid, signal.SIGINT)
    out, err = finish(process, expect=130)
    assert "the same command continues" in err and "Traceback" not in out + err
    assert all_gone(pids), "a worker outlived the command"
    assert "interrupted" in set(pd.read_csv(root / "trials.csv")["state"])

    process = user(*disturbed)
    worker_at(root, 2, 2)
    os.kill(process.pid, signal.SIGSTOP)
    _, refused = finish(user(*disturbed), expect=1)
    assert "at work already" in refused and str(process.pid) in refused
    pids = [pid for trial in range(3) for pid in workers_on(root, trial)]
    assert pids
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert all_gone(pids), "a worker outlived the killed command"

    got = json.loads(finish(user(*disturbed, "--json"))[0])
    wanted = json.loads(finish(user("tune", *command, "--out", "quiet", "--json"))[0])
    assert got["id"] == wanted["id"] and got["winner_trial"] == wanted["winner_trial"]
    studies = [study_of(user.folder / name).trials for name in ("disturbed", "quiet")]
    assert [[trial.state.name for trial in trials] for trials in studies] == [["COMPLETE"] * 3] * 2
    epochs = [list(trial.intermediate_values) for trials in studies for trial in trials]
    assert epochs == [list(range(1, 2 * EPOCHS + 1))] * 6
    tables = [Tuning.load(user.folder / name).trials for name in ("disturbed", "quiet")]
    assert (tables[0]["state"] == "done").all() and len(tables[0]) == 3
    varying = ["seconds"]
    pd.testing.assert_frame_equal(*(table.drop(columns=varying) for table in tables), rtol=2e-3)
    once = Counter((fold, epoch) for fold in (1, 2) for epoch in range(1, EPOCHS + 1))
    for trial in (0, 1, 2):
        written = epochs_of(root, trial)
        assert not written - once, f"trial {trial} repeated an epoch"
        assert (once - written).total() <= 1, "its state is on storage a moment before its curve is"
        for fold in (1, 2):
            fit = stored_result(root / f"trials/{trial:03}/fold-{fold}", "general/seed-0")
            assert [epoch["epoch"] for epoch in fit["history"]] == list(range(1, EPOCHS + 1))
