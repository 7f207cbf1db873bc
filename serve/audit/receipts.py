"""Receipts of served forecasts.

A receipt holds the log's rows of one request, their place in the log's hash chain, and a description of the
release. Its digest reveals an accidental edit. A deliberate one is revealed by `serve.audit.replay`, which
computes the forecasts again, and by the chain, which covers the row.
"""

import datetime as dt
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from common.errors import BundleError, ReceiptError
from common.forecast.conformal import LEVELS
from common.release.manifest import Release, read_json
from common.release.registry import Registry
from serve.audit.files import PROBABILITIES
from serve.audit.hash_chain import Chain, Part, check
from serve.audit.ledger import ANSWERS, SERVED, manifest_digest

FORM = 1
Receipt = dict[str, Any]
LoggedRow = dict[str, Any]
"""A row of `serve.audit.files.SCHEMA` with its ``place`` in the log."""


def make_receipt(
    home: Path,
    request_id: str,
    symbol: str | None = None,
    horizon: str | None = None,
) -> Receipt:
    """Make the receipt of a response, or of its part about one stock or horizon.

    Raises
    ------
    ReceiptError
        If no log has such a response.
    ReleaseNotFound
        If the release is gone.
    BundleError
        If the release is not the one that served the request.
    """
    rows: list[LoggedRow] = []
    checked: dict[str, Chain] = {}
    for name in (ANSWERS, SERVED):
        rows, checked[name] = _rows_of(home / name, request_id, symbol, horizon)
        if rows:
            break
    if not rows:
        about = "".join(f", {part}" for part in (symbol, horizon) if part)
        broken = [problem for chain in checked.values() for problem in chain.problems]
        raise ReceiptError(
            f"{request_id}{about}: no such answer in {home / ANSWERS} or {home / SERVED}. It is written "
            "within half a minute, and kept for served.answers_days_kept days."
            + (f" The log is broken: {broken[0]}." if broken else "")
        )
    last = rows[-1]
    release = open_release(home, last["release"], last["release_digest"])
    content = {
        "receipt": FORM,
        "request_id": request_id,
        "release": described(release),
        "software": json.loads(last["software"]),
        "forecasts": [_forecast(row) | {"place": {"log": name} | row["place"]} for row in rows],
        "chain": {key: checked[name].as_dict()[key] for key in ("verdict", "problems", "head")},
    }
    return content | {"digest": receipt_digest(content)}


DISTINCT = ("symbol", "horizon", "as_of", "brought", "prices", "prices_digest", "model_type")
"""Columns in which the responses to one request differ."""


def _rows_of(
    folder: Path, request_id: str, symbol: str | None, horizon: str | None
) -> tuple[list[LoggedRow], Chain]:
    """Return the rows of a request, oldest first, and the log's chain.

    Rows without ``form`` are left out: clients chose their ids, which may be those of several requests.
    """
    rows: dict[tuple[Any, ...], LoggedRow] = {}

    def collect(part: Part) -> None:
        path, link, table = part
        ids = table["request_ids"].combine_chunks()
        matches = ids.value_parent_indices().filter(pc.equal(ids.flatten(), request_id))
        for number in pc.unique(matches).to_pylist():
            (row,) = table.slice(number, 1).to_pylist()
            chosen = symbol in (None, row["symbol"]) and horizon in (None, f"{row['horizon']}d")
            if chosen and row["form"] is not None:
                file = f"{path.parent.name}/{path.name}"
                row["place"] = {"file": file, "writer": link.writer, "part": link.part}
                row["place"] |= {"row": number, "digest": link.digest}
                rows.setdefault(tuple(row[name] for name in DISTINCT), row)  # a repeated write has it twice

    chain = check(folder, collect)
    return sorted(rows.values(), key=lambda row: row["served_at"]), chain


def _forecast(row: LoggedRow) -> dict[str, Any]:
    """Convert a row of the log to the fields of its response; JSON keeps the floats exact."""
    prices = json.loads(row["brought"]) if row["brought"] else _unpack(row["prices"])
    text = json.dumps(prices, separators=(",", ":"))
    return {
        "symbol": row["symbol"],
        "horizon": f"{row['horizon']}d",
        "as_of": row["as_of"] and row["as_of"].isoformat(),
        "brought": prices,
        "brought_digest": hashlib.sha256(text.encode()).hexdigest() if prices else row["prices_digest"],
        "served_at": row["served_at"].isoformat(),
        "cutoff": row["cutoff"].isoformat(),
        "target_date": row["target_date"].isoformat(),
        "last_price": row["last_price"],
        "prediction": row["published"],
        "mean_prediction": row["raw"],
        **{name: row[name] for name in (*PROBABILITIES, "expected_change_percent")},
        "intervals": {
            level: {"lower": row[f"lo{level}"], "upper": row[f"hi{level}"]}
            for level in (f"{100 * level:.0f}" for level in LEVELS)
            if row[f"lo{level}"] == row[f"lo{level}"] and row[f"hi{level}"] == row[f"hi{level}"]
        },
        "forecast_source": row["source"],
        "model_type": row["model_type"],
    }


def _unpack(text: str | None) -> Any:
    """Return the request's prices as the API takes them from JSON; None without ``text``.

    Earlier versions packed closes, highs and lows as differences in cents (``{"steps": [2515, 5]}``: 25.15,
    25.20), and dates as differences in days.
    """
    if text is None:
        return None
    packed = json.loads(text)
    columns: dict[str, list[Any]] = {}
    for name in (name for name in ("close", "high", "low", "volume", "date") if name in packed):
        columns[name] = column = packed[name]
        if isinstance(column, dict):
            numbers = itertools.accumulate(column["steps"])
            columns[name] = [
                dt.date.fromordinal(number).isoformat() if name == "date" else number / 100
                for number in numbers
            ]
    allowed = {"allow_unknown": packed["allow_unknown"]}
    if not packed["bars"]:
        return {"recent_prices": columns["close"]} | allowed
    rows = zip(*columns.values(), strict=True)
    bars = [{name: v for name, v in zip(columns, row, strict=True) if v is not None} for row in rows]
    return {"recent_bars": bars} | allowed


def open_release(home: Path, release_id: str, expected: str | None, *, verify: bool = False) -> Release:
    """Open the release that served; raises ReleaseNotFound, or BundleError if its digest differs."""
    registry = Registry(home)
    release = registry.open(release_id) if verify else registry.resolve(release_id)
    if (got := manifest_digest(release)) != expected:
        raise BundleError(
            f"release {release_id}: it is not the one that answered: got digest {got}, need {expected}. "
            "Restore that release from a backup."
        )
    return release


def described(release: Release) -> dict[str, Any]:
    """Return the description of a release in a receipt."""
    config = read_json(release.file("config.json"))
    return {
        "id": release.id,
        "digest": manifest_digest(release),
        "created": release.created.isoformat(),
        "source": release.info["source"],
        "data_sha256": release.info["data_sha256"],
        "preset": release.info["preset"],
        "seeds": [config["seed"] + number for number in range(config["seeds"])],
    }


def receipt_digest(receipt: Receipt) -> str:
    """Return the SHA-256 of a receipt's content, without its own digest."""
    rest = {name: value for name, value in receipt.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
