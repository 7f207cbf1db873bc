"""The locks that allow one refresh and one retraining at a time on a storage root.

A retraining holds its own lock throughout, and that of refreshes only while it refreshes or promotes, so that
prices can be added during a training.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from common import storage


def lock_of(home: Path) -> Path:
    """Return the lock that a refresh holds, and a retraining while it refreshes or promotes."""
    return home / "retrains" / ".lock"


def retraining_lock_of(home: Path) -> Path:
    """Return the lock that a retraining holds from start to end."""
    return home / "retrains" / ".retraining.lock"


def hold_lock(
    lock: Path, *, wait_s: float = 0.0, announce: Callable[[str], None] = lambda text: None
) -> AbstractContextManager[None]:
    """Hold one of these locks, see `common.storage.lock_or_fail`."""
    return storage.lock_or_fail(
        lock,
        f"{storage.display_path(lock.parent.parent)}: another refresh or retraining",
        wait_s=wait_s,
        announce=announce,
        advice="Wait for it with --wait 30m, or stop it.",
    )
