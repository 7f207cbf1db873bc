"""One log of served forecasts: rows wait in memory, and a thread writes them as the next part of a chain."""

import datetime as dt
import logging
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from common import storage
from common.errors import ConfigError
from common.exchange.clock import NAIROBI_CLOCK
from serve.audit.files import SCHEMA, Link, day_folders, drop_days, fold, write_part
from serve.audit.hash_chain import forge, heads_seen
from serve.audit.prices import pack

log = logging.getLogger(__name__)
Row = dict[str, Any]
"""By name, the columns of ``SCHEMA``; ``prices`` are not packed yet."""
ID_BYTES = 100
"""Memory that one request id takes."""
HURRY = 4
"""A writer that has noted a quarter of its buffer since the last write should write before its time."""


class DayLog:
    """Parts below one folder, a folder for each day of the exchange; safe to use from several threads.

    Parameters
    ----------
    folder : such as ``<home>/served``; its parent must be there
    rows_buffered, megabytes_buffered : most rows, and most bytes of request ids and prices, that are kept in
        memory until they are written
    count : called with an outcome (``written``, ``lost``, ``failures``, ``days_dropped``) and how many
    clock : seconds since the epoch; a part is of the day on which it is written
    """

    def __init__(
        self,
        folder: Path,
        *,
        days_kept: int,
        megabytes_kept: int,
        rows_buffered: int,
        megabytes_buffered: int,
        count: Callable[[str, int], None],
        clock: Callable[[], float],
    ) -> None:
        self.folder, self._days_kept, self._bytes_kept = folder, days_kept, megabytes_kept * 2**20
        self._rows_buffered, self._bytes_buffered = rows_buffered, megabytes_buffered * 2**20
        self._count, self._clock = count, clock
        self._rows: dict[Hashable, Row] = {}
        self._bytes = self._rows_in_write = 0
        """Bytes in memory, and rows that are being written."""
        self._new_rows = self._new_bytes = 0
        """Noted since the last write."""
        self.exchange = NAIROBI_CLOCK
        """Whose days they are."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._troubles: set[str] = set()
        self._day = ""
        self._folded: set[str] = set()
        self._begin()

    @property
    def hurries(self) -> bool:
        """Whether so much was noted since the last write that it should not wait for the next one."""
        return (
            HURRY * self._new_rows >= self._rows_buffered or HURRY * self._new_bytes >= self._bytes_buffered
        )

    def holds(self, key: Hashable) -> bool:
        """Whether a row of that key waits to be written."""
        return key in self._rows

    def _begin(self) -> None:
        """Begin a chain of our own."""
        self._writer, self._part = uuid4().hex[:12], 0
        self._before: Link | None = None

    def add(self, key: Hashable, make: Callable[[], Row], request_id: str = "", size: int = 0) -> bool:
        """Note a request id on the row of a key, which is made if none waits.

        Parameters
        ----------
        size : bytes of the prices in a new row

        Returns
        -------
        bool
            False if the buffer is full: nothing was noted, and that is counted. What was noted is written, or
            waits until it can be.
        """
        with self._lock:
            row = self._rows.get(key)
            rows = len(self._rows) + self._rows_in_write + (row is None)
            more = (size if row is None else 0) + (ID_BYTES if request_id else 0)
            room = rows <= self._rows_buffered and self._bytes + more <= self._bytes_buffered
            if room:
                if row is None:
                    row = self._rows[key] = make()
                    self._new_rows += 1
                if request_id:
                    row["request_ids"].append(request_id)
                self._bytes += more
                self._new_bytes += more
        if not room:
            self._count("lost", 1)
            self._say_once("lost", f"served forecasts lost: the buffer is full, rows={rows}")
        return room

    def flush(self) -> bool:
        """Write what waits; False if that failed, and the rows wait for the next try."""
        with self._writing:
            with self._lock:
                rows, self._rows = self._rows, {}
                self._rows_in_write, written_bytes = len(rows), self._bytes
                self._new_rows = self._new_bytes = 0
            try:
                if rows:
                    now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
                    self._write(self.exchange.today(now).isoformat(), list(rows.values()))
            except Exception as error:
                self._begin()  # nobody knows whether that part is there
                self._count("failures", 1)
                self._put_back(rows)
                self._say_once("write", "served forecasts not written, tried again", error)
                return False
            with self._lock:
                self._bytes -= written_bytes
                self._rows_in_write = 0
            if rows:
                self._count("written", len(rows))
                self._troubles -= {"write", "lost"}
            return True

    def _put_back(self, rows: dict[Hashable, Row]) -> None:
        """Let rows wait that could not be written, before those that were noted meanwhile."""
        with self._lock:
            for key, row in self._rows.items():
                if key in rows:
                    rows[key]["request_ids"] += row["request_ids"]
                else:
                    rows[key] = row
            self._rows, self._rows_in_write = rows, 0

    def _write(self, day: str, rows: list[Row]) -> None:
        if not self.folder.parent.is_dir() and storage.mirror_of(self.folder) is None:
            raise FileNotFoundError(f"no storage root {self.folder.parent}")
        oldest = dt.date.fromisoformat(day) - dt.timedelta(days=self._days_kept - 1)
        dropped, left = drop_days(
            self.folder, before=oldest.isoformat(), today=day, most_bytes=self._bytes_kept
        )
        for name, size in dropped.items():
            log.warning("served forecasts dropped folder=%s day=%s bytes=%d", self.folder, name, size)
            self._count("days_dropped", 1)
        if left >= self._bytes_kept:
            self._say_once("full", f"today alone exceeds megabytes_kept and is written anyway: {left} bytes")
        packed = [row | {"prices": pack(row["prices"])} if row["prices"] else row for row in rows]
        table = pa.Table.from_pylist(packed, schema=SCHEMA)
        new = day != self._day or self._before is None
        seen = heads_seen(self.folder, self._writer) if new else {}
        link = forge(self._writer, self._part, day, table, before=self._before, seen=seen)
        write_part(self.folder / day, f"{self._writer}-{self._part:06d}", table, [link])
        self._part, self._before = self._part + 1, link
        if day != self._day:
            self._day = day
            self._fold_days_before(day)

    def _fold_days_before(self, day: str) -> None:
        """Fold each past day once, which reads only those of several parts; one router does it for all."""
        try:
            with storage.claim(self.folder / ".fold.lock", "the log of served forecasts"):
                for past in day_folders(self.folder):
                    if past.name < day and past.name not in self._folded:
                        fold(past)
                        self._folded.add(past.name)
        except ConfigError:
            return
        except Exception as error:
            self._say_once("fold", "days of served forecasts not folded", error)

    def _say_once(self, trouble: str, message: str, error: Exception | None = None) -> None:
        """One line for each kind of trouble, until it is over."""
        if trouble not in self._troubles:
            self._troubles.add(trouble)
            detail = f": {type(error).__name__}: {error}" if error else ""
            log.error("%s folder=%s%s", message, self.folder, detail)
