"""What takes seconds to make is made once for all processes of a run of the tests."""

import atexit
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

SHARED = "NSECAST_TESTS_SHARED"
"""Names the folder that the processes of a run share; the first of them makes and removes it."""


def share() -> None:
    """Make the shared folder unless another process of the run did; it is removed when this process ends."""
    if SHARED not in os.environ:
        os.environ[SHARED] = tempfile.mkdtemp(prefix="nsecast-tests-")
        atexit.register(_remove, os.environ[SHARED], os.getpid())


def once(what: str, make: Callable[[Path], object]) -> Path:
    """Return the folder that ``make`` filled, in whichever process it was called first: to read, or to copy.

    Parameters
    ----------
    what : everything that the content depends on
    make : fills an empty folder, which is renamed afterwards
    """
    share()
    folder = Path(os.environ[SHARED]) / hashlib.sha256(what.encode()).hexdigest()[:16]
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = Path(tempfile.mkdtemp(dir=folder.parent))
            make(part)
            part.rename(folder)
    return folder


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked process ends as well
        shutil.rmtree(folder, ignore_errors=True)
