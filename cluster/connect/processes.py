"""Processes identified by id and start time, so that a reused id is never mistaken for them."""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

MARK = "NSECAST_CLUSTER_NODE"
"""Environment variable of every process of a local cluster's node, also of orphaned ones."""
TICKS = 100
"""Start times are in hundredths of a second since the machine booted."""


def start_time(pid: int) -> str:
    """Return when a process started, relative to the boot so that clock changes do not matter; "" if gone."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"{TICKS * (process.create_time() - psutil.boot_time()):.0f}"
    return ""


def name_of(pid: int) -> str:
    """Return the program that a process runs; "" if it is gone."""
    try:
        name: str = psutil.Process(pid).name()
    except psutil.Error:
        return ""
    return name


def still_running(processes: Mapping[int, str]) -> list[int]:
    """Return the ids of the ``processes`` (id to start time) that still run."""
    return [pid for pid, when in processes.items() if when and start_time(pid) == when]


def processes_with_mark(mark: str) -> dict[int, str]:
    """Return this user's processes with a `MARK` of ``mark`` or below it, with their start times."""
    processes = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            own = process.environ().get(MARK, "")
            if own == mark or own.startswith(f"{mark}/"):
                processes[process.pid] = start_time(process.pid)
    return processes


def end(processes: Mapping[int, str], *, timeout_s: float = 5.0) -> int:
    """End exactly these processes, first with SIGTERM, then with SIGKILL; returns how many were running.

    ``psutil.wait_procs`` is not used because it would reap children that other code waits for.
    """
    running = still_running(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in still_running(processes):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + timeout_s
        while still_running(processes) and time.monotonic() < deadline:
            time.sleep(0.1)
    return len(running)
