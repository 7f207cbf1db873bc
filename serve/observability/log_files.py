"""Log files of a router: written by a thread, rotated, and deleted when old."""

import atexit
import logging
import os
import sys
import time
import traceback
from contextlib import ExitStack, suppress
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import Queue, SimpleQueue
from typing import Any

OURS = ("serve", "common")
LOG_BYTES, LOG_FILES = 20_000_000, 5
"""Maximum size of a file, and number of its rotated predecessors that are kept."""
TOTAL_BYTES, TOTAL_FILES = 200_000_000, 50
"""Limits for all files of one kind in a folder, from all processes."""
IN_USE_S = 3 * 86_400
"""A file that was written to since may be in use, and is not deleted."""
MAX_WAITING = 20_000
"""Warnings that may wait for the disk; further ones go to stderr."""
_ACCESS, _WARNINGS = ExitStack(), ExitStack()
"""What closes the logs of this process."""


class BoundedFile(RotatingFileHandler):
    """A log file of this process in a folder; opening it deletes old files of its kind."""

    def __init__(self, folder: str, stem: str, ending: str, *, delay: bool = False) -> None:
        self._folder, self._stem = Path(folder), stem
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.{ending}"
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, delay=delay)

    def _open(self) -> Any:
        delete_old(self._folder, self._stem)
        return super()._open()


def delete_old(folder: Path, stem: str) -> None:
    """Delete the oldest log files of one kind beyond the limits, except those that may be in use."""
    files = []
    for path in folder.glob(f"{stem}-*"):
        with suppress(OSError):  # another process has deleted it
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    size = 0
    for number, (written, more, path) in enumerate(sorted(files, reverse=True)):
        size += more
        if (size > TOTAL_BYTES or number >= TOTAL_FILES) and time.time() - written > IN_USE_S:
            with suppress(OSError):  # deleted by another process, or not ours to delete
                path.unlink()


class _Lines(QueueListener):
    """Writes lines of text instead of records."""

    def prepare(self, record: Any) -> logging.LogRecord:
        return logging.LogRecord("nsecast.access", logging.INFO, "", 0, record, None, None)


class _Plain(logging.Formatter):
    """Formats tracebacks without ``print``, which Ray Serve replaces."""

    def formatException(self, ei: Any) -> str:
        return "".join(traceback.format_exception(*ei)).rstrip()


def open_access_log(where: str) -> "SimpleQueue[str] | None":
    """Write the access log to ``stderr``, nowhere (``off``), or to a new file in a folder.

    Returns
    -------
    SimpleQueue
        For the lines, which a thread writes; None if the log is off.
    """
    _ACCESS.close()
    if where == "off":
        return None
    target = logging.StreamHandler(sys.stderr) if where == "stderr" else BoundedFile(where, "access", "jsonl")
    lines: SimpleQueue[str] = SimpleQueue()
    _write(_ACCESS, _Lines(lines, target), target)
    return lines


def configure_log(where: str) -> None:
    """Write warnings of our code to a file beside the access log, if that is in a folder.

    In throughput mode Ray Serve treats the stderr of a replica as messages of level INFO, and drops it.
    """
    if where in ("stderr", "off"):
        return
    _WARNINGS.close()
    target = BoundedFile(where, "warnings", "log", delay=True)
    target.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    waiting: Queue[logging.LogRecord] = Queue(MAX_WAITING)
    _write(_WARNINGS, QueueListener(waiting, target), target)
    handler = QueueHandler(waiting)
    handler.setFormatter(_Plain("%(message)s"))
    handler.setLevel(logging.WARNING)
    for logger in map(logging.getLogger, OURS):
        logger.addHandler(handler)
        _WARNINGS.callback(logger.removeHandler, handler)


@atexit.register
def close_logs() -> None:
    """Write the waiting lines and close the files; later lines are dropped."""
    _ACCESS.close()
    _WARNINGS.close()


def _write(log: ExitStack, listener: QueueListener, target: logging.Handler) -> None:
    """Start a thread that writes to ``target`` until ``log`` is closed."""
    listener.start()
    log.callback(target.close)
    log.callback(listener.stop)
