"""What a search over sizes found that answers for a release; read from the files that the search left."""

import json
from pathlib import Path
from typing import Any

from common import storage
from common.release.bundle import GENERAL


def find_search(home: Path, info: dict[str, Any], size: int) -> dict[str, Any] | None:
    """What the newest fitting search below ``<home>/tuning`` says of the embedding.

    A search answers for a release if it was over the general model of the same preset, compared embedding
    sizes, and its prices were invented where the release's were and real where they were real. A quick search
    answers for quick releases alone. The release's own size must have been the default that the others were
    compared with, or, as after training with what a search proposed, the one that scored best. Other
    settings may differ.

    Among those that fit, one on the release's very prices comes before any other, then the newest: which
    size is enough does not turn with every week of prices, and the answer says up to when the search's went.
    A search whose file cannot be read is passed over.

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
        ``sufficient`` (bool); ``because`` (sentences, which say so if the prices are others); ``sizes`` and
        ``default`` as the search gives them; ``search``, its id; ``same_prices`` (bool).
    """
    found = [result for path in storage.found(home / "tuning", "*/result.json") if (result := _read(path))]
    found = [result for result in found if _fits(result, info) and _verdict(result["embedding"], size)]
    if not found:
        return None
    sha = info.get("data_sha256")
    best = max(found, key=lambda result: (result["data_sha256"] == sha, result["made"]))
    embedding, same = best["embedding"], best["data_sha256"] == sha
    sufficient, because = _verdict(embedding, size) or (False, "")
    if not same:
        until = max(fold["valid_end"] for fold in best["folds"])
        because += f" That search was on other prices than this release; it judged by those up to {until}."
    return {
        "sufficient": sufficient,
        "because": because,
        "sizes": embedding["sizes"],
        "default": embedding["default"],
        "search": best["id"],
        "same_prices": same,
    }


def _verdict(embedding: dict[str, Any], size: int) -> tuple[bool, str] | None:
    """Whether ``size`` is enough, and why; None if the search does not tell."""
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
        and _invented(result["source"]) == _invented(info["source"])
        and (not result["quick"] or bool(info.get("quick")))
    )


def _invented(source: Any) -> bool:
    return "synthetic" in str(source).lower()


def _read(path: Path) -> dict[str, Any] | None:
    """A search's result if all that is asked of it is there."""
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
