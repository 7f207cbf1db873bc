"""Served forecasts on disk, so that they can be scored once their prices are there.

One row for each distinct forecast of the release's own newest evening: however often it is asked for, a
router writes it once, with the time it was first served. Requests that bring prices, and evenings of the
past, are no forecasts of the counter and are left out. Several routers write side by side, so that a row may
be there once for each, and again after a restart: readers keep the one that was served first. Files:
`serve.ledger_files`.
"""

import atexit
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from common import storage
from common.config import Config
from common.errors import ConfigError
from common.model.conformal import LEVELS
from common.model.representation import Prices
from serve.ledger_files import SCHEMA, day_folders, drop_days, fold, write_part

if TYPE_CHECKING:
    from serve.desk import Desk, Prepared

log = logging.getLogger(__name__)
NAIROBI = dt.timezone(dt.timedelta(hours=3))
KEYS_KEPT = 100_000
"""Forecasts a router remembers as written; beyond, it starts over and some are written twice."""


class LedgerSettings(Config):
    """How served forecasts are kept."""

    days_kept: NonNegativeInt = 400
    """Days of served forecasts on disk; older ones are dropped. 0: none are written."""
    megabytes_kept: PositiveInt = 256
    """Bound on all of them; the oldest days go first."""
    flush_every_s: PositiveFloat = 30.0
    """What a killed router can lose."""
    rows_buffered: PositiveInt = 20_000
    """Rows kept in memory while they cannot be written; further ones are lost, and counted."""


class Ledger:
    """Notes what one router serves; nothing that goes wrong here reaches a request.

    Parameters
    ----------
    home : the storage root, which must be there
    clock : seconds since the epoch
    """

    def __init__(
        self, home: Path, settings: LedgerSettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        import ray.util.metrics  # readers of the ledger do without

        self.folder, self._settings, self._clock = storage.home(home) / "served", settings, clock
        self._router, self._parts, self._day = uuid4().hex[:12], 0, ""
        self._seen: set[tuple[str, str, int]] = set()
        self._rows: list[tuple[Any, ...]] = []
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._troubles: set[str] = set()
        self.counts = {"written": 0, "lost": 0, "failures": 0, "days_dropped": 0}
        """Since the start: rows written and lost, writes that failed, days dropped from disk."""
        self._metric = ray.util.metrics.Counter(
            "nsecast_ledger", "Served forecasts written or lost, failed writes, days dropped.", ("outcome",)
        )

    def saw(self, desk: "Desk", prepared: "Prepared", prices: Prices) -> None:
        """Note a forecast that is being served; under a microsecond if it was noted before."""
        key = (prepared.key, prepared.request.symbol, prepared.place)
        if key in self._seen or not self._settings.days_kept:
            return
        request = prepared.request
        if request.brings_prices or (request.as_of is not None and request.as_of < desk.data_end):
            return
        try:
            if len(self._seen) >= KEYS_KEPT:
                self._seen.clear()
            self._seen.add(key)
            served_at = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
            self._append([(*_row(desk, prepared, prices), served_at)])
            if self._thread is None:
                self._start()
        except Exception as error:
            self._count("lost", 1)
            self._say_once("row", "served forecast not noted", error)

    def flush(self) -> bool:
        """Write what is buffered; False if that failed, and the rows wait for the next try."""
        with self._writing:
            with self._lock:
                rows, self._rows = self._rows, []
            days: dict[str, list[tuple[Any, ...]]] = {}
            for row in rows:
                days.setdefault(f"{row[-1].astimezone(NAIROBI):%Y-%m-%d}", []).append(row)
            for day, of_day in sorted(days.items()):
                try:
                    self._write(day, of_day)
                except Exception as error:
                    self._count("failures", 1)
                    self._append(of_day)
                    self._say_once("write", "served forecasts not written, tried again", error)
                else:
                    self._count("written", len(of_day))
                    self._troubles -= {"write", "lost"}
            return "write" not in self._troubles

    def close(self) -> None:
        """Write the rest and end the thread; may be called twice."""
        self._stop.set()
        atexit.unregister(self.close)
        self.flush()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.flush_every_s):
            self.flush()

    def _append(self, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            room = max(0, self._settings.rows_buffered - len(self._rows))
            self._rows += rows[:room]
        if lost := len(rows) - min(room, len(rows)):
            self._count("lost", lost)
            self._say_once("lost", f"served forecasts lost: {self._settings.rows_buffered} wait already")

    def _write(self, day: str, rows: list[tuple[Any, ...]]) -> None:
        if not self.folder.parent.is_dir() and storage.mirror_of(self.folder) is None:
            raise FileNotFoundError(f"no storage root {self.folder.parent}")
        oldest = dt.date.fromisoformat(day) - dt.timedelta(days=self._settings.days_kept - 1)
        most_bytes = self._settings.megabytes_kept * 2**20
        dropped = drop_days(self.folder, before=oldest.isoformat(), today=day, most_bytes=most_bytes)
        for name, size in dropped.items():
            log.warning("served forecasts dropped day=%s bytes=%d", name, size)
            self._count("days_dropped", 1)
        columns = zip(SCHEMA, zip(*rows, strict=True), strict=True)
        table = pa.table({each.name: pa.array(values, each.type) for each, values in columns}, schema=SCHEMA)
        write_part(self.folder / day, f"{self._router}-{self._parts:06d}", table)
        self._parts += 1
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

    def _count(self, outcome: str, many: int) -> None:
        self.counts[outcome] += many
        self._metric.inc(many, tags={"outcome": outcome})

    def _say_once(self, trouble: str, message: str, error: Exception | None = None) -> None:
        """One line for each kind of trouble, until it is over."""
        if trouble not in self._troubles:
            self._troubles.add(trouble)
            detail = f": {type(error).__name__}: {error}" if error else ""
            log.error("%s folder=%s%s", message, self.folder, detail)


def _row(desk: "Desk", prepared: "Prepared", prices: Prices) -> tuple[Any, ...]:
    """All columns of ``SCHEMA`` but the last."""
    place, cutoff = prepared.place, prepared.windows.cutoff[0]
    horizon = desk.spec.horizons[place]
    bounds = [
        float(side[0, place, level]) for level in range(len(LEVELS)) for side in (prices.low, prices.high)
    ]
    return (
        desk.release.id,
        desk.preset,
        prepared.route.symbol,
        horizon,
        cutoff.item(),
        desk.past.sessions.ahead(cutoff, horizon),
        float(prices.last[0]),
        float(prices.raw[0, place]),
        float(prices.published[0, place]),
        *bounds,
        float(prices.p_move[0, place]),
        bool(prices.frozen[0]),
        "model" if prices.by_model[0, place] else "last_price",
        prepared.route.model_type,
    )
