"""Served forecasts on disk, so that they can be scored, shown to have been served, and made again.

Two logs below the storage root, of the same form (`serve.ledger_files`) and each a chain
(`serve.ledger_chain`):

``served``
    One row for each distinct forecast of the release's own newest evening: however often it is asked for, a
    router writes it once, with the time it was first served. Requests that bring prices, and evenings of the
    past, are no forecasts of the counter and are left out. Several routers write side by side, so that a row
    may be there once for each, and again after a restart: readers keep the one that was served first.
``answers``
    What was answered to which request, whatever it asked: in each part one row for each distinct answer, with
    the ids of the requests that got it, and the prices that they brought. For `serve.receipts`, kept for a
    shorter time.
"""

import atexit
import datetime as dt
import json
import logging
import platform
import threading
import time
from collections.abc import Callable, Hashable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from cluster.source import digest
from common import storage
from common.config import Config
from common.model.conformal import LEVELS
from common.model.prices import Prices
from common.model.release import MANIFEST, Release, read_json
from serve.ledger_files import BOUNDS
from serve.ledger_log import DayLog, Row
from serve.schemas import MIN_PRICES, PredictRequest

if TYPE_CHECKING:
    from serve.desk import Desk, Prepared

__all__ = ["ANSWERS", "SERVED", "Ledger", "LedgerSettings"]
log = logging.getLogger(__name__)
SERVED, ANSWERS = "served", "answers"
KEYS_KEPT = 100_000
"""Forecasts a router remembers as written; beyond, it starts over and some are written twice."""
IDS_TOGETHER = 5_000
"""Request ids that are written before it is time to."""
ROW_BYTES = 500
"""Brought prices count for a row in memory for so many bytes."""
PACKAGES = ("nsecast", "numpy", "onnxruntime", "ray")


class LedgerSettings(Config):
    """How served forecasts are kept."""

    days_kept: NonNegativeInt = 400
    """Days of served forecasts on disk; older ones are dropped. 0: none are written."""
    megabytes_kept: PositiveInt = 256
    """Bound on all of them; the oldest days go first."""
    answers_days_kept: NonNegativeInt = 30
    """The same for answers, for which there are receipts so long; 0: none are written, nor are prices that
    requests brought."""
    answers_megabytes_kept: PositiveInt = 256
    """The same for answers; about 25 bytes each, prices that were brought up to 2 kB."""
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

        self._settings, self._clock = settings, clock
        shared: dict[str, Any] = {
            "rows_buffered": settings.rows_buffered,
            "count": self._count,
            "clock": clock,
        }
        self._served = DayLog(
            storage.home(home) / SERVED,
            days_kept=settings.days_kept,
            megabytes_kept=settings.megabytes_kept,
            **shared,
        )
        self._answers = DayLog(
            storage.home(home) / ANSWERS,
            days_kept=settings.answers_days_kept,
            megabytes_kept=settings.answers_megabytes_kept,
            **shared,
        )
        self._seen: set[tuple[str, str, int]] = set()
        self._thread: threading.Thread | None = None
        self._stop, self._wake = threading.Event(), threading.Event()
        self._said = False
        software()
        self.counts = {"written": 0, "lost": 0, "failures": 0, "days_dropped": 0}
        """Since the start: rows written and lost, writes that failed, days dropped from disk."""
        self._metric = ray.util.metrics.Counter(
            "nsecast_ledger", "Served forecasts written or lost, failed writes, days dropped.", ("outcome",)
        )

    def saw(self, desk: "Desk", prepared: "Prepared", prices: Prices, request_id: str = "") -> None:
        """Note a forecast that is being served; a few microseconds if it was noted before.

        Parameters
        ----------
        request_id : of the answer; without one there can be no receipt
        """
        try:
            self._served.exchange = self._answers.exchange = desk.clock
            request = prepared.request
            key = (prepared.key, request.symbol, prepared.place)
            past = request.as_of is not None and request.as_of < desk.data_end
            new = key not in self._seen and not request.brings_prices and not past
            if new and self._settings.days_kept:
                if len(self._seen) >= KEYS_KEPT:
                    self._seen.clear()
                self._seen.add(key)
                self._served.add(key, lambda: self._row(desk, prepared, prices), request_id)
            if request_id and self._settings.answers_days_kept:
                self._answer(desk, prepared, prices, request_id)
            if self._thread is None:
                self._start()
        except Exception as error:
            self._count("lost", 1)
            if not self._said:
                self._said = True
                log.error("served forecast not noted: %s: %s", type(error).__name__, error)

    def flush(self) -> bool:
        """Write what is buffered; False if that failed, and the rows wait for the next try."""
        return all([self._served.flush(), self._answers.flush()])

    def close(self) -> None:
        """Write the rest and end the thread; may be called twice."""
        self._stop.set()
        self._wake.set()
        atexit.unregister(self.close)
        self.flush()

    def _answer(self, desk: "Desk", prepared: "Prepared", prices: Prices, request_id: str) -> None:
        request, brought = prepared.request, None
        key: tuple[Hashable, ...] = (prepared.key, request.symbol, prepared.place, request.as_of)
        if request.brings_prices:
            brought, key = _brought(request, desk.spec.size), (*key, request_id)
        weight = 1 + len(brought or "") // ROW_BYTES
        self._answers.add(key, lambda: self._row(desk, prepared, prices, brought), request_id, weight)
        if self._answers.ids >= IDS_TOGETHER:
            self._wake.set()

    def _row(self, desk: "Desk", prepared: "Prepared", prices: Prices, brought: str | None = None) -> Row:
        place, cutoff = prepared.place, prepared.windows.cutoff[0]
        horizon = desk.spec.horizons[place]
        bounds = [
            float(side[0, place, level]) for level in range(len(LEVELS)) for side in (prices.low, prices.high)
        ]
        return {
            "release": desk.release.id,
            "preset": desk.preset,
            "symbol": prepared.route.symbol,
            "horizon": horizon,
            "cutoff": cutoff.item(),
            "target_date": desk.past.sessions.ahead(cutoff, horizon),
            "last_price": float(prices.last[0]),
            "raw": float(prices.raw[0, place]),
            "published": float(prices.published[0, place]),
            **dict(zip(BOUNDS, bounds, strict=True)),
            "p_move": float(prices.p_move[0, place]),
            "frozen": bool(prices.frozen[0]),
            "source": "model" if prices.by_model[0, place] else "last_price",
            "model_type": prepared.route.model_type,
            "served_at": dt.datetime.fromtimestamp(self._clock(), dt.UTC),
            "as_of": prepared.request.as_of,
            "brought": brought,
            "release_digest": manifest_digest(desk.release),
            "software": software(),
            "request_ids": [],
        }

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._settings.flush_every_s)
            if self._stop.is_set():
                return
            self._wake.clear()
            self.flush()

    def _count(self, outcome: str, many: int) -> None:
        self.counts[outcome] += many
        self._metric.inc(many, tags={"outcome": outcome})


_DIGESTS: dict[tuple[str, str], str] = {}


def manifest_digest(release: Release) -> str:
    """The digest that a release's manifest states of itself, which covers every file; read once."""
    key = (str(release.path), release.created.isoformat())
    if key not in _DIGESTS:
        _DIGESTS[key] = str(read_json(release.path / MANIFEST)["digest"])
    return _DIGESTS[key]


@cache
def software() -> str:
    """Versions of what a forecast is made with, as JSON."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "code": digest()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return json.dumps(found, sort_keys=True)


def _brought(request: PredictRequest, size: int) -> str:
    """The prices of a request that enter its window, as JSON that `PredictRequest` takes."""
    most = max(size, MIN_PRICES)
    prices = {
        name: (getattr(request, name) or [])[-most:] or None for name in ("recent_prices", "recent_bars")
    }
    short = request.model_copy(update=prices)
    return short.model_dump_json(include={*prices, "allow_unknown"}, exclude_none=True)
