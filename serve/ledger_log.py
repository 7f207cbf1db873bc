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
from common.data.exchange_clock import NAIROBI
from common.errors import ConfigError
from serve.ledger_chain import forge, heads_seen
from serve.ledger_files import SCHEMA, Link, day_folders, drop_days, fold, write_part

log = logging.getLogger(__name__)
Row = dict[str, Any]
"""By name, the columns of ``SCHEMA``."""
IDS_KEPT = 200_000
"""Request ids kept in memory while they cannot be written."""


class DayLog:
    """Parts below one folder, a folder for each day of the exchange; safe to use from several threads.

    Parameters
    ----------
    folder : such as ``<home>/served``; its parent must be there
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
        count: Callable[[str, int], None],
        clock: Callable[[], float],
    ) -> None:
        self.folder, self._days_kept, self._most_bytes = folder, days_kept, megabytes_kept * 2**20
        self._rows_buffered, self._count, self._clock = rows_buffered, count, clock
        self._rows: dict[Hashable, Row] = {}
        self.ids = 0
        """Request ids that wait."""
        self.exchange = NAIROBI
        """Whose days they are."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._troubles: set[str] = set()
        self._day = ""
        self._begin()

    def _begin(self) -> None:
        """Begin a chain of our own."""
        self._writer, self._part = uuid4().hex[:12], 0
        self._before: Link | None = None

    def add(self, key: Hashable, make: Callable[[], Row], request_id: str = "", weight: int = 1) -> None:
        """Note a request id on the row of a key, made if none waits; ``weight``: rows that it counts for."""
        with self._lock:
            row = self._rows.get(key)
            rows = len(self._rows) + weight
            full = rows > self._rows_buffered if row is None else self.ids >= IDS_KEPT
            if not full:
                if row is None:
                    row = self._rows[key] = make()
                    self._rows.update({(key, spare): {} for spare in range(1, weight)})
                if request_id:
                    row["request_ids"].append(request_id)
                    self.ids += 1
        if full:
            self._lose(1)

    def flush(self) -> bool:
        """Write what waits; False if that failed, and the rows wait for the next try."""
        with self._writing:
            with self._lock:
                rows, self._rows, self.ids = [row for row in self._rows.values() if row], {}, 0
            try:
                if rows:
                    now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
                    self._write(self.exchange.today(now).isoformat(), rows)
            except Exception as error:
                self._begin()  # nobody knows whether that part is there
                self._count("failures", 1)
                self._wait_on(rows)
                self._say_once("write", "served forecasts not written, tried again", error)
                return False
            if rows:
                self._count("written", len(rows))
                self._troubles -= {"write", "lost"}
            return True

    def _wait_on(self, rows: list[Row]) -> None:
        with self._lock:
            room = max(0, self._rows_buffered - len(self._rows))
            self._rows.update({object(): row for row in rows[:room]})
            self.ids += sum(len(row["request_ids"]) for row in rows[:room])
        self._lose(len(rows[room:]))

    def _lose(self, many: int) -> None:
        if many:
            self._count("lost", many)
            self._say_once("lost", f"served forecasts lost: {self._rows_buffered} wait already")

    def _write(self, day: str, rows: list[Row]) -> None:
        if not self.folder.parent.is_dir() and storage.mirror_of(self.folder) is None:
            raise FileNotFoundError(f"no storage root {self.folder.parent}")
        oldest = dt.date.fromisoformat(day) - dt.timedelta(days=self._days_kept - 1)
        dropped = drop_days(self.folder, before=oldest.isoformat(), today=day, most_bytes=self._most_bytes)
        for name, size in dropped.items():
            log.warning("served forecasts dropped folder=%s day=%s bytes=%d", self.folder, name, size)
            self._count("days_dropped", 1)
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        new = day != self._day or self._before is None
        seen = heads_seen(self.folder, self._writer) if new else {}
        link = forge(self._writer, self._part, day, table, before=self._before, seen=seen)
        write_part(self.folder / day, f"{self._writer}-{self._part:06d}", table, [link])
        self._part, self._before = self._part + 1, link
        if day != self._day:
            self._day = day
            self._fold_days_before(day)

    def _fold_days_before(self, day: str) -> None:
        """One router does it, while the others go on."""
        try:
            with storage.claim(self.folder / ".fold.lock", "the log of served forecasts"):
                for past in day_folders(self.folder):
                    if past.name < day:
                        fold(past)
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
