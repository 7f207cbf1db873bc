"""Find the hyperparameter search whose comparison of embedding sizes applies to a release."""

import json
from pathlib import Path
from typing import Any

from common import storage
from common.release.bundle import GENERAL


def find_search(home: Path, info: dict[str, Any], size: int) -> dict[str, Any] | None:
    """Return the verdict on the embedding size of the newest search below ``<home>/tuning`` that applies.

    A search applies to a release if it tuned the general model of the same preset, compared embedding sizes
    with the release's size, and used the same kind of prices, real or synthetic. A quick search applies only
    to quick releases. Other settings may differ.

    A search on the release's own prices takes precedence over newer ones on other prices. Unreadable and
    incomplete result files are skipped.

    Parameters
    ----------
    home : Path
        The storage root.
    info : dict
        As in the release's manifest: ``preset``, ``source``, ``data_sha256`` and ``quick``.
    size : int
        The release's embedding size.

    Returns
    -------
    dict or None
        ``sufficient`` (bool); ``because`` (sentences, which mention if the prices differ); ``sizes`` and
        ``default`` as in the search's result; ``search``, its id; ``same_prices`` (bool).
    """
    paths = storage.fetch_matching(home / "tuning", "*/result.json")
    verdicts = [verdict for path in paths if (verdict := _verdict(path, info, size))]
    if not verdicts:
        return None
    best = max(verdicts, key=lambda verdict: (verdict["same_prices"], verdict["made"]))
    del best["made"]
    return best


def is_synthetic(source: Any) -> bool:
    return "synthetic" in str(source).lower()


def _verdict(path: Path, info: dict[str, Any], size: int) -> dict[str, Any] | None:
    """Return a search's verdict and when it was ``made``; None if it does not apply."""
    try:
        result = json.loads(path.read_bytes())
        embedding = result["embedding"]
        applies = (
            result["model"] == GENERAL
            and embedding
            and embedding["default"] == size
            and result["preset"] == info["preset"]
            and is_synthetic(result["source"]) == is_synthetic(info["source"])
            and (not result["quick"] or info.get("quick"))
        )
        if not applies:
            return None
        because, same = str(embedding["because"]), result["data_sha256"] == info.get("data_sha256")
        until = max(fold["valid_end"] for fold in result["folds"])
        if not same:
            because += f" That search used other prices than this release, with validation up to {until}."
        return {
            "sufficient": bool(embedding["sufficient"]),
            "because": because,
            "sizes": embedding["sizes"],
            "default": size,
            "search": result["id"],
            "same_prices": same,
            "made": result["made"],
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
