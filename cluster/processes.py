"""Processes by number and birth, so that none is ended that merely has the same number."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

MARK = "NSECAST_CLUSTER_NODE"
"""In the environment of every process of a local cluster's node, whoever its parent has become."""


def born(pid: int) -> str:
    """When a process began, so that a number used again is not taken for it; empty if it is gone."""
    try:
        columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if columns[0] == "Z" else columns[19]


def name_of(pid: int) -> str:
    """The program a process runs, as the kernel has it (15 characters); empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def left(processes: Mapping[int, str]) -> list[int]:
    """Those of ``processes`` (number to birth) that still run."""
    return [pid for pid, when in processes.items() if when and born(pid) == when]


def marked(mark: str) -> dict[int, str]:
    """Every process of this user whose `MARK` begins with ``mark``, with its birth."""
    wanted, found = f"{MARK}={mark}".encode(), {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                variables = Path(entry.path, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(each.startswith(wanted) for each in variables):
                found[int(entry.name)] = born(int(entry.name))
    return found


def end(processes: Mapping[int, str], *, patience_s: float = 5.0) -> int:
    """End exactly these processes, politely at first; returns how many ran."""
    running = left(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left(processes):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + patience_s
        while left(processes) and time.monotonic() < deadline:
            time.sleep(0.1)
    return len(running)
