"""One retraining at a time on a storage root, and who it is that holds it.

By a file lock, and where the root is in an object store by a lease too.
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
from common.errors import ConfigError

POLL_S, LEASE_POLL_S = 0.5, 2.0
AT_LEAST_S = 0.2
"""Waited even where nobody asked to wait: `is_held` takes the lock for an instant to look at it."""


@contextmanager
def held(
    lock: Path, *, wait_s: float = 0.0, announce: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold ``lock`` against other processes; one that is killed lets go of it.

    Parameters
    ----------
    lock : Path
        Made if missing; while it is held its text says who holds it.
    wait_s : float
        How long to wait for another holder, seconds.
    announce : callable
        Told once who is waited for.

    Raises
    ------
    ConfigError
        If it is not free in time; names process, host and since when.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline, said = time.monotonic() + max(wait_s, AT_LEAST_S), not wait_s
    lease = storage.lease_of(lock)
    with lock.open("a+") as stream:
        while (other := _other(stream, lease)) is not None:
            if not said:
                announce(f"waiting for {other}")
                said = True
            left = deadline - time.monotonic()
            if left <= 0:
                waited = f" after {wait_s:.0f} s" if wait_s else ""
                raise ConfigError(
                    f"{storage.shown(lock.parent.parent)}: a retraining is at work there already{waited}, "
                    f"{other}. Wait for it with --wait 30m, or stop it."
                )
            time.sleep(min(POLL_S if lease is None else LEASE_POLL_S, left))
        stream.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        stream.flush()
        with nullcontext() if lease is None else lease.kept():
            yield


def is_held(lock: Path) -> bool:
    """Whether some process holds ``lock`` now."""
    if (lease := storage.lease_of(lock)) is not None:
        return lease.holder() is not None
    try:
        with lock.open("r") as stream:
            return not _take(stream, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _other(stream: TextIO, lease: storage.Lease | None) -> str | None:
    """Who holds it; None once it is ours."""
    if not _take(stream, fcntl.LOCK_EX):
        return _who(stream)
    holder = None if lease is None else lease.take()
    return None if holder is None else str(holder)


def _take(stream: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _who(stream: TextIO) -> str:
    stream.seek(0)
    try:
        said = json.loads(stream.read())
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said which"
