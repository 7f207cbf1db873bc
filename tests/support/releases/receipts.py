"""Logs of served forecasts, and the commands that turn them into receipts."""

import datetime as dt
import hashlib
import itertools
import json
import random
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import Result
from typer.testing import CliRunner

import nsecast
from common.release.registry import Registry
from serve.audit.files import SCHEMA, read_part
from serve.audit.log import DayLog
from serve.settings import LedgerSettings
from support.releases.loaded_release import SETTINGS
from support.releases.release import made_release
from support.serving.server import serving

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
OTHER = [price + 1 for price in CLOSES]
ALIASES = {"symbols": ["THIN", "NSE:THIN"], "recent_prices": {"THIN": CLOSES, "NSE:THIN": OTHER}}
"""One stock by two names, with other prices."""
IDS = "ids.json"


def answer_all(home: Path) -> dict[str, Any]:
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
        ask("aliases", "POST", "/predict/batch", json=ALIASES)
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


NOW = [dt.datetime(2022, 4, 1, tzinfo=dt.UTC)]
NOON = dt.datetime(2022, 4, 1, 9, tzinfo=dt.UTC)


def row(symbol: str, at: dt.datetime, published: float) -> dict[str, Any]:
    plain = dict.fromkeys(SCHEMA.names)
    return plain | {
        "release": "r",
        "symbol": symbol,
        "horizon": 1,
        "cutoff": dt.date(2022, 3, 31),
        "published": published,
        "lo90": float("nan"),
        "model_type": "general",
        "served_at": at,
        "request_ids": [],
    }


def write(log: DayLog, day: int, *symbols: str) -> None:
    """One part of a day."""
    at = NOW[0] = NOON + dt.timedelta(days=day)
    for number, symbol in enumerate(symbols):
        log.add(symbol, lambda s=symbol, n=number: row(s, at, 10.1 + n), f"{symbol}-{day}")
    assert log.flush()


def day_log(home: Path, **changes: int) -> DayLog:
    kept = {"days_kept": 400, "megabytes_kept": 9, "rows_buffered": 99, "megabytes_buffered": 1} | changes
    return DayLog(home / "served", count=lambda *_: None, clock=lambda: NOW[0].timestamp(), **kept)


def made_log(home: Path) -> Path:
    """Two writers over three days, the first restarted on the last; the past days are folded."""
    home.mkdir(exist_ok=True)
    first, second = day_log(home), day_log(home)
    for day in (0, 1):
        for log, symbols in ((first, ("KCB", "SCOM")), (second, ("EQTY",)), (first, ("BAT",))):
            write(log, day, *symbols)
    third = day_log(home)
    write(third, 2, "KCB", "SCOM")
    write(second, 2, "EQTY")
    write(third, 2, "BAT")
    return home / "served"


def parts(log: Path, day: int = 2) -> dict[str, Path]:
    """By what is in them, the files of a day."""
    results = {}
    for path in sorted((log / f"2022-04-0{day + 1}").glob("*.parquet")):
        results[",".join(read_part(path)[0]["symbol"].to_pylist())] = path
    return results


TEXT, DAY, NUMBER = pa.string(), pa.date32(), pa.float64()
BEFORE = pa.schema(
    [("release", TEXT), ("preset", TEXT), ("symbol", TEXT), ("horizon", pa.int64())]
    + [("cutoff", DAY), ("target_date", DAY), ("last_price", NUMBER), ("raw", NUMBER), ("published", NUMBER)]
    + [(side + level, NUMBER) for level in ("80", "90", "95") for side in ("lo", "hi")]
    + [("p_move", NUMBER), ("frozen", pa.bool_()), ("source", TEXT), ("model_type", TEXT)]
    + [("served_at", pa.timestamp("us", tz="UTC")), ("as_of", DAY), ("brought", TEXT)]
    + [("release_digest", TEXT), ("software", TEXT), ("request_ids", pa.list_(TEXT))]
)
"""Columns of a log written before the server created the request ids."""
PACKED = pa.schema([*BEFORE, ("prices", TEXT), ("prices_digest", TEXT), ("form", pa.int8())])
"""Columns of a log whose prices were packed, and which had no probabilities yet."""


def packed(text: str) -> str:
    """The prices of a request, as a log with the columns ``PACKED`` has them."""
    prices = json.loads(text)
    bars = prices.get("recent_bars")
    columns = {"close": prices.get("recent_prices")}
    if bars:
        columns = {name: [bar[name] for bar in bars] for name in bars[0]}
    for name, column in columns.items():
        if name == "volume":
            continue
        numbers = [
            dt.date.fromisoformat(value).toordinal() if name == "date" else round(100 * value)
            for value in column
        ]
        columns[name] = {"steps": [numbers[0], *(b - a for a, b in itertools.pairwise(numbers))]}
    return json.dumps(columns | {"bars": bool(bars), "allow_unknown": prices["allow_unknown"]})


def rewrite_as_before(log: Path, ids: dict[str, str], columns: pa.Schema = BEFORE) -> None:
    """Write a log as it was written then.

    Parameters
    ----------
    ids : the client's id by request id
    columns : ``BEFORE`` or ``PACKED``
    """
    before: dict[str, dict[str, str]] = {}
    for path in sorted(log.rglob("*.parquet")):
        table, (link,) = read_part(path)
        rows = table.to_pylist()
        for record in rows:
            if columns is PACKED and record["brought"]:
                record |= {"prices": packed(record["brought"]), "brought": None}
            record["request_ids"] = [ids.get(one, one) for one in record["request_ids"]]
        table = pa.Table.from_pylist([{name: item[name] for name in columns.names} for item in rows], columns)
        stated = {
            "writer": link.writer,
            "part": link.part,
            "day": link.day,
            "before": before.get(link.writer),
            "seen": {},
        }
        values = [
            {key: value for key, value in item.items() if value is not None} for item in table.to_pylist()
        ]
        text = json.dumps([*stated.values(), values], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        stated |= {"rows": len(rows), "digest": digest}
        sink = pa.BufferOutputStream()
        pq.write_table(
            table.replace_schema_metadata({"nsecast.links": json.dumps([stated])}), sink, compression="zstd"
        )
        content = sink.getvalue().to_pybytes()
        name = f"{link.writer}-{link.part:06d}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        path.unlink()
        (path.parent / name).write_bytes(content)
        before[link.writer] = {"day": link.day, "digest": digest}


def same(forecast, answer):
    intervals = {
        level: {side: interval[side] for side in ("lower", "upper")}
        for level, interval in answer["intervals"].items()
    }
    names = ("symbol", "horizon", "prediction", "mean_prediction", "last_price", "target_date", "model_type")
    assert {name: forecast[name] for name in names} == {name: answer[name] for name in names}
    assert forecast["intervals"] == intervals and forecast["cutoff"] == answer["last_date"]
