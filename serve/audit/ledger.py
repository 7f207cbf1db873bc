"""Served forecasts on disk, so that they can be scored, shown to have been served, and made again.

Two logs below the storage root, of the same form (`serve.audit.files`) and each a chain
(`serve.audit.hash_chain`):

``served``
    One row for each distinct forecast of the release's own newest evening: however often it is asked for, a
    router writes it once, with the time it was first served. Requests that bring prices, and evenings of the
    past, are no forecasts of the counter and are left out. Several routers write side by side, so that a row
    may be there once for each, and again after a restart: readers keep the one that was served first.
``answers``
    What was answered to which request, whatever it asked: in each part one row for each distinct answer, with
    the ids of the requests that got it, and the prices that they included. For `serve.audit.receipts`, kept
    for a shorter time. Each client has a budget for a day, so that none pushes out the receipts of the
    others: beyond a part of it prices are noted by their digest alone, beyond all of it requests are not
    noted.
"""

import atexit
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import storage
from common.forecast.prices import Prices
from serve.audit.budget import DayBudget
from serve.audit.log import DayLog, Row
from serve.audit.prices import brought, bytes_in_file, digest
from serve.audit.rows import row_of, software
from serve.settings import LedgerSettings

if TYPE_CHECKING:
    from serve.inference.loaded_release import LoadedRelease, PreparedRequest

log = logging.getLogger(__name__)
SERVED, ANSWERS = "served", "answers"
KEYS_KEPT = 100_000
"""Forecasts a router remembers as written; beyond, it starts over and some are written twice."""
ID_BYTES, ROW_BYTES, DIGEST_BYTES = 20, 120, 32
"""What a request id, a row and a digest of prices take in a file, about, and so of a client's budget."""
PRICES_SHARE = 0.5
"""Part of a client's budget beyond which prices are noted by their digest alone."""
OUTCOMES = ("written", "lost", "failures", "days_dropped", "digest_only", "over_budget")
"""Rows written and lost, writes that failed, days dropped from disk; and of clients beyond their budget:
answers whose prices are noted by their digest alone, and answers that are not noted."""


class Ledger:
    """Notes what one router serves; nothing that goes wrong here reaches a request.

    Parameters
    ----------
    home : the storage root, which must be there
    routers : how many share the log, and each client's budget
    clock : seconds since the epoch
    """

    def __init__(
        self,
        home: Path,
        settings: LedgerSettings,
        *,
        routers: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        import ray.util.metrics  # readers of the ledger do without

        self._settings, self._clock = settings, clock
        shared: dict[str, Any] = {
            "rows_buffered": settings.rows_buffered,
            "megabytes_buffered": settings.megabytes_buffered,
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
        self._budget = DayBudget(settings.answers_client_bytes / routers, clock)
        self._seen: set[tuple[str, str, int]] = set()
        self._thread: threading.Thread | None = None
        self._stop, self._wake = threading.Event(), threading.Event()
        self._said = False
        software()
        self.counts = dict.fromkeys(OUTCOMES, 0)
        """Since the start, see `OUTCOMES`."""
        self._metric = ray.util.metrics.Counter(
            "nsecast_ledger", "Served forecasts by what became of their rows in the log.", ("outcome",)
        )

    def saw(
        self,
        loaded: "LoadedRelease",
        prepared: "PreparedRequest",
        prices: Prices,
        request_id: str = "",
        client: str = "",
    ) -> None:
        """Note a forecast that is being served; a few microseconds if it was noted before.

        Parameters
        ----------
        request_id : made by the server; without one there can be no receipt
        client : whose budget is charged for the receipt
        """
        try:
            self._served.exchange = self._answers.exchange = loaded.clock
            request = prepared.request
            key = (prepared.key, request.symbol, prepared.place)
            past = request.as_of is not None and request.as_of < loaded.data_end
            new = key not in self._seen and not request.brings_prices and not past
            wanted = new and self._settings.days_kept > 0
            if wanted and self._served.add(key, lambda: self._row(loaded, prepared, prices), request_id):
                if len(self._seen) >= KEYS_KEPT:
                    self._seen.clear()
                self._seen.add(key)
            if request_id and self._settings.answers_days_kept:
                self._answer(loaded, prepared, prices, request_id, client)
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

    def _answer(
        self,
        loaded: "LoadedRelease",
        prepared: "PreparedRequest",
        prices: Prices,
        request_id: str,
        client: str,
    ) -> None:
        request, kept = prepared.request, dict[str, str]()
        key: tuple[Hashable, ...] = (prepared.key, request.symbol, prepared.place, request.as_of)
        if request.brings_prices:
            own = brought(request, loaded.spec.size)
            key, kept = (*key, digest(own), prepared.windows.cutoff[0].item()), {"prices": own}
        if self._answers.holds(key):
            paid = self._budget.spend(client, ID_BYTES)
        elif request.brings_prices:
            cost = ID_BYTES + ROW_BYTES
            paid = self._budget.spend(client, cost + bytes_in_file(own), share=PRICES_SHARE)
            if not paid:
                kept = {"prices_digest": digest(own)}
                paid = self._budget.spend(client, cost + DIGEST_BYTES)
                if paid:
                    self._count("digest_only", 1)
        else:
            paid = self._budget.spend(client, ID_BYTES + ROW_BYTES)
        if not paid:
            self._count("over_budget", 1)
            return
        size = sum(map(len, kept.values()))
        self._answers.add(key, lambda: self._row(loaded, prepared, prices) | kept, request_id, size)
        if self._answers.hurries:
            self._wake.set()

    def _row(self, loaded: "LoadedRelease", prepared: "PreparedRequest", prices: Prices) -> Row:
        return row_of(loaded, prepared, prices, dt.datetime.fromtimestamp(self._clock(), dt.UTC))

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
