"""Load ``nsecast serve`` and plain FastAPI + uvicorn applications over the same release (`plain_apps`).

    python bench/serve_load.py --home DIR [--seconds 8] [--brief] [--wrk PATH]

Needs a release in production. All servers answer the same request (a stock's next price from the release's
own window) from the same bundles on the same machine, one after the other; the load generator (`load`: wrk
if it is installed) shares the machine. Ours is measured twice: ``computed``, with the forecast cache off
so that a model computes every answer, and ``remembered``, with the settings of ``nsecast serve`` as shipped
(access log, receipts and cache on; on loopback without keys there is no rate limit). ``plain`` is Keras
`model.predict` in one process, ``onnx`` ONNX Runtime in two. ``--brief``: only requests for all stocks in
turn. Prints one JSON document.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import machine
from load import generator, load

sys.path.insert(0, str(machine.ROOT))

from cluster.connect.ports import descendants, free_port
from common.release.registry import Registry
from common.release.released_models import ReleasedModels

PLAIN = {"plain": ("keras", 1), "onnx": ("onnx", 2)}
"""Kind of app and uvicorn workers."""
START_S = 240


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--wrk", default="wrk")
    parser.add_argument("--haproxy", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--brief", action="store_true", help="mixed traffic only")
    args = parser.parse_args()
    models = ReleasedModels(Registry(args.home).open("production"))
    able = [symbol for symbol in models.universe.symbols if _can(models, symbol)]
    own = [symbol for symbol in able if symbol in models.models.own]
    traffic = {
        "specific": own,
        "general": [symbol for symbol in able if symbol not in own],
        "mixed": able,
        "hot": ["SCOM"] * 9 + able[:1] if "SCOM" in own else own[:1],
    }
    if args.brief:
        traffic = {"mixed": able}
    document: dict[str, Any] = {
        "machine": machine.facts(),
        "release": models.release.id,
        "generator": generator(args.wrk),
        "seconds": args.seconds,
    }
    with _served(args.home, args.haproxy, forecasts_remembered=0, downscale_delay_s=10) as (url, pid):
        document["computed"] = {
            name: _loads(args, url, "/api/v4/predict", symbols)
            for name, symbols in traffic.items()
            if symbols
        }
        if not args.brief:
            document["cold_ms"] = _cold(url, own[:10] or able[:10])
            document["autoscaling"] = _autoscaling(args, url, own or able)
        document["rss_mb"] = _memory(pid)
    print(json.dumps(document), file=sys.stderr)
    with _served(args.home, args.haproxy) as (url, pid):
        document["remembered"] = {"mixed": _loads(args, url, "/api/v4/predict", traffic["mixed"])}
        document["rss_mb"]["Router, remembering"] = _memory(pid)["Router"]
    for name, (kind, workers) in PLAIN.items():
        with _plain(args.home, kind, workers) as url:
            document[name] = {"mixed": _loads(args, url, "/predict", traffic["mixed"])}
        theirs = max(document[name]["mixed"]["32"]["per_s"], 1e-9)
        document[f"times_the_{name}_app"] = {
            mode: round(document[mode]["mixed"]["32"]["per_s"] / theirs, 1)
            for mode in ("computed", "remembered")
        }
    print(json.dumps(document, indent=1))


def _can(models: ReleasedModels, symbol: str) -> bool:
    return symbol in models.panel.symbols and len(models.panel.history(symbol)) >= models.models.window.size


def _loads(args: argparse.Namespace, url: str, path: str, symbols: list[str]) -> dict[str, Any]:
    load(args.wrk, url, path, symbols, connections=2, seconds=2)
    return {str(n): load(args.wrk, url, path, symbols, n, args.seconds) for n in (1, 32)}


@contextmanager
def _served(home: Path, haproxy: bool, **settings: float) -> Any:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        switch = "--haproxy" if haproxy else "--no-haproxy"
        command = ["nsecast", "serve", "--no-train", switch, "--port", str(port)]
        if settings:
            path = Path(folder) / "settings.json"
            path.write_text(json.dumps(settings))
            command += ["--settings", str(path)]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--home", str(home)], cwd=machine.ROOT, stdout=sys.stderr
        )
        try:
            _wait(f"http://127.0.0.1:{port}/readyz", process)
            time.sleep(3)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(120)


@contextmanager
def _plain(home: Path, kind: str, workers: int) -> Any:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("plain_apps.py")), kind, "--home", str(home)]
    command += ["--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/readyz", process)
        _all_there(f"http://127.0.0.1:{port}/readyz", workers)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):  # it did not start
            os.killpg(process.pid, signal.SIGKILL)  # else it answers abandoned requests for minutes
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise SystemExit(f"{url} is not there")


def _all_there(url: str, workers: int) -> None:
    """Wait until each worker has answered; what still starts would slow down the others."""
    seen: set[int] = set()
    deadline = time.monotonic() + START_S
    while len(seen) < workers:
        if time.monotonic() > deadline:
            raise SystemExit(f"{url}: {len(seen)} of {workers} workers are there")
        seen.add(httpx.get(url, timeout=5).json()["pid"])


def _cold(url: str, symbols: list[str]) -> dict[str, float]:
    """Median time of an answer whose model has to be loaded first, and of the next one."""
    took: dict[bool, list[float]] = {False: [], True: []}
    with httpx.Client(base_url=url, timeout=30) as client:
        for symbol in symbols:
            client.post("/api/v4/cache/clear")
            for _ in range(2):
                start = time.perf_counter()
                answer = client.post("/api/v4/predict", json={"symbol": symbol}).json()
                took[answer["cached"]].append(1e3 * (time.perf_counter() - start))
    return {
        name: round(statistics.median(took[cached]), 2)
        for name, cached in (("cold", False), ("warm", True))
        if took[cached]
    }


def _replicas(url: str) -> int:
    replicas = httpx.get(f"{url}/api/v4/stats", timeout=30).json()["replicas"]
    return sum(replica["tier"] == "stock_specific" for replica in replicas)


def _autoscaling(args: argparse.Namespace, url: str, symbols: list[str]) -> dict[str, Any]:
    """Replicas of the pool over time: at rest, under 32 connections, at rest again."""
    seen, start = [], time.monotonic()

    def look(until: float, enough: Any) -> None:
        while time.monotonic() < until:
            count = _replicas(url)
            if not seen or seen[-1][1] != count:
                seen.append((round(time.monotonic() - start, 1), count))
            if enough(count):
                return
            time.sleep(1)

    look(time.monotonic() + 60, lambda count: count == 1)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, args.wrk, url, "/api/v4/predict", symbols, 32, 40)
        look(time.monotonic() + 40, lambda count: loading.done())
        result = loading.result()
    look(time.monotonic() + 90, lambda count: count == 1)
    return {"seconds_and_replicas": seen, "not_2xx": result["not_2xx"]}


def _memory(pid: int) -> dict[str, float]:
    """Largest resident memory by kind of process."""
    results: dict[str, float] = {}
    for descendant in descendants(pid):
        try:
            name = Path(f"/proc/{descendant}/cmdline").read_bytes().split(b"\0")[0].decode()
            kb = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{descendant}/status").read_text())
        except OSError:
            continue
        if kb and "ServeReplica" in name:
            kind = name.rpartition(":")[2]
            results[kind] = max(results.get(kind, 0), round(int(kb[1]) / 1024, 1))
    return results


if __name__ == "__main__":
    main()
