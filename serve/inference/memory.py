"""A process's memory: measure it, and return freed memory to the system."""

import ctypes
import gc
import sys
from contextlib import suppress

import psutil
import pyarrow


def give_back() -> None:
    """Return freed memory to the system: tens of MB after a release was read."""
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident_mb() -> float:
    """Return the resident memory of this process."""
    return round(float(psutil.Process().memory_info().rss) / 2**20, 1)
