"""How much memory a process holds, and giving back what it only held for a moment."""

import ctypes
import gc
import sys
from contextlib import suppress

import psutil
import pyarrow


def give_back() -> None:
    """Return freed memory to the system, after something large was read: tens of MB for a release."""
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident_mb() -> float:
    """Resident memory of this process."""
    return round(float(psutil.Process().memory_info().rss) / 2**20, 1)
