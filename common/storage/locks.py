"""Locks: a file lock on this machine, and in a mirror a lease against other machines."""

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

from common.errors import Busy
from common.storage.leases import Lease
from common.storage.local import exclusive_here
from common.storage.root import mirror_of

POLL_S, LEASE_POLL_S = 0.5, 2.0
MIN_WAIT_S = 0.2
"""Minimum wait, because `is_locked` takes the lock for an instant."""
RETRY_AFTER_S = 15
"""When a client should try again: about the time that a refresh takes."""


def lease_of(lock: Path) -> Lease | None:
    """Return the lease that goes with ``lock`` in a mirror; None in a plain folder."""
    mirror = mirror_of(lock)
    key = None if mirror is None else mirror.lease_key(lock)
    return None if mirror is None or key is None else Lease(mirror.store, key)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold ``lock`` against other threads and processes; it is released when the holder is killed."""
    with exclusive_here(lock):
        lease = lease_of(lock)
        while lease is not None and lease.take() is not None:
            time.sleep(1)
        with nullcontext() if lease is None else lease.kept():
            yield


@contextmanager
def lock_or_fail(
    lock: Path,
    what: str,
    *,
    wait_s: float = 0.0,
    announce: Callable[[str], None] = lambda text: None,
    advice: str = "Wait for it, or stop it.",
) -> Iterator[None]:
    """Hold ``lock`` against other processes; it is released when the holder is killed.

    Parameters
    ----------
    lock : Path
        Created if missing; its text names the holder.
    what, advice : the beginning and the end of the error's message
    wait_s : how long to wait for another holder, in seconds
    announce : called once, with a text that names the holder, when waiting starts

    Raises
    ------
    Busy
        If the lock is not free in time; names the process, its host and the time it took the lock.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline, announced = time.monotonic() + max(wait_s, MIN_WAIT_S), not wait_s
    lease = lease_of(lock)
    with lock.open("a+") as stream:
        while (holder := _take_or_name_holder(stream, lease)) is not None:
            if not announced:
                announce(f"waiting for {holder}")
                announced = True
            left = deadline - time.monotonic()
            if left <= 0:
                waited = f" after {wait_s:.0f} s" if wait_s else ""
                raise Busy(
                    f"{what} is at work already{waited}, in {holder}. {advice}", retry_after_s=RETRY_AFTER_S
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
    if (lease := lease_of(lock)) is not None:
        return lease.holder() is not None
    try:
        with lock.open("r") as stream:
            return not _take(stream, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _take_or_name_holder(stream: TextIO, lease: Lease | None) -> str | None:
    """Take the lock and return None, or return who holds it."""
    if _take(stream, fcntl.LOCK_EX):
        holder = None if lease is None else lease.take()
        return None if holder is None else str(holder)
    stream.seek(0)
    try:
        values = json.loads(stream.read())
        return f"process {values['pid']} on {values['host']} since {values['since']}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"


def _take(stream: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
