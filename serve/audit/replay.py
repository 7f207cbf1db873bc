"""Replay of receipts: compute the forecasts again and compare them with those served."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

from common.errors import BadRequest, ReceiptError
from common.release.bundle import load_bundle
from serve.audit.receipts import FORM, Receipt, described, open_release, receipt_digest
from serve.audit.request_prices import Brought, digest, prices_text
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import split_key
from serve.inference.response import predict_response
from serve.inference.window_builder import split_batch
from serve.schemas.forecast import BatchRequest, PredictRequest

COMPARED = ("cutoff", "target_date", "last_price", "prediction", "mean_prediction", "intervals")
"""Fields that a replay compares, besides source and type of the model."""


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
        if receipt["receipt"] != FORM or receipt["digest"] != receipt_digest(receipt):
            raise ReceiptError(
                "the receipt was edited: its digest differs. Make it again: `nsecast receipt REQUEST_ID`."
            )
        named = receipt["release"]
        release = open_release(home, named["id"], named["digest"], verify=True)
        if named != described(release) or not receipt["forecasts"]:
            raise ReceiptError(
                f"the receipt was edited: got {len(receipt['forecasts'])} forecasts by {named}, need at "
                f"least one by {described(release)}. Make it again: `nsecast receipt REQUEST_ID`."
            )
        loaded = LoadedRelease(release)
        sent = [prices_text(request, loaded.spec.size) for request in requests]
        return [_compared(loaded, served, sent) for served in receipt["forecasts"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReceiptError(
            f"not a receipt: {type(error).__name__}: {error}. Make one: `nsecast receipt REQUEST_ID`."
        ) from None


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
