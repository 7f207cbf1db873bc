"""Log files of a router: written by a thread, rotated, and deleted when old."""

import fcntl
import logging
import os
import queue
import sys
import time
import traceback
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
ACCESS = logging.getLogger("nsecast.access")
OURS = ("serve", "common")
LOG_BYTES, LOG_FILES = 20_000_000, 5
"""Maximum size of a file, and number of its rotated predecessors that are kept."""
TOTAL_BYTES, TOTAL_FILES = 200_000_000, 50
"""Limits for all files of one kind in a folder, from all processes; the oldest are deleted unless in use."""
MAX_WAITING = 20_000
"""Lines that may wait for the disk; further ones are dropped and counted."""


class Background(QueueHandler):
    """Write records with another handler in a thread, so that no request waits for the disk.

    `close`, which `logging` also calls at the end of the process, returns once everything is written.
    """

    def __init__(self, target: logging.Handler, formatter: logging.Formatter) -> None:
        self._waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        super().__init__(self._waiting)
        self.setFormatter(formatter)
        self._target, self._dropped = target, 0
        self._listener: QueueListener | None = QueueListener(self._waiting, target)
        self._listener.start()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Format the record, unless its message is the line already."""
        return record if record.args is None and record.exc_info is None else super().prepare(record)

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.put_nowait(record)
        if dropped := self._dropped:
            self._dropped = 0
            log.warning("%d log lines were dropped: the disk does not keep up", dropped)

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()
            self._target.close()
        super().close()


class BoundedFile(RotatingFileHandler):
    """A log file of this process in a folder; opening it deletes old files of its kind."""

    def __init__(self, folder: str, stem: str, ending: str, *, delay: bool = False) -> None:
        self._folder, self._stem = Path(folder), stem
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.{ending}"
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, delay=delay)

    def _open(self) -> Any:
        delete_old(self._folder, self._stem)
        stream = super()._open()
        with suppress(OSError):  # a file system without locks
            fcntl.flock(stream, fcntl.LOCK_SH)
        return stream


class _Plain(logging.Formatter):
    """Formats tracebacks without ``print``, which Ray Serve replaces."""

    def formatException(self, ei: Any) -> str:
        return "".join(traceback.format_exception(*ei)).rstrip()


def configure_access_log(where: str) -> None:
    """Write the access log to ``stderr``, nowhere (``off``), or to a new file in a folder."""
    ACCESS.propagate = False
    ACCESS.setLevel(logging.INFO if where != "off" else logging.CRITICAL)
    for handler in list(ACCESS.handlers):
        ACCESS.removeHandler(handler)
        handler.close()
    if where == "off":
        return
    target = logging.StreamHandler(sys.stderr) if where == "stderr" else BoundedFile(where, "access", "jsonl")
    ACCESS.addHandler(Background(target, logging.Formatter("%(message)s")))


def log_access(line: str) -> None:
    """Write a line to the access log; the logger's own method would look up who calls it, for nothing."""
    ACCESS.handle(logging.LogRecord(ACCESS.name, logging.INFO, "", 0, line, None, None))


def configure_log(where: str) -> None:
    """Write warnings of our code to a file beside the access log, if that is in a folder.

    In throughput mode Ray Serve treats the stderr of a replica as messages of level INFO, and drops it.
    """
    if where in ("stderr", "off"):
        return
    _close_warnings()
    target = BoundedFile(where, "warnings", "log", delay=True)
    target.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler = Background(target, _Plain("%(message)s"))
    handler.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).addHandler(handler)


def close_logs() -> None:
    """Write the waiting lines and close the files; later lines are dropped."""
    configure_access_log("off")
    _close_warnings()


def delete_old(folder: Path, stem: str) -> None:
    """Delete the oldest log files of one kind beyond the limits, except files in use."""
    files = []
    for path in folder.glob(f"{stem}-*"):
        with suppress(OSError):  # another process has deleted it
            files.append((path, path.stat()))
    size = 0
    for number, (path, stat) in enumerate(sorted(files, key=lambda file: file[1].st_mtime, reverse=True)):
        size += stat.st_size
        if (size > TOTAL_BYTES or number >= TOTAL_FILES) and not _in_use(path):
            with suppress(OSError):
                path.unlink()


def _in_use(path: Path) -> bool:
    """Return whether a process has the file open for writing."""
    try:
        number = os.open(path, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(number)
    return False


def _close_warnings() -> None:
    for logger in map(logging.getLogger, OURS):
        for handler in [handler for handler in logger.handlers if isinstance(handler, Background)]:
            logger.removeHandler(handler)
            handler.close()
