"""One at a time: by a file lock on this machine, below a mirror by a lease too."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import ConfigError
from common.storage.leases import Lease, wait_for
from common.storage.root import mirror_of


def lease_of(lock: Path) -> Lease | None:
    """What holds ``lock`` against other machines; None for a folder that they do not see, or see as it is."""
    mirror = mirror_of(lock)
    key = None if mirror is None else mirror.lease_key(lock)
    return None if mirror is None or key is None else Lease(mirror.store, key)


@contextmanager
def exclusive_here(lock: Path) -> Iterator[None]:
    """Hold ``lock`` against other threads and processes of this machine."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold ``lock`` against other threads and processes; a killed holder lets go of it."""
    with exclusive_here(lock):
        lease = lease_of(lock)
        if lease is None:
            yield
            return
        wait_for(lease)
        with lease.kept():
            yield


@contextmanager
def claim(lock: Path, what: str) -> Iterator[None]:
    """Hold ``lock`` or raise ConfigError at once, naming the process that has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise ConfigError(
                f"{what} is at work already, in process {holder}. Wait for it, or stop it."
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        lease = lease_of(lock)
        if lease is None:
            yield
            return
        other = lease.take()
        if other is not None:
            raise ConfigError(
                f"{what} is at work already, in {other}. Wait for it, or stop it; what was killed counts as "
                "at work for a minute."
            )
        with lease.kept():
            yield
