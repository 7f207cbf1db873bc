"""Quality of a release beyond its matrix: errors by horizon, calibration, embedding, the five questions."""

from typing import Any, TypeVar

from common.errors import BundleError
from common.release.released_models import networks_line
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import Horizon, Model
from serve.schemas.insights import InsightsPage, PooledErrors, StoredInsights, Worth

Stored = TypeVar("Stored", bound=Model)
FILE = "insights.json"
WORTH = "worth.json"
"""Both are written by `train.publish` when a release is published; older releases do not have them."""
OLDER = (
    "This release was published before calibration, embedding and questions were stored for serving. Its "
    "report.html has them (`nsecast report`), and so will the next release."
)


def insights_page(loaded: LoadedRelease) -> InsightsPage:
    """Read the insights of a release, in a thread; raises BundleError if the file is damaged."""
    info, stored = loaded.release.info, _stored(loaded, FILE, StoredInsights)
    return InsightsPage(
        release=loaded.release.id,
        synthetic=loaded.panel.synthetic,
        quick=bool(info.get("quick")),
        preset=loaded.preset,
        source=loaded.panel.source,
        **{name: info[name] for name in ("train_end", "valid_end", "test_end")},
        networks=networks_line(info),
        pooled=[_pooled(horizon, info.get("test", {})) for horizon in loaded.positions],
        moves=stored.moves if stored else None,
        directions=stored.directions if stored else None,
        embedding=stored.embedding if stored else None,
        answers=stored.answers if stored else None,
        worth=_stored(loaded, WORTH, Worth),
        note=None if stored else OLDER,
    )


def _pooled(horizon: Horizon, test: dict[str, Any]) -> PooledErrors:
    figures = test.get(horizon.removesuffix("d"), {})
    counts = {name: int(figures.get(name) or 0) for name in ("n", "symbols")}
    names = PooledErrors.model_fields.keys() - counts.keys() - {"horizon"}
    return PooledErrors(horizon=horizon, **counts, **{name: figures.get(name) for name in names})


def _stored(loaded: LoadedRelease, name: str, kind: type[Stored]) -> Stored | None:
    if name not in loaded.release.files:
        return None
    path = loaded.release.file(name)
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {type(error).__name__}: {error}. Publish the release again.") from None
