"""How good a release is beyond its matrix: errors by horizon, calibration, embedding, the five questions."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from common.errors import BundleError
from serve.schemas.forecast import Horizon, Model

if TYPE_CHECKING:
    from serve.inference.loaded_release import LoadedRelease

FILE = "insights.json"
"""Written when a release is published, see `train.publish.insights`; earlier releases have none."""
OLDER = (
    "This release was published before calibration, embedding and questions were kept for serving. Its "
    "report.html has them (`nsecast report`), and so will the next release that is trained."
)


class Pooled(Model):
    """One horizon over all moving stocks of the test part; null: not measured."""

    horizon: Horizon
    n: int
    symbols: int
    mae: float | None
    """KES, as ``naive_mae``."""
    naive_mae: float | None
    mape: float | None
    """Percent, as ``naive_mape``."""
    naive_mape: float | None
    rel_mae: float | None
    """Absolute error (published price) over naive's; below 1 is better."""
    rel_rmse: float | None
    """Root of the squared error (mean price) over naive's."""
    cover80: float | None
    """Share of actual prices inside the 80 % interval."""
    cover90: float | None
    cover95: float | None


class MoveBin(Model):
    """Forecasts that gave a move about the same chance, and how many of them came to move."""

    horizon: int
    bin: int
    """Tenth of the chance, from 0 to 9."""
    n: int
    forecast: float
    """Mean chance forecast, 0 to 1."""
    seen: float
    """Share that moved."""


class Neighbour(Model):
    symbol: str
    distance: float


class Place(Model):
    """One stock in the embedding."""

    symbol: str
    x: float
    y: float
    neighbours: list[Neighbour]
    """The nearest by all directions, not only the two drawn."""


class Embedding(Model):
    """The general model's embedding of the stocks on its two widest axes."""

    shares: list[float]
    """Share of the variance along x and along y."""
    places: list[Place]


class Table(Model):
    columns: list[str]
    rows: list[list[str | int | float | bool | None]]


class Answer(Model):
    """One of the five questions a finished training must answer."""

    question: str
    answer: str
    tables: list[Table]
    """Figures behind it."""


class Kept(Model):
    """What is in the release's file."""

    moves: list[MoveBin]
    embedding: Embedding | None
    answers: list[Answer]


class InsightsPage(Model):
    """How good the release that serves is, measured on its test part."""

    release: str
    synthetic: bool
    quick: bool
    preset: str
    source: str
    train_end: dt.date
    valid_end: dt.date
    test_end: dt.date
    pooled: list[Pooled]
    moves: list[MoveBin] | None
    """Null: the release keeps none; empty: its preset forecasts no chance of a move."""
    embedding: Embedding | None
    answers: list[Answer] | None
    """As when the release was published."""
    note: str | None
    """What is missing, and what to do about it."""


def insights_page(loaded: "LoadedRelease") -> InsightsPage:
    """Reads a file of the release: call it in a thread; BundleError if it cannot be understood."""
    info, kept = loaded.release.info, _kept(loaded)
    return InsightsPage(
        release=loaded.release.id,
        synthetic=loaded.panel.synthetic,
        quick=bool(info.get("quick")),
        preset=loaded.preset,
        source=loaded.panel.source,
        **{name: info[name] for name in ("train_end", "valid_end", "test_end")},
        pooled=[_pooled(horizon, info.get("test", {})) for horizon in loaded.positions],
        moves=kept.moves if kept else None,
        embedding=kept.embedding if kept else None,
        answers=kept.answers if kept else None,
        note=None if kept else OLDER,
    )


def _pooled(horizon: Horizon, test: dict[str, Any]) -> Pooled:
    figures = test.get(horizon.removesuffix("d"), {})
    counts = {name: int(figures.get(name) or 0) for name in ("n", "symbols")}
    names = Pooled.model_fields.keys() - counts.keys() - {"horizon"}
    return Pooled(horizon=horizon, **counts, **{name: figures.get(name) for name in names})


def _kept(loaded: "LoadedRelease") -> Kept | None:
    if FILE not in loaded.release.files:
        return None
    path = loaded.release.file(FILE)
    try:
        return Kept.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {type(error).__name__}: {error}. Publish the release again.") from None
