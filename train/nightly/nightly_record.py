"""The record of a retraining, ``<home>/retrains/<id>/record.json``: replaced after every step."""

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import storage
from common.errors import ConfigError
from common.release.lock import retraining_lock_of
from common.release.subject import error_text

STEPS = ("ingest", "train", "gate", "promote")
"""Records of earlier versions have a further step, ``backtest``."""
ENDED = ("promoted", "refreshed", "current", "closed")
"""Final states: a newly trained release went to production; production was refreshed and no training was due;
there was nothing to do; or a gate refused the release or the prices."""
RECORD = "record.json"


class NightlyRecord:
    """One retraining; every method stores its change before it returns.

    ``values`` is JSON: ``id``, ``state`` (``running``, ``failed``, ``interrupted`` or one of ``ENDED``),
    ``reason``, ``started`` and ``ended`` (UTC), ``pid``, ``host``, ``archive``, ``production`` (at the start,
    or the release that refreshed it), ``refresh`` (see `common.release.refreshed.Refreshed`; None or missing:
    not refreshed), ``release`` (the one it trained), ``production_after`` and ``steps``: for each of
    ``STEPS`` its ``state``, ``started``, ``ended``, ``decision`` (with the figures behind it) and ``error``.
    """

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder, self.values = folder, values

    @classmethod
    def new(cls, home: Path, *, archive: Path | None, production: str | None) -> "NightlyRecord":
        """Create a record, which its first step stores."""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        empty = {"started": None, "ended": None, "decision": None, "error": None}
        values = {
            "id": name,
            "state": "running",
            "reason": None,
            "started": _now(),
            "ended": None,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "archive": None if archive is None else str(archive),
            "production": production,
            "refresh": None,
            "release": None,
            "production_after": production,
            "steps": {step: {"state": "waiting", **empty} for step in STEPS},
        }
        return cls(folder_of(home) / name, values)

    @property
    def id(self) -> str:
        name: str = self.values["id"]
        return name

    def decision(self, step: str) -> dict[str, Any] | None:
        """Return a finished step's decision; None if it is not finished."""
        entry = self.values["steps"][step]
        return entry["decision"] if entry["state"] == "done" else None

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Run a step: the block fills the dict with its decision; an error is recorded and raised."""
        entry = self.values["steps"][name]
        entry |= {"state": "running", "started": _now(), "ended": None, "error": None}
        self.save()
        decision: dict[str, Any] = {}
        try:
            yield decision
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            reason = error_text(error) if isinstance(error, Exception) else "stopped"
            entry |= {"state": state, "ended": _now(), "error": reason}
            with suppress(OSError, storage.StorageError):  # the storage itself may have failed
                self.save(state=state, ended=_now(), reason=f"{name}: {reason}")
            raise
        decision = json.loads(json.dumps(storage.finite(decision)))
        entry |= {"state": "done", "ended": _now(), "decision": decision}
        self.save()

    def save(self, **changes: Any) -> None:
        """Change some values and store the record."""
        self.values |= changes
        storage.write_json(self.folder / RECORD, self.values)

    def finish(self, state: str, reason: str, production: str | None) -> None:
        """End the retraining in one of the states ``ENDED``; steps that did not run are marked as skipped."""
        for entry in self.values["steps"].values():
            if entry["state"] != "done":
                entry["state"] = "skipped"
        self.save(state=state, reason=reason, ended=_now(), production_after=production)


def folder_of(home: Path) -> Path:
    """Return the folder of the records and the lock."""
    return home / "retrains"


def work_seconds(values: dict[str, Any]) -> float:
    """Sum the durations of the steps' last attempts in seconds, without the pauses between them."""
    parse = datetime.fromisoformat
    finished = [entry for entry in values["steps"].values() if entry["started"] and entry["ended"]]
    return sum((parse(entry["ended"]) - parse(entry["started"])).total_seconds() for entry in finished)


def records(home: Path) -> Iterator[NightlyRecord]:
    """Yield the retrainings below ``home``, newest first; ConfigError names an unreadable record."""
    for path in reversed(storage.matching_names(folder_of(home), f"*/{RECORD}")):
        try:
            values = json.loads(storage.up_to_date(path).read_bytes())
            if not values["steps"].keys() >= set(STEPS):
                raise ValueError("other steps")
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{storage.display_path(path)}: not the record of a retraining: {error}. Move it away."
            ) from None
        yield NightlyRecord(path.parent, values)


def listed(home: Path) -> Iterator[dict[str, Any]]:
    """Yield the values of `records`; the state is ``interrupted`` if the process is gone."""
    busy = storage.is_locked(retraining_lock_of(home))
    for position, record in enumerate(records(home)):
        gone = record.values["state"] == "running" and not (busy and position == 0)
        yield record.values | ({"state": "interrupted"} if gone else {})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
