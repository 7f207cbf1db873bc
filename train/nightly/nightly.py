"""Nightly retraining: ingest new files, train, backtest, gate, promote; serving follows the alias by itself.

Each step is recorded (`train.nightly.record`), so that the same call goes on where one was stopped or
failed. Production is touched by the last step alone, and there by one atomic move.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import storage
from common.archive.action_table import SHIPPED
from common.errors import NsecastError, TrainingError
from common.release.registry import Registry
from train.gate.subject import told
from train.nightly.backtest import Report
from train.nightly.lock import held
from train.nightly.record import ENDED, NightlyRecord, lock_of, records
from train.nightly.steps import CLOSED, NEW, PANEL, Request, Steps
from train.pipeline.training import TRAINING_VERSION

__all__ = ["Request", "retrain"]

Watch = Callable[[str, NightlyRecord], None]
"""Told the name of a step when it begins and when it is done; the record says which."""


def retrain(
    request: Request,
    home: Path,
    *,
    wait_s: float = 0.0,
    announce: Callable[[str], None] = lambda text: None,
    watch: Watch = lambda step, record: None,
    progress: Report = lambda release, done, of: None,
) -> NightlyRecord:
    """Do whatever of a retraining is not done yet; returns its record, in one of the states ``ENDED``.

    Parameters
    ----------
    wait_s : seconds to wait for another retraining on the same storage root
    announce : told who is waited for
    progress : told how far the forecasts of the backtest and the gate are

    Raises
    ------
    ConfigError
        If another one is at work, and is still when the time is over; names it.
    TrainingError
        If a step failed: it says which, why, and what is in production, which is what was before.
    """
    with held(lock_of(home), wait_s=wait_s, announce=announce):
        fetched, problem = _fetch(request)
        record = _open(request, home)
        try:
            _work(Steps(request, home, record, progress), watch, fetched, problem)
        except (NsecastError, OSError) as error:
            step = next((name for name, entry in record.values["steps"].items() if entry["error"]), "record")
            raise TrainingError(
                f"retrain {record.id}: {step}: {told(error)} In production is still "
                f"{Registry(home).production() or 'nothing'}. Once that is mended, the same command goes on.",
                retrain=record.id,
                step=step,
            ) from error
        finally:
            if record.values["state"] == "running":
                with suppress(OSError, storage.StorageError):
                    record.note(state="interrupted", reason="stopped between two steps")
            if record.values["state"] in ENDED:
                storage.remove(record.folder / PANEL)
        return record


def _fetch(request: Request) -> tuple[dict[str, Any] | None, NsecastError | None]:
    """What the download brought, or why it failed, which is the first step's failure."""
    try:
        return (request.fetch() if request.fetch else None), None
    except NsecastError as error:
        return None, error


def _open(request: Request, home: Path) -> NightlyRecord:
    """The newest record, if it is not done and of the same files, settings and production; else a new one."""
    key, production = _key(request), Registry(home).production()
    newest = next(records(home), None)
    record = NightlyRecord.new(home, key=key, archive=request.archive, production=production)
    if newest is not None and newest.values["state"] not in ENDED:
        begun_with, made = newest.values["production"], newest.values["release"]
        if newest.values["key"] == key and production in (begun_with, made or begun_with):
            record = newest
        else:
            reason = "files, settings or production changed before it was done"
            newest.finish("superseded", reason, production)
            storage.remove(newest.folder / PANEL)
    record.begin()
    return record


def _work(steps: Steps, watch: Watch, fetched: dict[str, Any] | None, problem: NsecastError | None) -> None:
    record, before = steps.record, steps.before

    def step(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The step's decision, from the record if it is done."""
        if record.decision(name) is None:
            with record.step(name) as decision:
                watch(name, record)
                decision |= work()
        watch(name, record)
        return record.decision(name) or {}

    found = step("ingest", lambda: steps.ingest(fetched, problem))
    if found["verdict"] != NEW:
        record.finish(found["verdict"], found["why"], before)
        return
    release = step("train", steps.train)["release"]
    if release == before:
        record.finish("current", f"{release} is in production already", before)
        return
    step("backtest", lambda: steps.backtest(release))
    judged = step("gate", lambda: steps.gate(release))
    if not judged["passed"]:
        record.finish(CLOSED, "; ".join(judged["reasons"]), before)
        return
    step("promote", lambda: steps.promote(release, judged))
    record.finish("promoted", f"{release} instead of {before or 'nothing'}", release)


def _key(request: Request) -> str:
    """A digest of what decides a result, besides production: files, settings, universe, corporate actions."""
    files = sorted(request.archive.glob("[!.]*")) if request.archive else []
    decides = [
        TRAINING_VERSION,
        storage.sha256(SHIPPED),
        [[path.name, storage.sha256(path)] for path in files if path.is_file()],
        request.overrides,
        request.universe.as_dict() if request.universe else None,
    ]
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]
