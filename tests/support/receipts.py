"""Answers that were served over HTTP, and the commands that make receipts of them."""

import json
import random
from pathlib import Path
from typing import Any

import httpx
from click.testing import Result
from typer.testing import CliRunner

import nsecast
from common.release.registry import Registry
from serve.settings import LedgerSettings
from support.loaded_release import SETTINGS
from support.release import made_release
from support.server import serving

RNG = random.Random(3)
CLOSES = [round(40 + RNG.gauss(0, 2), 2) for _ in range(90)]
BARS = [
    {"close": close, "high": round(close * 1.01, 2), "low": close, "volume": 1000 + place}
    for place, close in enumerate(CLOSES)
]
DATED = [bar | {"date": f"2022-{1 + n // 28:02}-{1 + n % 28:02}"} for n, bar in enumerate(BARS[:70])]
BODIES = {
    "own": {"symbol": "MOVES", "horizon": "5d"},
    "own-again": {"symbol": "MOVES", "horizon": "5d"},
    "general": {"symbol": "THIN", "horizon": "1d"},
    "frozen": {"symbol": "FROZEN", "horizon": "10d"},
    "past": {"symbol": "MOVES", "horizon": "1d", "as_of": "2022-02-01"},
    "prices": {"symbol": "MOVES", "horizon": "1d", "recent_prices": CLOSES},
    "prices-as-of": {"symbol": "THIN", "recent_prices": CLOSES, "as_of": "2022-02-01"},
    "bars": {"symbol": "MOVES", "horizon": "30d", "recent_bars": BARS},
    "bars-dated": {"symbol": "SPLITS", "horizon": "1d", "recent_bars": DATED},
    "stranger": {"symbol": "NEWCO", "recent_prices": CLOSES, "allow_unknown": True},
}

BATCH = {"symbols": ["MOVES", "THIN"], "recent_prices": {"THIN": CLOSES}}
IDS = "ids.json"


def asked(home: Path) -> dict[str, Any]:
    """Serve a release from ``home`` and ask for all ``BODIES``, a batch and an outlook; answers by name."""
    made_release(home, **SETTINGS)
    Registry(home).promote("made")
    answers, ids = {}, {}
    settings = LedgerSettings(flush_every_s=3600)
    with serving(home, served=settings) as url, httpx.Client(base_url=f"{url}/api/v4", timeout=60) as client:

        def ask(name: str, method: str, path: str, **more: Any) -> None:
            answer = client.request(method, path, headers={"X-Request-ID": name}, **more)
            assert answer.status_code == 200, answer.text
            answers[name], ids[name] = answer.json(), answer.headers["X-Request-ID"]
            assert answer.headers["X-Correlation-ID"] == name

        for name, body in BODIES.items():
            ask(name, "POST", "/predict", json=body)
        ask("batch", "POST", "/predict/batch", json=BATCH)
        ask("outlook", "GET", "/outlook/GAPS")
    (home / IDS).write_text(json.dumps(ids))
    return answers


def id_of(home: Path, name: str) -> str:
    """The request id of the answer with a name; of any other name the name itself."""
    ids: dict[str, str] = json.loads((home / IDS).read_text())
    return ids.get(name, name)


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(nsecast.app, [*words, "--home", str(home)])


def receipt_of(home: Path, name: str, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    path = tmp_path / f"{name}.json"
    done = run(home, "receipt", id_of(home, name), "--out", str(path))
    assert done.exit_code == 0, done.output
    return path, json.loads(path.read_bytes())
