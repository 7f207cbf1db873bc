"""Nightly retraining: ingest new files, train, gate, promote; running servers follow the alias.

With ``retrain_every``, production is first refreshed with the new prices, and a training runs only when due.
Only the refresh and the last step change production, atomically. The same call continues after a stop:
reading and judging are repeated, the training goes on from its last epoch (`train.pipeline.training`), and
what is done already changes nothing. Every step is recorded (`train.nightly.nightly_record`).
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import storage
from common.errors import GateClosed, NsecastError, TrainingError
from common.release.lock import hold_lock, retraining_lock_of
from common.release.refreshed import networks_of
from common.release.registry import Registry
from common.release.subject import error_text
from train.nightly.nightly_record import NightlyRecord
from train.nightly.steps import NEW, Request, Steps

Watch = Callable[[str, NightlyRecord], None]
"""Called with the name of a step and the record when the step begins and when it ends."""


def retrain(
    request: Request,
    home: Path,
    *,
    wait_s: float = 0.0,
    announce: Callable[[str], None] = lambda text: None,
    watch: Watch = lambda step, record: None,
) -> NightlyRecord:
    """Run a retraining and return its record, in one of the states ``ENDED``.

    Parameters
    ----------
    wait_s : seconds to wait for another retraining on the same storage root
    announce : called with a text that names the process that is waited for

    Raises
    ------
    Busy
        If another retraining, which the message names, is still running after ``wait_s``.
    TrainingError
        If a step failed; names the step, the reason, and the release that is still in production.
    """
    with hold_lock(retraining_lock_of(home), wait_s=wait_s, announce=announce):
        registry = Registry(home)
        record = NightlyRecord.new(home, archive=request.archive, production=registry.production())
        try:
            _work(Steps(request, home, record, announce), watch, announce)
        except (NsecastError, OSError) as error:
            failed = "refresh" if record.values["state"] == "failed" else "record"
            step = next((name for name, entry in record.values["steps"].items() if entry["error"]), failed)
            raise TrainingError(
                f"retrain {record.id}: {step}: {error_text(error)} In production is still "
                f"{registry.production() or 'nothing'}. Fix the cause, then run the same command to "
                "continue.",
                retrain=record.id,
                step=step,
            ) from error
        finally:
            if record.values["state"] == "running":
                with suppress(OSError, storage.StorageError):
                    record.save(state="interrupted", reason="stopped between two steps")
        return record


def _work(steps: Steps, watch: Watch, announce: Callable[[str], None]) -> None:
    record, before = steps.record, steps.before

    def step(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with record.step(name) as decision:
            watch(name, record)
            decision |= work()
        watch(name, record)
        return record.decision(name) or {}

    ingested = step("ingest", steps.ingest)
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
    judged = step("gate", lambda: steps.gate(release))
    if not judged["passed"]:
        record.finish("closed", "; ".join(judged["reasons"]), before)
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
        record.finish("closed", closed.message, before)
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
