"""Bad input in bulk: hostile requests, connections that say nothing, and a line of a gigabyte.

    python bench/hostile.py [--cases N] [--line-mb N] [--connections N [--seconds S] --home DIR] [--json]

``--cases``: so many hostile requests, drawn by Hypothesis, to the whole application in this process over a
made release. An answer may be a refusal with problem+json that says what to send, or sound: finite numbers,
positive prices. ``--line-mb``: an archive with one line of that length, read in a process of its own.
``--connections``: so many slow clients of each kind on a real ``nsecast serve`` over a copy of the release in
production below ``--home``, with HAProxy and without, while somebody asks five times a second: by himself
first, then beside them. Exit code 1 if a claim does not hold.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import machine
from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(machine.ROOT))
sys.path.insert(0, str(machine.ROOT / "tests"))

from support.archive import NEW_HEADER, market, price_line, weekdays
from support.slow import KINDS, descriptors, slow_clients

from bench.chaos.home import copied
from bench.chaos.server import Server, served
from common.archive.reader import LONG_LINE, read_archive
from common.release.registry import Registry

ALONE_S, BACK_S = 5.0, 15.0
PER_S = 5.0
GROWS_MB = 16
"""Most that a line of any length may add to the memory of who reads it."""
ONE_OF_EACH = {"routers": 1, "general_replicas": 1, "specific_min": 1, "specific_max": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--line-mb", type=int, default=0)
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--haproxy", action=argparse.BooleanOptionalAction, help="default: with and without")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    asked = parser.parse_args()
    if not (asked.cases or asked.line_mb or asked.connections):
        parser.error("give --cases, --line-mb or --connections")
    if asked.connections and not asked.home:
        parser.error("--connections needs --home")
    document: dict[str, Any] = {"machine": machine.facts()}
    if asked.line_mb:
        document["line"] = machine.apart(read_line, asked.line_mb, limit=600)
    if asked.cases:
        document["cases"] = ask_cases(asked.cases)
    if asked.connections:
        fronts = (True, False) if asked.haproxy is None else (asked.haproxy,)
        document["connections"] = [row for front in fronts for row in hold(asked, haproxy=front)]
    print(json.dumps(document, indent=1) if asked.json else as_text(document))
    raise SystemExit(any(not row["holds"] for row in rows_of(document)))


def rows_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    alone = [document[part] for part in ("line", "cases") if part in document]
    return alone + document.get("connections", [])


def as_text(document: dict[str, Any]) -> str:
    lines = [machine.header(document["machine"])]
    lines += [", ".join(f"{name} {value}" for name, value in row.items()) for row in rows_of(document)]
    return "\n".join(lines)


def read_line(megabytes: int) -> dict[str, Any]:
    """Read an archive in which one line is zeros, as many as that."""
    lines = [price_line(row).encode() for row in market(weekdays("2023-01-04", 5)).itertuples()]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "NSE_data_all_stocks_2023.csv"
        path.write_bytes(b"\n".join([NEW_HEADER.encode(), *lines]) + b"\n")
        read_archive(path.parent)
        before = _peak_mb()
        with path.open("ab") as file:
            file.truncate(path.stat().st_size + megabytes * 1_000_000)  # takes no room on disk
        with path.open("ab") as file:
            file.write(b"\n" + lines[0] + b"\n")
        started = time.perf_counter()
        archive = read_archive(path.parent)
        seconds = time.perf_counter() - started
    reasons = archive.ledger["reason"].tolist()
    grown = _peak_mb() - before
    holds = grown < GROWS_MB and len(archive.rows) == len(lines) and reasons[0] == LONG_LINE
    found = {"line_mb": megabytes, "seconds": round(seconds, 1), "memory_grown_mb": round(grown, 1)}
    return found | {"rows": len(archive.rows), "ledger": reasons, "holds": holds}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def ask_cases(count: int) -> dict[str, Any]:
    """So many hostile requests to the application in this process."""
    from support.hostile import Case, application, cases, problem_with

    statuses: Counter[int] = Counter()
    problems: list[str] = []
    took: list[float] = []
    with application() as made:

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases(made.paths))
        def ask(case: Case) -> None:
            started = time.perf_counter()
            answer = made.ask(case)
            took.append(time.perf_counter() - started)
            statuses[answer.status_code] += 1
            if said := problem_with(answer):
                problems.append(f"{said} {case!r:.500}")

        started = time.perf_counter()
        ask()
        seconds = time.perf_counter() - started
    found = {"cases": sum(statuses.values()), "statuses": dict(sorted(statuses.items()))}
    found |= {"seconds": round(seconds, 1), "slowest_ms": round(1e3 * max(took), 1)}
    return found | {"wrong": len(problems), "such_as": problems[:10], "holds": not problems}


def hold(asked: argparse.Namespace, *, haproxy: bool) -> list[dict[str, Any]]:
    """A row for each kind of slow client, on one server."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, asked.connections + 1024), hard))
    with tempfile.TemporaryDirectory(prefix="nse-hostile-") as name:
        home = Path(name)
        release = copied(Registry(asked.home).open("production"), home, "one")
        Registry(home).promote(release.id)
        with served(home, haproxy=haproxy, settings=ONE_OF_EACH) as server:
            steadily(server.url, ALONE_S)
            return [
                {"front": "haproxy" if haproxy else "uvicorn", "kind": kind} | beside(server, kind, asked)
                for kind in KINDS
            ]


def beside(server: Server, kind: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Somebody's requests alone, then beside slow clients; what became of both."""
    alone, _ = steadily(server.url, ALONE_S)
    before = descriptors(server.pids())
    with slow_clients(server.url, {kind: asked.connections}) as held:
        took, failed = steadily(server.url, ALONE_S)
        most = descriptors(server.pids())
        more, failed_later = steadily(server.url, asked.seconds - ALONE_S)
        took, failed = took + more, failed + failed_later
        slow = held[kind]
        left = len(slow.open)
        ended = sorted(slow.ended_s)
    deadline = time.monotonic() + BACK_S
    while (after := descriptors(server.pids())) > before + 20 and time.monotonic() < deadline:
        time.sleep(0.5)
    return {
        "connections": asked.connections - slow.refused,
        "asked": len(took),
        "failed": failed,
        "alone_p50_ms": _ms(alone, 50),
        "alone_p99_ms": _ms(alone, 99),
        "p50_ms": _ms(took, 50),
        "p99_ms": _ms(took, 99),
        "still_open": left,
        "ended_after_s": [round(ended[0], 1), round(ended[-1], 1)] if ended else None,
        "said": {line: count for line, count in slow.said.items() if count},
        "descriptors": [before, most, after],
        "holds": not failed and not left and after <= before + 20,
    }


def steadily(url: str, seconds: float) -> tuple[list[float], int]:
    """Seconds of each of five requests a second, every one on a connection of its own; how many failed."""
    took, failed, started = [], 0, time.monotonic()
    while (begun := time.monotonic()) < started + seconds:
        try:
            failed += (
                httpx.post(f"{url}/api/v4/predict", json={"symbol": "SCOM"}, timeout=15).status_code != 200
            )
        except httpx.HTTPError:
            failed += 1
        took.append(time.monotonic() - begun)
        time.sleep(max(0.0, started + len(took) / PER_S - time.monotonic()))
    return took, failed


def _ms(seconds: list[float], percent: int) -> float:
    return round(1e3 * statistics.quantiles(seconds, n=100)[percent - 1], 1)


if __name__ == "__main__":
    main()
