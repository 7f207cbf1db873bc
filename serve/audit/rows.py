"""Rows of the log of served forecasts, with the versions of release and software."""

import datetime as dt
import json
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from cluster.connect.code_package import digest
from common.forecast.conformal import LEVELS
from common.forecast.prices import Prices
from common.release.manifest import MANIFEST, Release, read_json
from serve.audit.files import BOUNDS, FORM
from serve.audit.log import Row
from serve.inference.response import probability_fields

if TYPE_CHECKING:
    from serve.inference.loaded_release import LoadedRelease, PreparedRequest

PACKAGES = ("nsecast", "numpy", "onnxruntime", "ray")
_DIGESTS: dict[tuple[str, str], str] = {}


def row_of(loaded: "LoadedRelease", prepared: "PreparedRequest", prices: Prices, at: dt.datetime) -> Row:
    """Return the columns of `serve.audit.files.SCHEMA` for a forecast, without request ids and prices.

    Parameters
    ----------
    prices : of ``prepared.windows``
    at : the time of the response
    """
    position, cutoff = prepared.position, prepared.windows.cutoff[0]
    horizon = loaded.spec.horizons[position]
    bounds = [
        float(side[0, position, level]) for level in range(len(LEVELS)) for side in (prices.low, prices.high)
    ]
    return {
        "release": loaded.release.id,
        "preset": loaded.preset,
        "symbol": prepared.route.symbol,
        "horizon": horizon,
        "cutoff": cutoff.item(),
        "target_date": loaded.history.sessions.ahead(cutoff, horizon),
        "last_price": float(prices.last[0]),
        "raw": float(prices.raw[0, position]),
        "published": float(prices.published[0, position]),
        **dict(zip(BOUNDS, bounds, strict=True)),
        "p_move": float(prices.p_move[0, position]),
        "frozen": bool(prices.frozen[0]),
        "source": "model" if prices.by_model[0, position] else "last_price",
        "model_type": prepared.route.model_type,
        "served_at": at,
        "as_of": prepared.request.as_of,
        "brought": None,
        "release_digest": manifest_digest(loaded.release),
        "software": software(),
        "request_ids": [],
        "prices": None,
        "prices_digest": None,
        "form": FORM,
        **probability_fields(prices, position),
        "expected_change_percent": float(prices.expected_change_percent[0, position]),
    }


def manifest_digest(release: Release) -> str:
    """Return the digest in a release's manifest, which covers every file; cached."""
    key = (str(release.path), release.created.isoformat())
    if key not in _DIGESTS:
        _DIGESTS[key] = str(read_json(release.path / MANIFEST)["digest"])
    return _DIGESTS[key]


@cache
def software() -> str:
    """Return the versions of the software that computes a forecast, as JSON."""
    versions = {"python": platform.python_version(), "machine": platform.machine(), "code": digest()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return json.dumps(versions, sort_keys=True)
