"""Faults of a server under load; each scenario gives one row."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.chaos.load import STREAK, Load, Tally
from bench.chaos.result import Row, note, row_of
from bench.chaos.server import REPLICAS, Server
from bench.chaos.traffic import Traffic
from common.release.registry import Registry

RECOVERS_S, FOLLOWS_S = 60.0, 60.0
"""Wide, for a busy machine: how long a service may take to answer again, or to take up a release."""
GROWTH = 0.05
"""Most that memory may grow over the second half of a soak."""
SAMPLE_S = 2.0
REACHED = 0.8
"""Share of the intended overload that must be sent for a verdict."""
CLIENTS = 12
ALWAYS_PER_S = 500.0
"""So many that another request is sent as soon as one is answered."""


@dataclass
class Bench:
    """A server, what to ask it, and how fast."""

    server: Server
    home: Path
    releases: tuple[str, str]
    per_s: float = 50.0
    rng: random.Random = field(default_factory=lambda: random.Random(11))  # nosec B311 # no secret

    def __post_init__(self) -> None:
        self.traffic = Traffic(self.home, self.releases)

    def load(self) -> Load:
        return Load(self.server.url, self.traffic, self.per_s)


def steady(bench: Bench, seconds: float, *, name: str = "steady", soak: bool = False) -> Row:
    """Mixed requests at a steady rate and nothing else: none may fail; ``soak``: nor may memory grow."""
    samples: list[dict[str, float]] = []
    with bench.load() as load:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(SAMPLE_S, max(0.0, until - time.monotonic())))
            samples.append(bench.server.memory_mb())
            note(f"{name}: {len(load.tally.requests):,} requests, {load.tally.failed} failed")
    tally, grown = load.tally, growth(samples)
    changes = ", ".join(f"{kind} {100 * share:+.1f} %" for kind, share in grown.items())
    times = f"p50 {tally.quantile_ms(0.5)} ms, p99 {tally.quantile_ms(0.99)} ms"
    passed = tally.failed == 0 and (not soak or max(grown.values(), default=0.0) < GROWTH)
    return row_of(
        tally,
        name,
        f"{bench.per_s:g} req/s mixed for {seconds:g} s",
        passed,
        note=f"{times}; memory, second half: {changes}",
    )


def growth(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """Growth of each kind's memory over the second half: medians of its first and its last third."""
    half = samples[len(samples) // 2 :]
    third = max(1, len(half) // 3)
    results = {}
    for kind in REPLICAS:
        series = np.array([sample.get(kind, 0.0) for sample in half])
        if len(series) and (before := float(np.median(series[:third]))) > 0:
            results[kind] = float(np.median(series[-third:])) / before - 1
    return results


def killed(bench: Bench, kinds: Sequence[str], times: int, *, name: str, retried: bool = True) -> Row:
    """End processes of these kinds one after the other, each once the one before has been replaced.

    ``retried``: no request may fail a second time. Else (there is one, and nothing answers without it) it
    only has to be there again.
    """
    slowest, back = 0.0, True
    with bench.load() as load:
        _sure(load.tally, time.monotonic())
        for number in range(times):
            kind = kinds[number % len(kinds)]
            there = max(1, len(bench.server.ready(kind)))
            at = time.monotonic()
            pid = bench.server.kill(kind, bench.rng)
            note(f"{name}: {number + 1} of {times}, {kind} {pid} ended")
            recovery = recovered(load.tally, at)
            back = back and recovery is not None and bench.server.wait_for(kind, there)
            slowest = max(slowest, RECOVERS_S if recovery is None else recovery)
        _sure(load.tally, time.monotonic())
    passed = back and (load.tally.failed_twice == 0 or not retried)
    did = f"kill -9 x {times} ({', '.join(kinds[:times])})"
    return row_of(load.tally, name, did, passed, recovery_s=slowest)


def reloaded(bench: Bench, times: int) -> Row:
    """Promote two releases in turn under load: no request may fail, and each answer is of one release."""
    slowest, taken = 0.0, True
    with bench.load() as load:
        for number in range(times):
            wanted = bench.releases[(number + 1) % 2]
            took = promoted(bench, load.tally, wanted)
            taken, slowest = taken and took is not None, max(slowest, took or 0.0)
            note(f"reload: {number + 1} of {times}, {wanted} serves")
    Registry(bench.home).promote(bench.releases[0])
    text = f"all answers of the new release within {slowest} s of promoting" if taken else "not taken up"
    return row_of(
        load.tally, "reload", f"promoted x {times} under load", taken and load.tally.failed == 0, note=text
    )


def promoted(bench: Bench, tally: Tally, release: str) -> float | None:
    """Promote a release under load; seconds until all answers are of it, None if that takes too long."""
    at = time.monotonic()
    Registry(bench.home).promote(release)
    taken = _until(lambda: _only(tally, release), FOLLOWS_S)
    return round(time.monotonic() - at, 2) if taken else None


def overloaded(bench: Bench, seconds: float, *, times: float = 5.0, most: float = 400.0) -> Row:
    """Several times what it can do: only 200, 429 and 503 with Retry-After, and soon well again."""
    able = capacity(bench, min(10.0, seconds))
    rate = min(times * able, most)
    note(f"overload: {able:.0f} batches/s are possible; {rate:.0f}/s are sent")
    heavy = Load(bench.server.url, bench.traffic, rate, asks=bench.traffic.heavy(), again=False, most=2_000)
    with heavy:
        begun = time.monotonic()
        time.sleep(seconds)
        over = time.monotonic()
        sent_s = over - begun
        heavy.stop()
        with bench.load() as after:
            recovery = recovered(after.tally, over)
    tally = heavy.tally
    only = set(tally.statuses) <= {"200", "429", "503"} and tally.bare == 0 and recovery is not None
    sent = (len(tally.requests) + tally.unsent) / sent_s
    did = f"{able:.0f} batches of 20 a second are possible, {sent:.0f} a second were sent for {seconds:g} s"
    text = (
        f"{sent / able if able else 0:.1f} times what it can do; {tally.bare} without Retry-After; "
        f"p99 of good answers {tally.quantile_ms(0.99)} ms"
    )
    row = row_of(tally, "overload", did, only, note=text, recovery_s=recovery)
    others = sum(count for status, count in row.statuses.items() if status not in ("200", "429", "503"))
    row = replace(row, failed=others + tally.bare, failed_twice=None)
    if row.passed and sent < REACHED * times * able:  # the load has no CPU to spare: that proves nothing
        return replace(row, passed=None, note=f"not {times:g} times, which needs more CPUs: {row.note}")
    return row


def capacity(bench: Bench, seconds: float) -> float:
    """Good answers a second to ``CLIENTS`` requests that are always under way."""
    heavy = bench.traffic.heavy()
    with Load(bench.server.url, bench.traffic, ALWAYS_PER_S, asks=heavy, again=False, most=CLIENTS) as load:
        time.sleep(seconds)
        load.stop()
    ends = sorted(request.begun + request.took_s for request in load.tally.requests if request.status == 200)
    return (len(ends) - 1) / (ends[-1] - ends[0]) if len(ends) > 1 else 0.0


def _only(tally: Tally, release: str, count: int = STREAK) -> bool:
    newest = tally.newest(count)
    return len(newest) >= count // 2 and set(newest) == {release}


def _sure(tally: Tally, since: float) -> bool:
    """Wait for a streak of good answers; whether there was one."""
    return _until(lambda: tally.recovery_s(since) is not None, RECOVERS_S)


def recovered(tally: Tally, since: float) -> float | None:
    _sure(tally, since)
    return tally.recovery_s(since)


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
