"""Programs that tests start: with the signals of a terminal, and gone once their tests are over."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from cluster.connect.ports import descendants
from cluster.connect.processes import end, start_time, still_running
from common.errors import ArchiveError

MARK = "NSECAST_TEST_PROCESS"
"""An environment variable of every process that this process has started since `mark_children`."""
PYTHONS_OWN = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver", b"joblib.externals.loky")
"""Helpers that Python keeps as long as this process lives."""
GONE_S = 20.0
"""Maximum time for a killed process to disappear on a busy machine."""


class Killed(BaseException):
    """Stands for the death of a process; no Exception, so that no handler catches it."""


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def signals_as_in_a_terminal() -> None:
    """Restore the handlers of SIGINT and SIGTERM, which background jobs and some CI runners ignore.

    A program inherits ignored signals, but not handlers, so programs started afterwards can be stopped.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def mark_children() -> None:
    """Mark all processes that this process starts from now on, for `children_left`."""
    os.environ[MARK] = uuid4().hex


def children_left(*, patience_s: float) -> dict[int, str]:
    """Return started processes that still exist after a while: pid and start time."""
    deadline = time.monotonic() + patience_s
    while (result := _marked()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return result


def _marked() -> dict[int, str]:
    wanted, results = f"{MARK}={os.environ[MARK]}".encode(), {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                marked = wanted in Path(entry.path, "environ").read_bytes().split(b"\0")
                command = Path(entry.path, "cmdline").read_bytes()
                if marked and not any(item in command for item in PYTHONS_OWN):
                    results[int(entry.name)] = start_time(int(entry.name))
    return {pid: when for pid, when in results.items() if when}


@contextmanager
def running(words: Sequence[str | Path], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """Run a program for a block; afterwards end it and everything it started, whatever happens.

    Parameters
    ----------
    words : the command line
    options : as for ``subprocess.Popen``
    """
    process = subprocess.Popen(words, **{"start_new_session": True} | options)
    try:
        yield process
    finally:
        end_all(process)


def end_all(process: "subprocess.Popen[Any]") -> None:
    """End a program that this process started, and all its descendants."""
    if process.poll() is None:
        ours = {pid: start_time(pid) for pid in descendants(process.pid)}
        for pid in still_running(ours):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + GONE_S
        while still_running(ours) and time.monotonic() < deadline:
            time.sleep(0.02)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def end_children(*, patience_s: float = 5.0) -> list[str]:
    """End started processes that still exist after a while; return their command lines."""
    result = children_left(patience_s=patience_s)
    results = []
    for pid in result:
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            results.append(words.decode(errors="replace").strip())
    end(result, timeout_s=1.0)
    return results


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
