"""One log of served forecasts: rows are buffered in memory and written as the next part of a hash chain."""

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
from serve.audit.hash_chain import heads_seen, make_link

log = logging.getLogger(__name__)
Row = dict[str, Any]
"""The columns of ``SCHEMA`` by name; missing ones are null."""
ID_MEMORY_BYTES = 100
"""Memory of one request id."""
MAX_CLIENTS = 10_000
"""Further clients of a day share one budget."""
DAY_S = 86_400


class DayLog:
    """Writes parts below one folder, by day of the exchange; thread-safe.

    Parameters
    ----------
    folder : such as ``<home>/served``; its parent must exist
    rows_buffered, megabytes_buffered : bounds on the rows, and on their request ids and prices, in memory
    count : called with an outcome (``written``, ``lost``, ``failures``, ``days_dropped``) and a number
    clock : seconds since the epoch; a part belongs to the day on which it is written
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
        self._unwritten: dict[Hashable, Row] = {}
        """Rows that are being written, or that could not be."""
        self._bytes = 0
        self.exchange = NAIROBI_CLOCK
        """The clock that defines the days."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._problems: set[str] = set()
        self._day = ""
        self._folded: set[str] = set()
        self._start_chain()

    def holds(self, key: Hashable) -> bool:
        """Whether the row of a key is buffered."""
        return key in self._rows

    def _start_chain(self) -> None:
        self._writer, self._part = uuid4().hex[:12], 0
        self._before: Link | None = None

    def add(self, key: Hashable, make: Callable[[], Row], request_id: str = "", size: int = 0) -> bool:
        """Add a request id to the row of a key; ``make`` creates the row if none is buffered.

        Parameters
        ----------
        size : bytes of the prices in a new row

        Returns
        -------
        bool
            False if the buffer is full: nothing was added, and the loss is counted.
        """
        with self._lock:
            row = self._rows.get(key)
            rows = len(self._rows) + len(self._unwritten) + (row is None)
            more = (size if row is None else 0) + (ID_MEMORY_BYTES if request_id else 0)
            room = rows <= self._rows_buffered and self._bytes + more <= self._bytes_buffered
            if room:
                if row is None:
                    row = self._rows[key] = make()
                if request_id:
                    row["request_ids"].append(request_id)
                self._bytes += more
        if not room:
            self._count("lost", 1)
            self._log_once("lost", f"served forecasts lost: the buffer is full, rows={rows}")
        return room

    def flush(self) -> bool:
        """Write the buffered rows; False if that failed, and the rows wait for the next try."""
        with self._writing:
            with self._lock:
                for key, row in self._rows.items():
                    earlier = self._unwritten.setdefault(key, row)
                    if earlier is not row:
                        earlier["request_ids"] += row["request_ids"]
                self._rows, size, rows = {}, self._bytes, [*self._unwritten.values()]
            if not rows:
                return True
            try:
                now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
                self._write(self.exchange.today(now).isoformat(), rows)
            except Exception as error:
                self._start_chain()  # the part may or may not have been written
                self._count("failures", 1)
                self._log_once("write", "served forecasts not written, will retry", error)
                return False
            with self._lock:
                self._unwritten = {}
                self._bytes -= size
            self._count("written", len(rows))
            self._problems -= {"write", "lost"}
            return True

    def _write(self, day: str, rows: list[Row]) -> None:
        if not self.folder.parent.is_dir() and storage.mirror_of(self.folder) is None:
            raise FileNotFoundError(f"no storage root {self.folder.parent}")
        oldest = dt.date.fromisoformat(day) - dt.timedelta(days=self._days_kept - 1)
        dropped, left = drop_days(
            self.folder, before=oldest.isoformat(), today=day, max_bytes=self._bytes_kept
        )
        for name, size in dropped.items():
            log.warning("served forecasts dropped folder=%s day=%s bytes=%d", self.folder, name, size)
            self._count("days_dropped", 1)
        if left >= self._bytes_kept:
            self._log_once("full", f"today alone exceeds megabytes_kept and is written anyway: {left} bytes")
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        new = day != self._day or self._before is None
        seen = heads_seen(self.folder, self._writer) if new else {}
        link = make_link(self._writer, self._part, day, table, before=self._before, seen=seen)
        write_part(self.folder / day, f"{self._writer}-{self._part:06d}", table, [link])
        self._part, self._before = self._part + 1, link
        if day != self._day:
            self._day = day
            self._fold_days_before(day)

    def _fold_days_before(self, day: str) -> None:
        """Merge the parts of each past day once; one router does it for all."""
        try:
            with storage.lock_or_fail(self.folder / ".fold.lock", "the log of served forecasts"):
                for past in day_folders(self.folder):
                    if past.name < day and past.name not in self._folded:
                        fold(past)
                        self._folded.add(past.name)
        except ConfigError:
            return
        except Exception as error:
            self._log_once("fold", "parts of past days not merged", error)

    def _log_once(self, problem: str, message: str, error: Exception | None = None) -> None:
        """Log each kind of problem once, until it is solved."""
        if problem not in self._problems:
            self._problems.add(problem)
            detail = f": {type(error).__name__}: {error}" if error else ""
            log.error("%s folder=%s%s", message, self.folder, detail)


class ClientBudget:
    """A number of bytes for each client and day (UTC), counted in this process.

    Parameters
    ----------
    client_bytes : budget of one client for one day
    clock : seconds since the epoch
    """

    def __init__(self, client_bytes: float, clock: Callable[[], float]) -> None:
        self._client_bytes, self._clock = client_bytes, clock
        self._day, self._spent = -1, dict[str, float]()
        self._warned: set[str] = set()

    def spend(self, client: str, size: float) -> bool:
        """Charge ``size`` bytes to a client; False if it would exceed its budget."""
        if (day := int(self._clock() // DAY_S)) != self._day:
            self._day, self._spent, self._warned = day, {}, set()
        if client not in self._spent and len(self._spent) >= MAX_CLIENTS:
            client = "others"
        spent = self._spent.get(client, 0.0) + size
        if spent <= self._client_bytes:
            self._spent[client] = spent
            return True
        if client not in self._warned:
            self._warned.add(client)
            log.warning("log budget of the day exceeded: there are no further receipts client=%s", client)
        return False
