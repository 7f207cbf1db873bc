"""Receipts of served forecasts, and the same numbers made again from them.

A receipt is what the log of answers says of one request, its place in the log's chain, and what the release
says of itself. Its own digest finds a careless edit; an edit with a digest of its own is found by `replay`,
which makes the forecasts again, and in the chain, which holds the row.
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
from serve.audit.prices import Brought, brought, digest, json_of, unpack
from serve.audit.receipt_rows import only_request
from serve.audit.rows import manifest_digest
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import split_key
from serve.inference.response import answer
from serve.inference.window_builder import singles
from serve.schemas.forecast import BatchRequest, PredictRequest

FORM = 1
COMPARED = ("cutoff", "target_date", "last_price", "prediction", "mean_prediction", "intervals")
"""What a replay has to find equal, besides source and type of the model."""
Receipt = dict[str, Any]


def make_receipt(
    home: Path,
    request_id: str,
    symbol: str | None = None,
    horizon: str | None = None,
    number: int | None = None,
) -> Receipt:
    """The receipt of an answer, or of the part of it about one stock or horizon.

    Parameters
    ----------
    number : of several requests that a client gave one id (logs written before the server made the ids),
        the one to take, counted from 1, oldest first

    Raises
    ------
    ReceiptError
        If no log has such an answer, or several requests have that id and none was chosen.
    ReleaseNotFound
        If the release is gone.
    BundleError
        If the release is not the one that answered.
    """
    rows: list[dict[str, Any]] = []
    checked: dict[str, Chain] = {}
    for name in (ANSWERS, SERVED):
        rows, checked[name] = _found(home / name, request_id, symbol, horizon)
        if rows:
            break
    if not rows:
        about = "".join(f", {each}" for each in (symbol, horizon) if each)
        broken = [problem for chain in checked.values() for problem in chain.problems]
        raise ReceiptError(
            f"{request_id}{about}: no such answer in {home / ANSWERS} or {home / SERVED}. It is there half a "
            "minute after it was served, until its day is dropped (served.answers_days_kept)."
            + (f" The log is broken: {broken[0]}." if broken else "")
        )
    rows = only_request(rows, f"{request_id} in {home / name}", number)
    last = rows[-1]
    release = _release(home, last["release"], last["release_digest"])
    made = {
        "receipt": FORM,
        "request_id": request_id,
        "id_made_by": "client" if last["form"] is None else "server",
        "requests": max(row["times"] for row in rows),
        "release": _described(release),
        "software": json.loads(last["software"]),
        "forecasts": [_forecast(row) | {"place": {"log": name} | row["place"]} for row in rows],
        "chain": {key: checked[name].as_dict()[key] for key in ("verdict", "problems", "head")},
    }
    return made | {"digest": _digest(made)}


def replay(receipt: Receipt, home: Path, body: Any = None) -> list[dict[str, Any]]:
    """Make the forecasts of a receipt anew, from the release on storage.

    Parameters
    ----------
    body : of the request as it was sent, for a receipt that has only the digest of the request's prices

    Returns
    -------
    list of dict
        For each: ``symbol``, ``horizon``, ``equal``, and ``served`` and ``again`` with the fields compared.

    Raises
    ------
    BadRequest
        If ``body`` is not the body of a request.
    ReceiptError
        If the receipt was edited, or is none, or lacks prices that ``body`` does not have either.
    ReleaseNotFound, BundleError
        If the release is gone, altered, or another one of that id.
    """
    requests = _requests_of(body)
    try:
        if receipt["receipt"] != FORM or receipt["digest"] != _digest(receipt):
            raise ReceiptError(
                "the receipt was edited: its digest differs. Ask for it again: `nsecast receipt REQUEST_ID`."
            )
        named = receipt["release"]
        release = _release(home, named["id"], named["digest"], verify=True)
        if named != _described(release) or not receipt["forecasts"]:
            raise ReceiptError(
                f"the receipt was edited: got {len(receipt['forecasts'])} forecasts by {named}, need one at "
                f"least, by {_described(release)}. Ask for it again: `nsecast receipt REQUEST_ID`."
            )
        loaded = LoadedRelease(release)
        sent = [brought(each, loaded.spec.size) for each in requests]
        found = []
        for served in receipt["forecasts"]:
            again = _again(loaded, served, sent)
            equal = json.dumps(again, sort_keys=True) == json.dumps(
                {name: served[name] for name in again}, sort_keys=True
            )
            found.append({"symbol": served["symbol"], "horizon": served["horizon"], "equal": equal})
            found[-1] |= {"served": {name: served[name] for name in again}, "again": again}
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReceiptError(
            f"not a receipt: {type(error).__name__}: {error}. Make one: `nsecast receipt REQUEST_ID`."
        ) from None


def _found(
    folder: Path, request_id: str, symbol: str | None, horizon: str | None
) -> tuple[list[dict[str, Any]], Chain]:
    """Rows with that id and their places, oldest first, and the log's chain."""
    rows: list[dict[str, Any]] = []

    def look(part: Part) -> None:
        path, link, table = part
        ids = table["request_ids"].combine_chunks()
        hits = pc.equal(ids.flatten(), request_id)
        for place in (
            pc.unique(ids.value_parent_indices().filter(hits)).to_pylist() if pc.any(hits).as_py() else ()
        ):
            (row,) = table.slice(place, 1).to_pylist()
            if symbol in (None, row["symbol"]) and horizon in (None, f"{row['horizon']}d"):
                stated = {"file": f"{path.parent.name}/{path.name}", "writer": link.writer, "part": link.part}
                row["place"] = stated | {"row": place, "digest": link.digest}
                row["times"] = row["request_ids"].count(request_id)
                row["first"] = row["request_ids"][0] == request_id
                rows.append(row)

    chain = check(folder, look)
    return sorted(rows, key=lambda row: row["served_at"]), chain


def _forecast(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the log as its answer gave it; floats are written so that they are read the same."""
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
            for level in (f"{100 * each:.0f}" for each in LEVELS)
            if row[f"lo{level}"] == row[f"lo{level}"] and row[f"hi{level}"] == row[f"hi{level}"]
        },
        "forecast_source": row["source"],
        "model_type": row["model_type"],
    }


def _requests_of(body: Any) -> list[PredictRequest]:
    """The requests of a body for one stock or for many; none for None."""
    if body is None:
        return []
    try:
        if "symbols" in body:
            return singles(BatchRequest.model_validate(body))
        return [PredictRequest.model_validate(body)]
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadRequest(
            f"not the body of a request: {reason}. Give the JSON that was sent to /predict."
        ) from None


def _prices_of(served: dict[str, Any], sent: list[str]) -> Brought:
    """The prices that a forecast was made from; empty if they were the release's own."""
    wanted = served.get("brought_digest")
    if served["brought"] is not None or wanted is None:
        return served["brought"] or {}
    for prices in sent:
        if digest(prices) == wanted:
            found: Brought = json.loads(prices)
            return found
    raise ReceiptError(
        f"{served['symbol']}: the log has only the digest of the prices that the request included (sha256 "
        f"{wanted}), "
        + ("and those given have another. " if sent else "since its client was beyond its budget. ")
        + "Give the request's body as it was sent: `nsecast replay RECEIPT.json --request BODY.json`."
    )


def _again(loaded: LoadedRelease, served: dict[str, Any], sent: list[str]) -> dict[str, Any]:
    """A forecast made anew, the fields in ``COMPARED``."""
    asked = {name: served[name] for name in ("symbol", "horizon", "as_of")} | _prices_of(served, sent)
    request = PredictRequest.model_validate(asked)
    day = dt.datetime.fromisoformat(served["served_at"]).date() + dt.timedelta(days=1)
    prepared = loaded.prepare(request, today=day)
    if prepared.route.model_type != served["model_type"]:
        prepared = loaded.general(prepared)
    bundle = load_bundle(loaded.release.path, loaded.preset, split_key(prepared.key)[0])
    prices = bundle.forecaster.forecast(prepared.windows, prepared.asked)
    response = answer(loaded, prepared, prices, cached=True, started=0.0, request_id="").model_dump(
        mode="json"
    )
    intervals = {
        level: {side: bounds[side] for side in ("lower", "upper")}
        for level, bounds in response["intervals"].items()
    }
    same = {name: response[name] for name in (*COMPARED[1:5], "forecast_source", "model_type")}
    return {"cutoff": response["last_date"], **same, "intervals": intervals}


def _release(home: Path, release_id: str, digest: str | None, *, verify: bool = False) -> Release:
    registry = Registry(home)
    release = registry.open(release_id) if verify else registry.resolve(release_id)
    if (got := manifest_digest(release)) != digest:
        raise BundleError(
            f"release {release_id}: it is not the one that answered: got digest {got}, need {digest}. "
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
