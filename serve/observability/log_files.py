"""Logs of a router: a thread writes the lines, files are rotated, and old files are deleted."""

import fcntl
import logging
import os
import queue
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
ACCESS = logging.getLogger("nsecast.access")
OURS = ("serve", "common")
LOG_BYTES, LOG_FILES = 20_000_000, 5
"""Size of one file, and how many full ones are kept beside it."""
TOTAL_BYTES, TOTAL_FILES = 200_000_000, 50
"""Of all files of one kind in a folder, whoever wrote them; the oldest are deleted, but none in use."""
MOST_WAITING = 20_000
"""Lines that wait to be written; if the disk does not keep up, further ones are dropped and counted."""


class Background(QueueHandler):
    """Have another handler write the records in a thread, so that no request waits for the disk.

    `close`, which `logging` itself calls when the process ends, returns once all is written.
    """

    def __init__(self, target: logging.Handler, formatter: logging.Formatter) -> None:
        self._waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        super().__init__(self._waiting)
        self.setFormatter(formatter)
        self._target, self._dropped = target, 0
        self._listener: QueueListener | None = QueueListener(self._waiting, target)
        self._listener.start()

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
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
    """A file of this process's own below a folder; before it is opened, old files of its kind are deleted."""

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
    """Ray Serve replaces ``print``, which the usual formatter writes a traceback with."""

    def formatException(self, ei: Any) -> str:
        return "".join(traceback.format_exception(*ei)).rstrip()


def configure_access_log(where: str) -> None:
    """Write the access log to ``stderr``, to nowhere (``off``), or to a file of its own below a folder."""
    ACCESS.propagate = False
    ACCESS.setLevel(logging.INFO if where != "off" else logging.CRITICAL)
    for handler in list(ACCESS.handlers):
        ACCESS.removeHandler(handler)
        handler.close()
    if where == "off":
        return
    target = logging.StreamHandler(sys.stderr) if where == "stderr" else BoundedFile(where, "access", "jsonl")
    ACCESS.addHandler(Background(target, logging.Formatter("%(message)s")))


def configure_log(where: str) -> None:
    """Write what our code warns of beside the access log, if that is a folder.

    In throughput mode Ray Serve takes what a replica writes to stderr for messages of level INFO, and drops
    it.
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
    """Write what waits, and close the files; later lines are dropped."""
    configure_access_log("off")
    _close_warnings()


def delete_old(folder: Path, stem: str) -> None:
    """Delete the oldest log files of one kind until the rest is within bounds; files in use are kept."""
    size = 0
    for number, (path, stat) in enumerate(_newest_first(folder, stem)):
        size += stat.st_size
        if (size > TOTAL_BYTES or number >= TOTAL_FILES) and not _in_use(path):
            with suppress(OSError):
                path.unlink()


def _newest_first(folder: Path, stem: str) -> Iterator[tuple[Path, os.stat_result]]:
    files = []
    for path in folder.glob(f"{stem}-*"):
        with suppress(OSError):  # another process has deleted it
            files.append((path, path.stat()))
    yield from sorted(files, key=lambda each: each[1].st_mtime, reverse=True)


def _in_use(path: Path) -> bool:
    """Whether a process has the file open to write in it."""
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
        for handler in [each for each in logger.handlers if isinstance(each, Background)]:
            logger.removeHandler(handler)
            handler.close()
