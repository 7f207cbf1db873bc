"""Replay of receipts: compute the forecasts again and compare them with those served."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

from common.errors import ReceiptError
from common.release.bundle import load_bundle
from serve.audit.files import PROBABILITIES
from serve.audit.receipts import FORM, Receipt, described, open_release, receipt_digest
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import split_key
from serve.inference.response import predict_response
from serve.schemas.forecast import PredictRequest

COMPARED = ("target_date", "last_price", "prediction", "mean_prediction", "forecast_source", "model_type")
"""Fields of a response that a replay compares, besides the cutoff and the intervals."""
ADDED = (*PROBABILITIES, "expected_change_percent")
"""Further ones, unless the forecast was logged before the log had them."""


def replay(receipt: Receipt, home: Path) -> list[dict[str, Any]]:
    """Compute the forecasts of a receipt again, from the stored release.

    Returns
    -------
    list of dict
        For each forecast ``symbol``, ``horizon``, ``equal``, and the compared fields as ``served`` and
        ``again``.

    Raises
    ------
    ReceiptError
        If it is not a receipt, was edited, or has only a digest of the request's prices.
    ReleaseNotFound, BundleError
        If the release is gone, altered, or a different one with the same id.
    """
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
        return [_compared(loaded, served) for served in receipt["forecasts"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReceiptError(
            f"not a receipt: {type(error).__name__}: {error}. Make one: `nsecast receipt REQUEST_ID`."
        ) from None


def _compared(loaded: LoadedRelease, served: dict[str, Any]) -> dict[str, Any]:
    """Compute a forecast again, and compare its fields with those served."""
    again = _computed(loaded, served)
    before = {name: served[name] for name in again}
    equal = json.dumps(again, sort_keys=True) == json.dumps(before, sort_keys=True)
    names = {"symbol": served["symbol"], "horizon": served["horizon"]}
    return names | {"equal": equal, "served": before, "again": again}


def _computed(loaded: LoadedRelease, served: dict[str, Any]) -> dict[str, Any]:
    """Compute a forecast again, and return the fields to compare."""
    own = served["brought"] or {}
    if not own and served.get("brought_digest"):
        raise ReceiptError(
            f"{served['symbol']}: the log has only the digest of the request's prices (sha256 "
            f"{served['brought_digest']}), so the forecast cannot be computed again."
        )
    values = {name: served[name] for name in ("symbol", "horizon", "as_of")} | own
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
    names = (*COMPARED, *(ADDED if any(served.get(name) is not None for name in ADDED) else ()))
    return {
        "cutoff": response["last_date"],
        **{name: response[name] for name in names},
        "intervals": intervals,
    }
