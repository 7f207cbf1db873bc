"""The locks that allow one refresh and one retraining at a time on a storage root, and name the holder.

A retraining holds its own lock throughout, and that of refreshes only while it refreshes or promotes, so that
prices can be added during a training. They are file locks; where the root is in an object store, leases as
well.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from common import storage
from common.errors import Busy

POLL_S, LEASE_POLL_S = 0.5, 2.0
MIN_WAIT_S = 0.2
"""Minimum wait, because `is_locked` takes the lock for an instant."""
RETRY_AFTER_S = 15
"""When a client should try again: about the time that a refresh takes."""


def lock_of(home: Path) -> Path:
    """Return the lock that a refresh holds, and a retraining while it refreshes or promotes."""
    return home / "retrains" / ".lock"


def retraining_lock_of(home: Path) -> Path:
    """Return the lock that a retraining holds from start to end."""
    return home / "retrains" / ".retraining.lock"


@contextmanager
def hold_lock(
    lock: Path, *, wait_s: float = 0.0, announce: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold ``lock`` against other processes; it is released if the process is killed.

    Parameters
    ----------
    lock : Path
        Created if missing; its text names the holder.
    wait_s : float
        How long to wait for another holder, in seconds.
    announce : callable
        Called once, with a text that names the holder, when waiting starts.

    Raises
    ------
    Busy
        If the lock is not free in time; names the process, its host and the time it took the lock.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline, announced = time.monotonic() + max(wait_s, MIN_WAIT_S), not wait_s
    lease = storage.lease_of(lock)
    with lock.open("a+") as stream:
        while (other := _take_or_name_holder(stream, lease)) is not None:
            if not announced:
                announce(f"waiting for {other}")
                announced = True
            left = deadline - time.monotonic()
            if left <= 0:
                waited = f" after {wait_s:.0f} s" if wait_s else ""
                raise Busy(
                    f"{storage.display_path(lock.parent.parent)}: another refresh or retraining is still "
                    f"running{waited}, "
                    f"{other}. Wait for it with --wait 30m, or stop it.",
                    retry_after_s=RETRY_AFTER_S,
                )
            time.sleep(min(POLL_S if lease is None else LEASE_POLL_S, left))
        stream.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        stream.flush()
        with nullcontext() if lease is None else lease.kept():
            yield


def is_locked(lock: Path) -> bool:
    """Return whether a process holds ``lock``."""
    if (lease := storage.lease_of(lock)) is not None:
        return lease.holder() is not None
    try:
        with lock.open("r") as stream:
            return not _take(stream, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _take_or_name_holder(stream: TextIO, lease: storage.Lease | None) -> str | None:
    """Take the lock and return None, or return who holds it."""
    if not _take(stream, fcntl.LOCK_EX):
        return _holder(stream)
    holder = None if lease is None else lease.take()
    return None if holder is None else str(holder)


def _take(stream: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(stream: TextIO) -> str:
    stream.seek(0)
    try:
        holder = json.loads(stream.read())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"
