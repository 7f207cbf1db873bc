"""Load on ``nsecast serve`` beside a plain FastAPI + uvicorn app that calls Keras ``model.predict``.

    python bench/serve_load.py --home DIR [--seconds 8] [--wrk PATH]

Needs wrk and a release in production. Both servers answer the same question (a stock's next price from the
release's own window) from the same bundles on the same machine, one after the other; the load generator runs
beside them. Ours is measured twice: ``computed``, with its memory of forecasts switched off so that every
answer is computed by a model, and ``remembered``, as it is shipped. Prints one JSON document.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import machine

sys.path.insert(0, str(machine.ROOT))

from common.model.registry import Registry
from common.model.released import ReleasedModels
from serve.ports import descendants, free_port

SCRIPT = """
local symbols = {%s}
local at = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  at = at %% #symbols + 1
  return wrk.format(nil, "%s", nil, '{"symbol": "' .. symbols[at] .. '"}')
end
"""
START_S = 240
SETTLE_S = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--wrk", default="wrk")
    parser.add_argument("--haproxy", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--plain-port", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.plain_port:
        _plain_app(asked.home, asked.plain_port)
        return
    models = ReleasedModels(Registry(asked.home).open("production"))
    able = [symbol for symbol in models.universe.symbols if _can(models, symbol)]
    own = [symbol for symbol in able if symbol in models.models.own]
    traffic = {
        "specific": own,
        "general": [symbol for symbol in able if symbol not in own],
        "mixed": able,
        "hot": ["SCOM"] * 9 + able[:1] if "SCOM" in own else own[:1],
    }
    document: dict[str, Any] = {"machine": machine.facts(), "release": models.release.id}
    with _served(asked.home, asked.haproxy, remembered=0) as (url, pid):
        document["computed"] = {
            name: _loads(asked, url, "/api/v4/predict", symbols)
            for name, symbols in traffic.items()
            if symbols
        }
        document["cold_ms"] = _cold(url, own[:10] or able[:10])
        document["autoscaling"] = _autoscaling(asked, url, own or able)
        document["rss_mb"] = _memory(url, pid)
    print(json.dumps(document), file=sys.stderr)
    with _served(asked.home, asked.haproxy) as (url, pid):
        document["remembered"] = {"mixed": _loads(asked, url, "/api/v4/predict", traffic["mixed"])}
        document["rss_mb"]["Router, remembering"] = _memory(url, pid)["Router"]
    with _plain(asked.home) as url:
        document["plain"] = {"mixed": _loads(asked, url, "/predict", traffic["mixed"])}
    theirs = max(document["plain"]["mixed"]["32"]["per_s"], 1e-9)
    document["times_the_plain_app"] = {
        name: round(document[name]["mixed"]["32"]["per_s"] / theirs, 1) for name in ("computed", "remembered")
    }
    print(json.dumps(document, indent=1))


def _can(models: ReleasedModels, symbol: str) -> bool:
    return symbol in models.panel.symbols and len(models.panel.history(symbol)) >= models.models.window.size


def _loads(asked: argparse.Namespace, url: str, path: str, symbols: list[str]) -> dict[str, Any]:
    _wrk(asked.wrk, url, path, symbols, connections=2, seconds=2)
    return {str(n): _wrk(asked.wrk, url, path, symbols, n, asked.seconds) for n in (1, 32)}


def _wrk(wrk: str, url: str, path: str, symbols: list[str], connections: int, seconds: int) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (", ".join(f'"{symbol}"' for symbol in symbols), path))
        script.flush()
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "15s", "--latency"]
        out = subprocess.run(
            [*command, "-s", script.name, url],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 60,
        ).stdout

    def found(pattern: str) -> str:
        match = re.search(pattern, out)
        return match[1] if match else ""

    return {
        "p50_ms": _ms(found(r"50%\s+(\S+)")),
        "p99_ms": _ms(found(r"99%\s+(\S+)")),
        "per_s": float(found(r"Requests/sec:\s+(\S+)") or 0),
        "not_2xx": int(found(r"Non-2xx or 3xx responses: (\d+)") or 0),
        "socket_errors": found(r"Socket errors: (.*)"),
    }


def _ms(text: str) -> float | None:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    return round(float(match[1]) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[match[2]], 2) if match else None


@contextmanager
def _served(home: Path, haproxy: bool, *, remembered: int | None = None) -> Any:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.json"
        own: dict[str, Any] = {
            "downscale_delay_s": 10,
            "limits": {"forecasts_per_minute": 0},
            "access_log": "off",
        }
        if remembered is not None:
            own["forecasts_remembered"] = remembered
        path.write_text(json.dumps(own))
        switch = "--haproxy" if haproxy else "--no-haproxy"
        command = ["nsecast", "serve", "--no-train", switch, "--port", str(port), "--settings", str(path)]
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
def _plain(home: Path) -> Any:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, __file__, "--home", str(home), "--plain-port", str(port)], stdout=sys.stderr
    )
    try:
        _wait(f"http://127.0.0.1:{port}/readyz", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


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
    return sum(each["tier"] == "stock_specific" for each in replicas)


def _autoscaling(asked: argparse.Namespace, url: str, symbols: list[str]) -> dict[str, Any]:
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
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (", ".join(f'"{symbol}"' for symbol in symbols), "/api/v4/predict"))
        script.flush()
        command = [asked.wrk, "-t1", "-c32", "-d40s", "--timeout", "15s", "-s", script.name, url]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        look(time.monotonic() + 40, lambda count: load.poll() is not None)
        out, _ = load.communicate(timeout=60)
    look(time.monotonic() + 90, lambda count: count == 1)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {"seconds_and_replicas": seen, "not_2xx": int(failed[1]) if failed else 0}


def _memory(url: str, pid: int) -> dict[str, float]:
    """Largest resident memory by kind of process."""
    found: dict[str, float] = {}
    for each in descendants(pid):
        try:
            name = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")[0].decode()
            kb = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{each}/status").read_text())
        except OSError:
            continue
        if kb and "ServeReplica" in name:
            kind = name.rpartition(":")[2]
            found[kind] = max(found.get(kind, 0), round(int(kb[1]) / 1024, 1))
    return found


def _plain_app(home: Path, port: int) -> None:
    """What the original system did: one process, Keras in it, ``model.predict`` for every request."""
    import keras
    import numpy as np
    import uvicorn
    from fastapi import Body, FastAPI

    from common.model.bundle import BundleFiles
    from serve.desk import Desk
    from serve.schemas import PredictRequest

    release = Registry(home).open("production")
    desk, models, networks = Desk(release), ReleasedModels(release), {}
    app = FastAPI()

    def network(job: str) -> keras.Model:
        if job not in networks:
            files = BundleFiles.of(desk.preset, job)
            path = release.path / files.folder / files.weights
            networks[job] = keras.models.load_model(path, compile=False)
        return networks[job]

    @app.post("/predict")
    def predict(body: dict[str, str] = Body()) -> dict[str, Any]:  # noqa: B008
        prepared = desk.prepare(PredictRequest(symbol=body["symbol"]))
        job = prepared.route.job
        forecaster = models.bundle(job).forecaster
        inputs = forecaster.representation.inputs(prepared.windows)
        ids = np.array([[forecaster.stock_ids.get(body["symbol"], 0)]], dtype=np.int32)
        outputs = network(job).predict([inputs, ids], verbose=0)
        prices = forecaster.prices(prepared.windows, outputs, prepared.asked)
        return {"symbol": body["symbol"], "prediction": float(prices.published[0, prepared.place])}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ok"}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
