"""Requests at a steady rate (an open loop); each response is checked, each failure retried once."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import httpx
import numpy as np

from bench.chaos.traffic import Ask, Traffic

TIMEOUT_S = 20.0
AGAIN_S, AGAIN_MOST_S = 0.5, 5.0
"""Before the second try: after no answer, and at most where ``Retry-After`` says when."""
REFUSED = (429, 503)
STREAK = 50
"""Good answers in a row after which a service counts as recovered."""
SHOWN = 5


@dataclass(frozen=True)
class SentRequest:
    """What became of one request."""

    begun: float
    took_s: float
    status: int
    """Of the first try; 0: no answer."""
    release: str | None
    last: int
    """Status of the last try."""


@dataclass
class Tally:
    """All requests so far; written only by the load."""

    requests: list[SentRequest] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What was wrong with answers of status 200, the first few."""
    wrongs: int = 0
    bare: int = 0
    """Refusals without ``Retry-After``."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why there was no answer, or the title of a problem."""
    unsent: int = 0
    """Not sent, because too many were under way."""

    @property
    def statuses(self) -> dict[str, int]:
        result = Counter(request.status for request in list(self.requests))
        return {str(status) if status else "none": result[status] for status in sorted(result)}

    @property
    def failed(self) -> int:
        """First tries without a 200."""
        return sum(request.status != 200 for request in list(self.requests))

    @property
    def failed_twice(self) -> int:
        return sum(request.last != 200 for request in list(self.requests))

    def per_s(self, window_s: float = 5.0) -> float:
        """Good answers a second, of late."""
        since = time.monotonic() - window_s
        return sum(
            request.status == 200 and request.begun + request.took_s > since
            for request in self.requests[-5_000:]
        ) / (window_s)

    def quantile_ms(self, share: float) -> float | None:
        """Of the time of good answers."""
        took = [request.took_s for request in list(self.requests) if request.status == 200]
        return round(1e3 * float(np.quantile(took, share)), 1) if took else None

    def recovery_s(self, since: float, *, streak: int = STREAK) -> float | None:
        """From ``since`` to the first of ``streak`` good answers in a row, in the order of the requests.

        None if there are none such. 0: the very first ones.
        """
        good, first = 0, since
        for request in sorted((item for item in list(self.requests) if item.begun >= since), key=_begun):
            if request.status != 200:
                good = 0
                continue
            first = request.begun if good == 0 else first
            good += 1
            if good == streak:
                return round(first - since, 2) if self._failed_between(since, first) else 0.0
        return None

    def _failed_between(self, since: float, until: float) -> bool:
        return any(
            request.status != 200 for request in list(self.requests) if since <= request.begun <= until
        )

    def newest(self, count: int) -> list[str | None]:
        """Releases of the last good answers, by when they came."""
        return [request.release for request in self.requests[-count:] if request.status == 200]


class Load(AbstractContextManager["Load"]):
    """So many requests a second from a thread of its own, inside a ``with`` block.

    Parameters
    ----------
    asks : what to ask, one after the other
    again : ask a second time what failed
    most : under way at once; more are not sent, and counted
    """

    def __init__(
        self,
        url: str,
        traffic: Traffic,
        per_s: float,
        *,
        asks: Iterable[Ask] | None = None,
        again: bool = True,
        most: int = 500,
    ) -> None:
        self.tally = Tally()
        self._url, self._traffic, self._per_s, self._again, self._most = url, traffic, per_s, again, most
        self._asks: Iterator[Ask] = iter(traffic.mixed() if asks is None else asks)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop sending; requests under way are finished."""
        self._over.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(2 * TIMEOUT_S + AGAIN_MOST_S + 5)

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        under_way: set[asyncio.Task[None]] = set()
        async with httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT_S, limits=limits) as client:
            begun, number = time.monotonic(), 0
            while not self._over.is_set():
                await asyncio.sleep(max(0.0, begun + number / self._per_s - time.monotonic()))
                number += 1
                if len(under_way) >= self._most:
                    self.tally.unsent += 1
                    continue
                task = asyncio.create_task(self._one(client, next(self._asks)))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            if under_way:
                await asyncio.wait(under_way, timeout=2 * TIMEOUT_S + AGAIN_MOST_S)

    async def _one(self, client: httpx.AsyncClient, ask: Ask) -> None:
        begun = time.monotonic()
        status, release, wait = await self._try(client, ask)
        took, last = time.monotonic() - begun, status
        if status != 200 and self._again:
            await asyncio.sleep(wait)
            last, _, _ = await self._try(client, ask)
        self.tally.requests.append(SentRequest(begun, took, status, release, last))

    async def _try(self, client: httpx.AsyncClient, ask: Ask) -> tuple[int, str | None, float]:
        """Status, release, and how long to wait before the next try."""
        try:
            answer = await client.post(ask.path, json=ask.body)
        except httpx.HTTPError as error:
            self.tally.reasons[type(error).__name__] += 1
            return 0, None, AGAIN_S
        if answer.status_code != 200:
            after = answer.headers.get("retry-after", "")
            self.tally.bare += answer.status_code in REFUSED and not after.isdigit()
            self.tally.reasons[f"{answer.status_code} {answer.text[:160]}"] += 1
            return answer.status_code, None, min(float(after), AGAIN_MOST_S) if after.isdigit() else AGAIN_S
        try:
            body = answer.json()
        except ValueError:
            body = None
        if reason := self._traffic.check(ask, body):
            self.tally.wrongs += 1
            self.tally.wrong = [*self.tally.wrong, reason][:SHOWN]
        return 200, body.get("release") if isinstance(body, dict) else None, 0.0


def _begun(request: SentRequest) -> float:
    return request.begun
