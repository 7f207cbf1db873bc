"""Functions that run as Ray tasks in tests."""

import os
import signal
import time
from pathlib import Path

from common.errors import ArchiveError


def lost_once(mark: Path) -> tuple[int, int]:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1, 2


def fails() -> None:
    raise ArchiveError("no such archive", folder="somewhere")


def waits(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)
