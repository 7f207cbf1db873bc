"""Processes by number and birth, so that none is ended that merely has the same number."""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

MARK = "NSECAST_CLUSTER_NODE"
"""In the environment of every process of a local cluster's node, whoever its parent has become."""
TICKS = 100
"""Births are counted in hundredths of a second since the machine started."""


def born(pid: int) -> str:
    """When a process began, so that a number used again is not taken for it; empty if it is gone.

    Counted from the machine's start, so that a clock that is set does not change it.
    """
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"{TICKS * (process.create_time() - psutil.boot_time()):.0f}"
    return ""


def name_of(pid: int) -> str:
    """The program a process runs; empty if it is gone."""
    try:
        name: str = psutil.Process(pid).name()
    except psutil.Error:
        return ""
    return name


def left(processes: Mapping[int, str]) -> list[int]:
    """Those of ``processes`` (number to birth) that still run."""
    return [pid for pid, when in processes.items() if when and born(pid) == when]


def marked(mark: str) -> dict[int, str]:
    """Every process of this user whose `MARK` begins with ``mark``, with its birth."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            variables = process.environ()
            if MARK in variables and variables[MARK].startswith(mark):
                found[process.pid] = born(process.pid)
    return found


def end(processes: Mapping[int, str], *, patience_s: float = 5.0) -> int:
    """End exactly these processes, politely at first; returns how many ran.

    ``psutil.wait_procs`` would take the exit status of a child from whoever started it.
    """
    running = left(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left(processes):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while left(processes) and time.monotonic() < deadline:
            time.sleep(0.1)
    return len(running)
