"""Load one address for some seconds, with wrk if it is installed, else with our own loop.

Both keep that many connections busy, each with one request after the other, and time every answer. Our loop
needs more CPU for the same load, which a server on the same machine then lacks: figures name the generator.
"""

import asyncio
import json
import math
import re
import shutil
import subprocess
import tempfile
import time
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

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
ANSWER_S = 15


def generator(wrk: str) -> str:
    """Which one `load` uses."""
    return "wrk" if shutil.which(wrk) else "asyncio"


def load(wrk: str, url: str, path: str, symbols: list[str], connections: int, seconds: int) -> dict[str, Any]:
    """Ask for each symbol in turn; ``p50_ms``, ``p99_ms``, ``per_s``, ``not_2xx`` and ``socket_errors``."""
    if generator(wrk) == "wrk":
        return _by_wrk(wrk, url, path, symbols, connections, seconds)
    return asyncio.run(_by_loop(url, path, symbols, connections, seconds))


def _by_wrk(
    wrk: str, url: str, path: str, symbols: list[str], connections: int, seconds: int
) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (", ".join(f'"{symbol}"' for symbol in symbols), path))
        script.flush()
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{ANSWER_S}s", "--latency"]
        out = subprocess.run(
            [*command, "-s", script.name, url],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 60,
        ).stdout

    def first_match(pattern: str) -> str:
        match = re.search(pattern, out)
        return match[1] if match else ""

    return {
        "p50_ms": _ms(first_match(r"\n\s+50%\s+(\S+)")),
        "p99_ms": _ms(first_match(r"\n\s+99%\s+(\S+)")),
        "per_s": float(first_match(r"Requests/sec:\s+(\S+)") or 0),
        "not_2xx": int(first_match(r"Non-2xx or 3xx responses: (\d+)") or 0),
        "socket_errors": first_match(r"Socket errors: (.*)"),
    }


def _ms(text: str) -> float | None:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    return round(float(match[1]) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[match[2]], 2) if match else None


async def _by_loop(url: str, path: str, symbols: list[str], connections: int, seconds: int) -> dict[str, Any]:
    host = urlsplit(url).netloc
    bodies = [json.dumps({"symbol": symbol}).encode() for symbol in symbols]
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
    requests = cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
    took: list[float] = []
    failed = {"not_2xx": 0, "socket": 0}
    name, _, port = host.partition(":")
    until = time.monotonic() + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(name, int(port))
        try:
            while time.monotonic() < until:
                begun = time.perf_counter()
                writer.write(next(requests))
                status = await _answer(reader)
                took.append(1e3 * (time.perf_counter() - begun))
                failed["not_2xx"] += not 200 <= status < 300
        finally:
            writer.close()

    async def keep_asking() -> None:
        while time.monotonic() < until:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + seconds + ANSWER_S):
                    await ask()
            except (OSError, TimeoutError, EOFError):
                failed["socket"] += 1
                await asyncio.sleep(0.1)

    begun = time.monotonic()
    await asyncio.gather(*(keep_asking() for _ in range(connections)))
    took.sort()
    return {
        "p50_ms": _share(took, 0.5),
        "p99_ms": _share(took, 0.99),
        "per_s": round(len(took) / (time.monotonic() - begun), 2),
        "not_2xx": failed["not_2xx"],
        "socket_errors": f"{failed['socket']}" if failed["socket"] else "",
    }


async def _answer(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, whose body is read and forgotten."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"(?i)content-length: *(\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(head.split(" ", 2)[1])


def _share(ordered: list[float], share: float) -> float | None:
    return round(ordered[math.ceil(share * len(ordered)) - 1], 2) if ordered else None
