"""The record of served forecasts, for scores, receipts and replays.

Two logs below the storage root, of the same format (`serve.audit.files`), each a hash chain
(`serve.audit.hash_chain`):

``served``
    One row for each distinct forecast from the release's newest prices, with the time when this router first
    served it. Requests with prices of their own, or for a past day, are left out. Every router writes its own
    row, and another one after a restart; readers use the first.
``answers``
    The response to every request: in each part one row for each distinct response, with the ids and prices of
    its requests. For `serve.audit.receipts`, kept for a shorter time. Each client has a daily budget, so
    that no client displaces the receipts of others: beyond a share of it prices are recorded as digests,
    beyond all of it requests are not recorded.
"""

import atexit
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING

from common import storage
from common.forecast.prices import Prices
from serve.audit.log import DayLog, Row
from serve.audit.request_prices import bytes_in_file, digest, prices_text
from serve.audit.rows import row_of, software
from serve.settings import LedgerSettings

if TYPE_CHECKING:
    from serve.inference.loaded_release import LoadedRelease, PreparedRequest

log = logging.getLogger(__name__)
SERVED, ANSWERS = "served", "answers"
MAX_KEYS = 100_000
"""Forecasts that a router remembers as written; beyond, it starts over, and some are written twice."""
ID_FILE_BYTES, ROW_FILE_BYTES, DIGEST_FILE_BYTES = 20, 150, 32
"""Approximate size in a file of a request id, a row and a digest, charged to a client's budget."""
PRICES_SHARE = 0.5
"""Share of a client's budget beyond which prices are recorded as digests."""
OUTCOMES = ("written", "lost", "failures", "days_dropped", "digest_only", "over_budget")
"""Rows written and lost, failed writes, days deleted; for clients beyond their budget, responses recorded
with a digest of their prices, and responses not recorded."""
MAX_CLIENTS = 10_000
"""Further clients of a day share one budget."""
DAY_S = 86_400


class Ledger:
    """Records what one router serves; its failures never reach a request.

    Parameters
    ----------
    home : the storage root, which must exist
    routers : number of routers that share the log and each client's budget
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
        import ray.util.metrics  # not needed to read the logs

        self._settings, self._clock = settings, clock
        self._served, self._answers = (
            DayLog(
                storage.home(home) / name,
                days_kept=days,
                megabytes_kept=megabytes,
                rows_buffered=settings.rows_buffered,
                megabytes_buffered=settings.megabytes_buffered,
                count=self._count,
                clock=clock,
            )
            for name, days, megabytes in (
                (SERVED, settings.days_kept, settings.megabytes_kept),
                (ANSWERS, settings.answers_days_kept, settings.answers_megabytes_kept),
            )
        )
        self._budget = DayBudget(settings.answers_client_bytes / routers, clock)
        self._written: set[tuple[str, str, int]] = set()
        self._thread: threading.Thread | None = None
        self._stop, self._wake = threading.Event(), threading.Event()
        self._logged = False
        software()
        self.counts = dict.fromkeys(OUTCOMES, 0)
        """Since the start, see `OUTCOMES`."""
        self._metric = ray.util.metrics.Counter(
            "nsecast_ledger", "Served forecasts by what became of their rows in the log.", ("outcome",)
        )

    def record(
        self,
        loaded: "LoadedRelease",
        prepared: "PreparedRequest",
        prices: Prices,
        request_id: str = "",
        client: str = "",
    ) -> None:
        """Record a served forecast; a few microseconds if it was recorded before.

        Parameters
        ----------
        request_id : made by the server; there is no receipt without one
        client : the client whose budget is charged
        """
        try:
            self._served.exchange = self._answers.exchange = loaded.clock
            request = prepared.request
            key = (prepared.key, request.symbol, prepared.position)
            past = request.as_of is not None and request.as_of < loaded.data_end
            new = key not in self._written and not request.has_prices and not past
            wanted = new and self._settings.days_kept > 0
            if wanted and self._served.add(key, lambda: self._row(loaded, prepared, prices), request_id):
                if len(self._written) >= MAX_KEYS:
                    self._written.clear()
                self._written.add(key)
            if request_id and self._settings.answers_days_kept:
                self._record_answer(loaded, prepared, prices, request_id, client)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        except Exception as error:
            self._count("lost", 1)
            if not self._logged:
                self._logged = True
                log.error("served forecast not recorded: %s: %s", type(error).__name__, error)

    def flush(self) -> bool:
        """Write the buffered rows; False if that failed, and the rows wait for the next try."""
        return all([self._served.flush(), self._answers.flush()])

    def close(self) -> None:
        """Write the remaining rows and end the thread; may be called twice."""
        self._stop.set()
        self._wake.set()
        atexit.unregister(self.close)
        self.flush()

    def _record_answer(
        self,
        loaded: "LoadedRelease",
        prepared: "PreparedRequest",
        prices: Prices,
        request_id: str,
        client: str,
    ) -> None:
        request, columns = prepared.request, dict[str, str]()
        key: tuple[Hashable, ...] = (prepared.key, request.symbol, prepared.position, request.as_of)
        if request.has_prices:
            own = prices_text(request, loaded.spec.size)
            key, columns = (*key, digest(own), prepared.windows.cutoff[0].item()), {"prices": own}
        if self._answers.holds(key):
            paid = self._budget.spend(client, ID_FILE_BYTES)
        elif request.has_prices:
            cost = ID_FILE_BYTES + ROW_FILE_BYTES
            paid = self._budget.spend(client, cost + bytes_in_file(own), share=PRICES_SHARE)
            if not paid and (paid := self._budget.spend(client, cost + DIGEST_FILE_BYTES)):
                columns = {"prices_digest": digest(own)}
                self._count("digest_only", 1)
        else:
            paid = self._budget.spend(client, ID_FILE_BYTES + ROW_FILE_BYTES)
        if not paid:
            self._count("over_budget", 1)
            return
        size = sum(map(len, columns.values()))
        self._answers.add(key, lambda: self._row(loaded, prepared, prices) | columns, request_id, size)
        if self._answers.fills_fast:
            self._wake.set()

    def _row(self, loaded: "LoadedRelease", prepared: "PreparedRequest", prices: Prices) -> Row:
        return row_of(loaded, prepared, prices, dt.datetime.fromtimestamp(self._clock(), dt.UTC))

    def _run(self) -> None:
        while True:
            self._wake.wait(self._settings.flush_every_s)
            if self._stop.is_set():
                return
            self._wake.clear()
            self.flush()

    def _count(self, outcome: str, number: int) -> None:
        self.counts[outcome] += number
        self._metric.inc(number, tags={"outcome": outcome})


class DayBudget:
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

    def spend(self, client: str, size: float, *, share: float = 1.0) -> bool:
        """Charge ``size`` bytes to a client; False if it would exceed a ``share`` of its budget."""
        if (day := int(self._clock() // DAY_S)) != self._day:
            self._day, self._spent, self._warned = day, {}, set()
        if client not in self._spent and len(self._spent) >= MAX_CLIENTS:
            client = "others"
        spent = self._spent.get(client, 0.0) + size
        if spent <= share * self._client_bytes:
            self._spent[client] = spent
            return True
        if client not in self._warned:
            self._warned.add(client)
            log.warning("log budget of the day exceeded: further receipts are incomplete client=%s", client)
        return False
