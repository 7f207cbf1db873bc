"""Locks: a file lock on this machine, and in a mirror a lease against other machines."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import ConfigError
from common.storage.leases import Lease
from common.storage.local import exclusive_here
from common.storage.root import mirror_of


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
        if lease is None:
            yield
            return
        while lease.take() is not None:
            time.sleep(1)
        with lease.kept():
            yield


@contextmanager
def lock_or_fail(lock: Path, what: str) -> Iterator[None]:
    """Hold ``lock``, or raise ConfigError at once, naming the process that holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            pid = stream.read().strip() or "unknown"
            raise ConfigError(
                f"{what} is at work already, in process {pid}. Wait for it, or stop it."
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        lease = lease_of(lock)
        if lease is None:
            yield
            return
        holder = lease.take()
        if holder is not None:
            raise ConfigError(
                f"{what} is at work already, in {holder}. Wait for it, or stop it; a killed process counts "
                "as at work for a minute."
            )
        with lease.kept():
            yield
