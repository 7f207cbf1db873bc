"""Receipts of served forecasts, and their replay.

A receipt holds the log's rows of one request, their place in the log's hash chain, and a description of the
release. Its digest reveals an accidental edit. A deliberate one is revealed by `replay`, which computes the
forecasts again, and by the chain, which covers the row.
"""

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from common.errors import BadRequest, BundleError, ReceiptError
from common.forecast.conformal import LEVELS
from common.release.bundle import load_bundle
from common.release.manifest import Release, read_json
from common.release.registry import Registry
from serve.audit.hash_chain import Chain, Part, check
from serve.audit.ledger import ANSWERS, SERVED
from serve.audit.receipt_rows import only_request
from serve.audit.request_prices import Brought, digest, json_of, prices_text, unpack
from serve.audit.rows import manifest_digest
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import split_key
from serve.inference.response import predict_response
from serve.inference.window_builder import split_batch
from serve.schemas.forecast import BatchRequest, PredictRequest

FORM = 1
COMPARED = ("cutoff", "target_date", "last_price", "prediction", "mean_prediction", "intervals")
"""Fields that a replay compares, besides source and type of the model."""
Receipt = dict[str, Any]


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
        If no log has such a response, or several requests have that id.
    ReleaseNotFound
        If the release is gone.
    BundleError
        If the release is not the one that served the request.
    """
    rows: list[dict[str, Any]] = []
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
    rows = only_request(rows, f"{request_id} in {home / name}")
    last = rows[-1]
    release = _release(home, last["release"], last["release_digest"])
    content = {
        "receipt": FORM,
        "request_id": request_id,
        "id_made_by": "client" if last["form"] is None else "server",
        "requests": max(row["times"] for row in rows),
        "release": _described(release),
        "software": json.loads(last["software"]),
        "forecasts": [_forecast(row) | {"place": {"log": name} | row["place"]} for row in rows],
        "chain": {key: checked[name].as_dict()[key] for key in ("verdict", "problems", "head")},
    }
    return content | {"digest": _digest(content)}


def replay(receipt: Receipt, home: Path, body: Any = None) -> list[dict[str, Any]]:
    """Compute the forecasts of a receipt again, from the stored release.

    Parameters
    ----------
    body : the original request, for a receipt that has only a digest of the request's prices

    Returns
    -------
    list of dict
        For each forecast ``symbol``, ``horizon``, ``equal``, and the compared fields as ``served`` and
        ``again``.

    Raises
    ------
    BadRequest
        If ``body`` is not the body of a request.
    ReceiptError
        If it is not a receipt, was edited, or lacks prices that ``body`` does not have either.
    ReleaseNotFound, BundleError
        If the release is gone, altered, or a different one with the same id.
    """
    requests = _requests_of(body)
    try:
        if receipt["receipt"] != FORM or receipt["digest"] != _digest(receipt):
            raise ReceiptError(
                "the receipt was edited: its digest differs. Make it again: `nsecast receipt REQUEST_ID`."
            )
        named = receipt["release"]
        release = _release(home, named["id"], named["digest"], verify=True)
        if named != _described(release) or not receipt["forecasts"]:
            raise ReceiptError(
                f"the receipt was edited: got {len(receipt['forecasts'])} forecasts by {named}, need at "
                f"least one by {_described(release)}. Make it again: `nsecast receipt REQUEST_ID`."
            )
        loaded = LoadedRelease(release)
        sent = [prices_text(request, loaded.spec.size) for request in requests]
        return [_compared(loaded, served, sent) for served in receipt["forecasts"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReceiptError(
            f"not a receipt: {type(error).__name__}: {error}. Make one: `nsecast receipt REQUEST_ID`."
        ) from None


def _rows_of(
    folder: Path, request_id: str, symbol: str | None, horizon: str | None
) -> tuple[list[dict[str, Any]], Chain]:
    """Return the rows with a request id and their places, oldest first, and the log's chain."""
    rows: list[dict[str, Any]] = []

    def collect(part: Part) -> None:
        path, link, table = part
        ids = table["request_ids"].combine_chunks()
        matches = ids.value_parent_indices().filter(pc.equal(ids.flatten(), request_id))
        for number in pc.unique(matches).to_pylist():
            (row,) = table.slice(number, 1).to_pylist()
            if symbol in (None, row["symbol"]) and horizon in (None, f"{row['horizon']}d"):
                file = f"{path.parent.name}/{path.name}"
                row["place"] = {"file": file, "writer": link.writer, "part": link.part}
                row["place"] |= {"row": number, "digest": link.digest}
                row["times"] = row["request_ids"].count(request_id)
                rows.append(row)

    chain = check(folder, collect)
    return sorted(rows, key=lambda row: row["served_at"]), chain


def _forecast(row: dict[str, Any]) -> dict[str, Any]:
    """Convert a row of the log to the fields of its response; JSON keeps the floats exact."""
    prices: Brought | None = json.loads(row["brought"]) if row["brought"] else None
    if row["prices"]:
        prices = unpack(row["prices"])
    return {
        "symbol": row["symbol"],
        "horizon": f"{row['horizon']}d",
        "as_of": row["as_of"] and row["as_of"].isoformat(),
        "brought": prices,
        "brought_digest": digest(json_of(prices)) if prices else row["prices_digest"],
        "served_at": row["served_at"].isoformat(),
        "cutoff": row["cutoff"].isoformat(),
        "target_date": row["target_date"].isoformat(),
        "last_price": row["last_price"],
        "prediction": row["published"],
        "mean_prediction": row["raw"],
        "intervals": {
            level: {"lower": row[f"lo{level}"], "upper": row[f"hi{level}"]}
            for level in (f"{100 * level:.0f}" for level in LEVELS)
            if row[f"lo{level}"] == row[f"lo{level}"] and row[f"hi{level}"] == row[f"hi{level}"]
        },
        "forecast_source": row["source"],
        "model_type": row["model_type"],
    }


def _requests_of(body: Any) -> list[PredictRequest]:
    """Parse a body for one stock or for many; none for None."""
    if body is None:
        return []
    try:
        if "symbols" in body:
            return split_batch(BatchRequest.model_validate(body))
        return [PredictRequest.model_validate(body)]
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadRequest(
            f"not the body of a request: {reason}. Give the JSON that was sent to /predict."
        ) from None


def _prices_of(served: dict[str, Any], sent: list[str]) -> Brought:
    """Return the request's prices; empty if the forecast used the release's own."""
    wanted = served.get("brought_digest")
    if served["brought"] is not None or wanted is None:
        return served["brought"] or {}
    for text in sent:
        if digest(text) == wanted:
            prices: Brought = json.loads(text)
            return prices
    raise ReceiptError(
        f"{served['symbol']}: the log has only the digest of the request's prices (sha256 {wanted}), "
        + ("which the given body does not match. " if sent else "since the client exceeded its budget. ")
        + "Give the original request: `nsecast replay RECEIPT.json --request BODY.json`."
    )


def _compared(loaded: LoadedRelease, served: dict[str, Any], sent: list[str]) -> dict[str, Any]:
    """Compute a forecast again, and compare its fields with those served."""
    again = _computed(loaded, served, sent)
    before = {name: served[name] for name in again}
    equal = json.dumps(again, sort_keys=True) == json.dumps(before, sort_keys=True)
    names = {"symbol": served["symbol"], "horizon": served["horizon"]}
    return names | {"equal": equal, "served": before, "again": again}


def _computed(loaded: LoadedRelease, served: dict[str, Any], sent: list[str]) -> dict[str, Any]:
    """Compute a forecast again, and return the fields in ``COMPARED``."""
    values = {name: served[name] for name in ("symbol", "horizon", "as_of")} | _prices_of(served, sent)
    request = PredictRequest.model_validate(values)
    day = dt.datetime.fromisoformat(served["served_at"]).date() + dt.timedelta(days=1)
    prepared = loaded.prepare(request, today=day)
    if prepared.route.model_type != served["model_type"]:
        prepared = loaded.general(prepared)
    bundle = load_bundle(loaded.release.path, loaded.preset, split_key(prepared.key)[0])
    prices = bundle.forecaster.forecast(prepared.windows, prepared.levels)
    response = predict_response(loaded, prepared, prices, cached=True, started=0.0, request_id="").model_dump(
        mode="json"
    )
    intervals = {
        level: {side: bounds[side] for side in ("lower", "upper")}
        for level, bounds in response["intervals"].items()
    }
    same = {name: response[name] for name in (*COMPARED[1:5], "forecast_source", "model_type")}
    return {"cutoff": response["last_date"], **same, "intervals": intervals}


def _release(home: Path, release_id: str, expected: str | None, *, verify: bool = False) -> Release:
    registry = Registry(home)
    release = registry.open(release_id) if verify else registry.resolve(release_id)
    if (got := manifest_digest(release)) != expected:
        raise BundleError(
            f"release {release_id}: it is not the one that answered: got digest {got}, need {expected}. "
            "Restore that release from a backup."
        )
    return release


def _described(release: Release) -> dict[str, Any]:
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


def _digest(receipt: Receipt) -> str:
    rest = {name: value for name, value in receipt.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
