"""What one retraining did and why: ``<home>/retrains/<id>/record.json``, replaced after every step."""

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
from train.gate.subject import told
from train.nightly.lock import is_held

STEPS = ("ingest", "train", "backtest", "gate", "promote")
ENDED = ("promoted", "current", "closed", "superseded")
"""States of a retraining that is not continued: a new release went to production; there was nothing to do;
the gate stayed closed; or files, settings or production changed before it was done."""
RECORD = "record.json"


class NightlyRecord:
    """One retraining; every change is on storage when a method returns.

    ``values`` holds plain JSON: ``id``, ``state`` (``running``, ``failed``, ``interrupted`` or one of
    ``ENDED``), ``reason``, ``started`` and ``ended`` (UTC), ``pid``, ``host``, ``key`` (a digest of what it
    works on), ``archive``, ``production`` (the release it began with), ``release`` (what it trained),
    ``production_after`` and ``steps``: for each of ``STEPS`` its ``state``, ``started``, ``ended``,
    ``attempts``, ``decision`` (the figures it was made on) and ``error``.
    """

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder, self.values = folder, values

    @classmethod
    def new(cls, home: Path, *, key: str, archive: Path | None, production: str | None) -> "NightlyRecord":
        """A record that is on storage once `begin` is called."""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        nothing = {"started": None, "ended": None, "attempts": 0, "decision": None, "error": None}
        values = {
            "id": name,
            "state": "running",
            "reason": None,
            "started": _now(),
            "ended": None,
            "key": key,
            "archive": None if archive is None else str(archive),
            "production": production,
            "release": None,
            "production_after": production,
            "steps": {step: {"state": "waiting", **nothing} for step in STEPS},
        }
        return cls(folder_of(home) / name, values)

    @property
    def id(self) -> str:
        name: str = self.values["id"]
        return name

    def decision(self, step: str) -> dict[str, Any] | None:
        """What a finished step decided; None if it is not finished."""
        entry = self.values["steps"][step]
        return entry["decision"] if entry["state"] == "done" else None

    def begin(self) -> None:
        """Say that this process is at work on it."""
        now = {"pid": os.getpid(), "host": socket.gethostname(), "state": "running", "ended": None}
        self._save(**now, reason=None)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Work on a step: what the block puts into the dict is its decision; an error is kept and raised."""
        entry = self.values["steps"][name]
        entry |= {"state": "running", "started": _now(), "ended": None, "error": None}
        entry["attempts"] += 1
        self._save()
        decision: dict[str, Any] = {}
        try:
            yield decision
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            reason = told(error) if isinstance(error, Exception) else "stopped"
            entry |= {"state": state, "ended": _now(), "error": reason}
            with suppress(OSError, storage.StorageError):  # what failed may be the storage itself
                self._save(state=state, ended=_now(), reason=f"{name}: {reason}")
            raise
        entry |= {
            "state": "done",
            "ended": _now(),
            "decision": json.loads(json.dumps(storage.finite(decision))),
        }
        self._save()

    def note(self, **values: Any) -> None:
        """Keep values beside the steps."""
        self._save(**values)

    def finish(self, state: str, reason: str, production: str | None) -> None:
        """End it with one of ``ENDED``; steps that were not needed are marked as skipped."""
        for entry in self.values["steps"].values():
            if entry["state"] != "done":
                entry["state"] = "skipped"
        self._save(state=state, reason=reason, ended=_now(), production_after=production)

    def _save(self, **changes: Any) -> None:
        self.values |= changes
        storage.write_json(self.folder / RECORD, self.values)


def folder_of(home: Path) -> Path:
    """Where records and the lock lie."""
    return home / "retrains"


def lock_of(home: Path) -> Path:
    """Held while a retraining is at work below ``home``."""
    return folder_of(home) / ".lock"


def seconds(entry: dict[str, Any]) -> float | None:
    """How long a step took, its last attempt; None before its end."""
    if not entry["started"] or not entry["ended"]:
        return None
    return (datetime.fromisoformat(entry["ended"]) - datetime.fromisoformat(entry["started"])).total_seconds()


def work_seconds(values: dict[str, Any]) -> float:
    """How long a retraining's steps took, without the time that it lay stopped."""
    return sum(seconds(entry) or 0.0 for entry in values["steps"].values())


def records(home: Path) -> Iterator[NightlyRecord]:
    """Every retraining below ``home``, newest first; ConfigError names a record that cannot be read."""
    for path in reversed(storage.names(folder_of(home), f"*/{RECORD}")):
        try:
            values = json.loads(storage.current(path).read_bytes())
            if sorted(values["steps"]) != sorted(STEPS):
                raise ValueError("other steps")
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{storage.shown(path)}: not a retraining's record: {error}. Move it away."
            ) from None
        yield NightlyRecord(path.parent, values)


def listed(home: Path) -> Iterator[dict[str, Any]]:
    """The values of `records`; one whose process is gone is ``interrupted``."""
    busy = is_held(lock_of(home))
    for place, record in enumerate(records(home)):
        gone = record.values["state"] == "running" and not (busy and place == 0)
        yield record.values | ({"state": "interrupted"} if gone else {})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
