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
    that no client displaces the receipts of others; beyond it requests are not recorded.
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
from typing import TYPE_CHECKING

from cluster.connect.code_package import digest
from common import storage
from common.forecast.conformal import LEVELS
from common.forecast.prices import Prices
from common.release.manifest import MANIFEST, Release, read_json
from serve.audit.files import BOUNDS, FORM
from serve.audit.log import ClientBudget, DayLog, Row
from serve.inference.response import probability_fields
from serve.schemas.fields import MIN_PRICES
from serve.schemas.forecast import PredictRequest
from serve.settings import LedgerSettings

if TYPE_CHECKING:
    from serve.inference.loaded_release import LoadedRelease, PreparedRequest

log = logging.getLogger(__name__)
SERVED, ANSWERS = "served", "answers"
MAX_KEYS = 100_000
"""Forecasts that a router remembers as written; beyond, it starts over, and some are written twice."""
ID_FILE_BYTES, ROW_FILE_BYTES, CHARACTER_FILE_BYTES = 20, 150, 0.4
"""Approximate size in a file of a request id, of a row and of a character of `prices_text`, charged to a
client's budget."""
OUTCOMES = ("written", "lost", "failures", "days_dropped", "over_budget")
"""Rows written and lost, failed writes, days deleted; responses not recorded since their client's budget was
spent."""
PACKAGES = ("nsecast", "numpy", "onnxruntime", "ray")
_DIGESTS: dict[tuple[str, str], str] = {}


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
        self._budget = ClientBudget(settings.answers_client_bytes / routers, clock)
        self._written: set[tuple[str, str, int]] = set()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
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
        request, own = prepared.request, None
        key: tuple[Hashable, ...] = (prepared.key, request.symbol, prepared.position, request.as_of)
        cost = ID_FILE_BYTES + ROW_FILE_BYTES
        if request.has_prices:
            own = prices_text(request, loaded.spec.size)
            key = (*key, own, prepared.windows.cutoff[0].item())
            cost += int(CHARACTER_FILE_BYTES * len(own))
        if self._answers.holds(key):
            cost = ID_FILE_BYTES
        if not self._budget.spend(client, cost):
            self._count("over_budget", 1)
            return
        self._answers.add(key, lambda: self._row(loaded, prepared, prices, own), request_id, len(own or ""))

    def _row(
        self, loaded: "LoadedRelease", prepared: "PreparedRequest", prices: Prices, own: str | None = None
    ) -> Row:
        """Return the columns of `serve.audit.files.SCHEMA` for a forecast that is served now, without ids.

        Parameters
        ----------
        prices : of ``prepared.windows``
        own : the request's prices, see `prices_text`
        """
        position, cutoff = prepared.position, prepared.windows.cutoff[0]
        horizon = loaded.spec.horizons[position]
        bounds = [
            float(side[0, position, level])
            for level in range(len(LEVELS))
            for side in (prices.low, prices.high)
        ]
        return {
            "release": loaded.release.id,
            "preset": loaded.preset,
            "symbol": prepared.route.symbol,
            "horizon": horizon,
            "cutoff": cutoff.item(),
            "target_date": loaded.history.sessions.ahead(cutoff, horizon),
            "last_price": float(prices.last[0]),
            "raw": float(prices.raw[0, position]),
            "published": float(prices.published[0, position]),
            **dict(zip(BOUNDS, bounds, strict=True)),
            "p_move": float(prices.p_move[0, position]),
            "frozen": bool(prices.frozen[0]),
            "source": "model" if prices.by_model[0, position] else "last_price",
            "model_type": prepared.route.model_type,
            "served_at": dt.datetime.fromtimestamp(self._clock(), dt.UTC),
            "as_of": prepared.request.as_of,
            "brought": own,
            "release_digest": manifest_digest(loaded.release),
            "software": software(),
            "request_ids": [],
            "form": FORM,
            **probability_fields(prices, position),
            "expected_change_percent": float(prices.expected_change_percent[0, position]),
        }

    def _run(self) -> None:
        while not self._stop.wait(self._settings.flush_every_s):
            self.flush()

    def _count(self, outcome: str, number: int) -> None:
        self.counts[outcome] += number
        self._metric.inc(number, tags={"outcome": outcome})


def prices_text(request: PredictRequest, size: int) -> str:
    """Return the prices of a request that a window of ``size`` sessions uses, as compact JSON.

    ``recent_prices`` or ``recent_bars``, and ``allow_unknown``, in the order of the API's schema.
    """
    count = max(size, MIN_PRICES)
    prices = {
        name: (getattr(request, name) or [])[-count:] or None for name in ("recent_prices", "recent_bars")
    }
    short = request.model_copy(update=prices)
    values = short.model_dump(mode="json", include={*prices, "allow_unknown"}, exclude_none=True)
    return json.dumps(values, separators=(",", ":"))


def manifest_digest(release: Release) -> str:
    """Return the digest in a release's manifest, which covers every file; cached."""
    key = (str(release.path), release.created.isoformat())
    if key not in _DIGESTS:
        _DIGESTS[key] = str(read_json(release.path / MANIFEST)["digest"])
    return _DIGESTS[key]


@cache
def software() -> str:
    """Return the versions of the software that computes a forecast, as JSON."""
    versions = {"python": platform.python_version(), "machine": platform.machine(), "code": digest()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return json.dumps(versions, sort_keys=True)
