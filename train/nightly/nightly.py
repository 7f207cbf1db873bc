"""Nightly retraining: ingest new files, train, backtest, gate, promote; running servers follow the alias.

With ``retrain_every``, production is first refreshed with the new prices, and a training runs only when due.
Each step is recorded (`train.nightly.nightly_record`), so that the same call continues where an earlier one
was stopped or failed. Only the refresh and the last step change production, atomically.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import storage
from common.archive.action_table import SHIPPED
from common.archive.text_files import HIDDEN
from common.errors import GateClosed, NsecastError, TrainingError
from common.release.lock import hold_lock, retraining_lock_of
from common.release.refreshed import networks_of
from common.release.registry import Registry
from common.release.subject import error_text
from train.gate.comparison import Progress
from train.nightly.nightly_record import ENDED, NightlyRecord, records
from train.nightly.request import Request
from train.nightly.steps import CLOSED, NEW, PANEL, Steps
from train.pipeline.training import TRAINING_VERSION

__all__ = ["Request", "retrain"]

Watch = Callable[[str, NightlyRecord], None]
"""Called with the name of a step and the record when the step begins and when it ends."""


def retrain(
    request: Request,
    home: Path,
    *,
    wait_s: float = 0.0,
    announce: Callable[[str], None] = lambda text: None,
    watch: Watch = lambda step, record: None,
    progress: Progress = lambda release, done, of: None,
) -> NightlyRecord:
    """Run the remaining steps of a retraining and return its record, in one of the states ``ENDED``.

    Parameters
    ----------
    wait_s : seconds to wait for another retraining on the same storage root
    announce : called with a text that names the process that is waited for
    progress : called with the progress of the forecasts of the backtest and the gate

    Raises
    ------
    Busy
        If another retraining, which the message names, is still running after ``wait_s``.
    TrainingError
        If a step failed; names the step, the reason, and the release that is still in production.
    """
    with hold_lock(retraining_lock_of(home), wait_s=wait_s, announce=announce):
        fetched, problem = _fetch(request)
        record = _open(request, home)
        try:
            _work(Steps(request, home, record, progress, announce), watch, announce, fetched, problem)
        except (NsecastError, OSError) as error:
            failed = "refresh" if record.values["state"] == "failed" else "record"
            step = next((name for name, entry in record.values["steps"].items() if entry["error"]), failed)
            raise TrainingError(
                f"retrain {record.id}: {step}: {error_text(error)} In production is still "
                f"{Registry(home).production() or 'nothing'}. Fix the cause, then run the same command to "
                "continue.",
                retrain=record.id,
                step=step,
            ) from error
        finally:
            if record.values["state"] == "running":
                with suppress(OSError, storage.StorageError):
                    record.save(state="interrupted", reason="stopped between two steps")
            if record.values["state"] in ENDED:
                storage.remove(record.folder / PANEL)
        return record


def _fetch(request: Request) -> tuple[dict[str, Any] | None, NsecastError | None]:
    """Return the files downloaded, or the error, which then is the first step's failure."""
    try:
        return (request.fetch() if request.fetch else None), None
    except NsecastError as error:
        return None, error


def _open(request: Request, home: Path) -> NightlyRecord:
    """Return the newest record if it is unfinished and its inputs are unchanged, otherwise a new one.

    A refresh of production in between changes nothing: it has the same networks.
    """
    key, production = _key(request), Registry(home).production()
    newest = next(records(home), None)
    record = NightlyRecord.new(home, key=key, archive=request.archive, production=production)
    if newest is not None and newest.values["state"] not in ENDED:
        before, release = newest.values["production"], newest.values["release"]
        registry = Registry(home)
        same = networks_of(registry, production) in (networks_of(registry, before), release or before)
        if newest.values["key"] == key and same:
            record = newest
        else:
            reason = "files, settings or production changed before it was finished"
            newest.finish("superseded", reason, production)
            storage.remove(newest.folder / PANEL)
    record.begin()
    return record


def _work(
    steps: Steps,
    watch: Watch,
    announce: Callable[[str], None],
    fetched: dict[str, Any] | None,
    problem: NsecastError | None,
) -> None:
    record, before = steps.record, steps.before

    def step(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the step's decision, from the record if it is done."""
        if record.decision(name) is None:
            with record.step(name) as decision:
                watch(name, record)
                decision |= work()
        watch(name, record)
        return record.decision(name) or {}

    ingested = step("ingest", lambda: steps.ingest(fetched, problem))
    if ingested["verdict"] != NEW:
        record.finish(ingested["verdict"], ingested["why"], before)
        return
    if steps.request.retrain_every is not None and "last_before" in ingested:
        if not _refresh(steps, announce):
            return
        before = steps.before
    release = step("train", steps.train)["release"]
    if release == networks_of(steps.registry, before):
        record.finish("current", f"{release} is in production already", before)
        return
    step("backtest", lambda: steps.backtest(release))
    judged = step("gate", lambda: steps.gate(release))
    if not judged["passed"]:
        record.finish(CLOSED, "; ".join(judged["reasons"]), before)
        return
    moved = step("promote", lambda: steps.promote(release, judged))
    record.finish(
        "promoted", f"{moved['production']} instead of {moved['was'] or 'nothing'}", moved["production"]
    )


def _refresh(steps: Steps, announce: Callable[[str], None]) -> bool:
    """Refresh production; return whether a training is due, and end the record if not."""
    record, before = steps.record, steps.before
    try:
        refreshed = steps.refresh()
    except GateClosed as closed:
        record.finish(CLOSED, closed.message, before)
        return False
    except (NsecastError, OSError) as error:
        record.save(state="failed", reason=f"refresh: {error_text(error)}")
        raise
    new = refreshed.state == "refreshed"
    if new:
        announce(f"refreshed: {refreshed.release} is in production, {refreshed.before} was")
    if (due := steps.due()) is None:
        return True
    wait = f"a training is due from {due} on"
    reason = f"{refreshed.release} instead of {refreshed.before}; {wait}" if new else f"nothing new; {wait}"
    record.finish("refreshed" if new else "current", reason, steps.before)
    return False


def _key(request: Request) -> str:
    """Return a digest of all inputs but production: files, settings, universe, corporate actions."""
    files = sorted(request.archive.glob("[!.]*")) if request.archive else []
    files = [path for path in files if path.is_file() and not path.name.startswith(HIDDEN)]
    inputs = [
        TRAINING_VERSION,
        storage.sha256(SHIPPED),
        [[path.name, storage.sha256(path)] for path in files],
        request.overrides,
        request.universe.as_dict() if request.universe else None,
    ]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:16]
