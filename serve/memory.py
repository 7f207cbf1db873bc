"""How much memory a process holds, and giving back what it only held for a moment."""

import ctypes
import gc
import os
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow


def give_back() -> None:
    """Return freed memory to the system, after something large was read: tens of MB for a release."""
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident_mb() -> float | None:
    """Resident memory of this process; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
