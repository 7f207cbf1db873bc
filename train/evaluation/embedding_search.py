"""Find the hyperparameter search whose comparison of embedding sizes applies to a release."""

import json
from pathlib import Path
from typing import Any

from common import storage
from common.release.bundle import GENERAL


def find_search(home: Path, info: dict[str, Any], size: int) -> dict[str, Any] | None:
    """Return the verdict on the embedding size of the newest search below ``<home>/tuning`` that applies.

    A search applies to a release if it tuned the general model of the same preset, compared embedding sizes,
    and used the same kind of prices, real or synthetic. A quick search applies only to quick releases. The
    release's own size must have been the search's default, or the size with the best score. Other settings
    may differ.

    A search on the release's own prices takes precedence over newer ones on other prices. Unreadable result
    files are skipped.

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
    results = [
        result for path in storage.fetch_matching(home / "tuning", "*/result.json") if (result := _read(path))
    ]
    results = [result for result in results if _fits(result, info) and _verdict(result["embedding"], size)]
    if not results:
        return None
    sha = info.get("data_sha256")
    best = max(results, key=lambda result: (result["data_sha256"] == sha, result["made"]))
    embedding, same = best["embedding"], best["data_sha256"] == sha
    sufficient, because = _verdict(embedding, size) or (False, "")
    if not same:
        until = max(fold["valid_end"] for fold in best["folds"])
        because += f" That search used other prices than this release, with validation up to {until}."
    return {
        "sufficient": sufficient,
        "because": because,
        "sizes": embedding["sizes"],
        "default": embedding["default"],
        "search": best["id"],
        "same_prices": same,
    }


def is_synthetic(source: Any) -> bool:
    return "synthetic" in str(source).lower()


def _verdict(embedding: dict[str, Any], size: int) -> tuple[bool, str] | None:
    """Return whether ``size`` is sufficient, and why; None if the search does not tell."""
    default = embedding["default"]
    if size == default:
        return bool(embedding["sufficient"]), str(embedding["because"])
    differences = {row["size"]: row["difference"] for row in embedding["sizes"]}
    if size not in differences or min(differences, key=differences.__getitem__) != size:
        return None
    others = ", ".join(str(other) for other in sorted(differences) if other != size)
    return True, (
        f"Embedding size {size} is sufficient because none of the other sizes compared, {others}, scored "
        f"better on validation; all were compared with {default}, the default of that search."
    )


def _fits(result: dict[str, Any], info: dict[str, Any]) -> bool:
    return (
        result["model"] == GENERAL
        and bool(result["embedding"])
        and result["preset"] == info["preset"]
        and is_synthetic(result["source"]) == is_synthetic(info["source"])
        and (not result["quick"] or bool(info.get("quick")))
    )


def _read(path: Path) -> dict[str, Any] | None:
    """Read a search's result; None if the file is unreadable or incomplete."""
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
        embedding = result["embedding"]
        _ = [result[name] for name in ("id", "made", "model", "preset", "source", "data_sha256", "quick")]
        _ = embedding and [embedding[name] for name in ("default", "sufficient", "because")]
        _ = embedding and [(row["size"], row["difference"]) for row in embedding["sizes"]]
        _ = max(fold["valid_end"] for fold in result["folds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result
