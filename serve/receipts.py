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

from common.errors import BundleError, ReceiptError
from common.model.bundle import load_bundle
from common.model.conformal import LEVELS
from common.model.registry import Registry
from common.model.release import Release, read_json
from serve.cache import split_key
from serve.desk import Desk
from serve.ledger import ANSWERS, SERVED, manifest_digest
from serve.ledger_chain import Chain, Part, check
from serve.schemas import PredictRequest

FORM = 1
COMPARED = ("cutoff", "target_date", "last_price", "prediction", "mean_prediction", "intervals")
"""What a replay has to find equal, besides source and type of the model."""
ONE = ("release_digest", "symbol", "horizon", "as_of", "brought", "model_type")
"""Rows that agree in these are one forecast, though they be in several parts."""
Receipt = dict[str, Any]


def make_receipt(
    home: Path, request_id: str, symbol: str | None = None, horizon: str | None = None
) -> Receipt:
    """The receipt of an answer, or of the part of it about one stock or horizon.

    Raises
    ------
    ReceiptError
        If no log has such an answer.
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
    last = rows[-1]  # whoever asks chooses the id, and may use it again
    rows = [row for row in rows if row["release_digest"] == last["release_digest"]]
    release = _release(home, last["release"], last["release_digest"])
    made = {
        "receipt": FORM,
        "request_id": request_id,
        "release": _described(release),
        "software": json.loads(last["software"]),
        "forecasts": [_forecast(row) | {"place": {"log": name} | row["place"]} for row in rows],
        "chain": {key: checked[name].as_dict()[key] for key in ("verdict", "problems", "head")},
    }
    return made | {"digest": _digest(made)}


def replay(receipt: Receipt, home: Path) -> list[dict[str, Any]]:
    """Make the forecasts of a receipt anew, from the release on storage.

    Returns
    -------
    list of dict
        For each: ``symbol``, ``horizon``, ``equal``, and ``served`` and ``again`` with the fields compared.

    Raises
    ------
    ReceiptError
        If the receipt was edited, or is none.
    ReleaseNotFound, BundleError
        If the release is gone, altered, or another one of that id.
    """
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
        desk = Desk(release)
        found = []
        for served in receipt["forecasts"]:
            again = _again(desk, served)
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
    """Rows of an answer with their places, and the log's chain."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}

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
                rows.setdefault(tuple(row[name] for name in ONE), row)

    chain = check(folder, look)
    return sorted(rows.values(), key=lambda row: row["served_at"]), chain


def _forecast(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the log as its answer gave it; floats are written so that they are read the same."""
    return {
        "symbol": row["symbol"],
        "horizon": f"{row['horizon']}d",
        "as_of": row["as_of"] and row["as_of"].isoformat(),
        "brought": row["brought"] and json.loads(row["brought"]),
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


def _again(desk: Desk, served: dict[str, Any]) -> dict[str, Any]:
    """A forecast made anew, the fields in ``COMPARED``."""
    asked = {name: served[name] for name in ("symbol", "horizon", "as_of")} | (served["brought"] or {})
    request = PredictRequest.model_validate(asked)
    day = dt.datetime.fromisoformat(served["served_at"]).date() + dt.timedelta(days=1)
    prepared = desk.prepare(request, today=day)
    if prepared.route.model_type != served["model_type"]:
        prepared = desk.general(prepared)
    bundle = load_bundle(desk.release.path, desk.preset, split_key(prepared.key)[0])
    prices = bundle.forecaster.forecast(prepared.windows, prepared.asked)
    answer = desk.answer(prepared, prices, cached=True, started=0.0, request_id="").model_dump(mode="json")
    intervals = {
        level: {side: bounds[side] for side in ("lower", "upper")}
        for level, bounds in answer["intervals"].items()
    }
    same = {name: answer[name] for name in (*COMPARED[1:5], "forecast_source", "model_type")}
    return {"cutoff": answer["last_date"], **same, "intervals": intervals}


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
