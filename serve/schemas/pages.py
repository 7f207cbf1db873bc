"""The pages of API v4 that are only read: models, matrix, history, state of the service."""

import csv
import datetime as dt
from typing import Literal, get_args

from common.errors import BundleError
from common.exchange.clock import NAIROBI_CLOCK
from common.forecast.confidence import Word
from common.release.manifest import Release
from serve.schemas.forecast import Horizon, Model, ModelType, PredictResponse, Source


class Measured(Model):
    """How good the forecasts of one stock and horizon were on the test part; null: not measured."""

    n: int
    """Forecasts that were scored."""
    mae: float | None
    """Mean absolute error of the published price, KES; ``naive_mae`` that of the last price."""
    naive_mae: float | None
    mape: float | None
    """The same in percent of the actual price."""
    naive_mape: float | None
    rel_mae: float | None
    """Absolute error (published price) over naive's, both in percent of the last price; below 1 is better."""
    rel_rmse: float | None
    """The same of the squared error (mean price)."""
    skill: float | None
    """1 - ``rel_mae``."""
    cover90: float | None
    """Share of actual prices inside the 90 % interval."""
    forecast_source: Source | None

    @property
    def skilled(self) -> bool:
        """Published and mean price both beat naive."""
        both = self.rel_mae is not None and self.rel_rmse is not None
        return both and max(self.rel_mae or 0, self.rel_rmse or 0) < 1


class MatrixRow(Model):
    """One stock of the performance matrix."""

    symbol: str
    name: str
    sector: str
    tier: Literal["specific", "general"]
    model: str
    """``general``, or what its own model is: ``average``, ``finetuned``, ``scratch``."""
    rank: int | None
    """1 is best, by the mean of both ratios at the shortest horizon."""
    confidence: Word
    """At the shortest horizon, at the end of the data."""
    reasons: str
    flags: str
    horizons: dict[Horizon, Measured]


class MatrixPage(Model):
    """The performance matrix: every stock and horizon next to naive."""

    release: str
    synthetic: bool
    source: str
    test_from: dt.date
    test_to: dt.date
    rows: list[MatrixRow]


class ModelCard(Model):
    """One stock and the model that answers for it."""

    symbol: str
    name: str
    sector: str
    tier: Literal["specific", "general"]
    model_type: ModelType
    model_version: str
    horizons: list[Horizon]
    last_date: dt.date | None
    """Of the release's own prices; null if it has none."""
    last_price: float | None
    sessions: int
    """Closes that the release has."""
    performance: MatrixRow | None
    release: str


class ModelSummary(Model):
    """One line of the list of models."""

    symbol: str
    name: str
    sector: str
    model_type: ModelType
    model_version: str
    confidence: Word
    last_date: dt.date | None
    last_price: float | None


class AvailableModels(Model):
    """Every stock that can be forecast."""

    release: str
    synthetic: bool
    total: int
    stock_specific: int
    general: int
    horizons: list[Horizon]
    models: list[ModelSummary]
    sectors: dict[str, list[str]] | None = None
    """Symbols by sector, if asked for."""


class HistoryDay(Model):
    """One session; KES, null where unknown."""

    date: dt.date
    close: float
    low: float | None
    high: float | None
    volume: float | None
    flags: list[str]
    """What is wrong with the row, or was mended, such as ``REPAIRED``."""


class PastForecast(Model):
    """A forecast of the test part beside what happened; KES."""

    cutoff: dt.date
    target_date: dt.date
    last_price: float
    published: float
    actual: float
    lower: float | None
    """Of the 90 % interval."""
    upper: float | None


class HistoryPage(Model):
    """Prices of one stock, and the forecasts of one horizon made in the test part; oldest first."""

    symbol: str
    name: str
    horizon: Horizon
    prices: list[HistoryDay]
    forecasts: list[PastForecast]
    release: str


class Outlook(Model):
    """One stock at every horizon of the release, nearest first."""

    symbol: str
    release: str
    predictions: list[PredictResponse]


class TierStats(Model):
    """Counts of one tier since its replica started."""

    requests: int = 0
    errors: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    loaded: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


class Stats(Model):
    """Counts since the answering router started."""

    release: str
    uptime_s: float
    requests: int
    errors: int
    tiers: dict[str, TierStats]
    """By model type, and ``router``."""


class Health(Model):
    """Whether forecasts can be had, and of what."""

    status: Literal["ok", "degraded"]
    release: str
    preset: str
    synthetic: bool
    """Every price was invented."""
    quick: bool
    """Trained for a minute, to try things out."""
    data_end: dt.date
    timezone: str = NAIROBI_CLOCK.timezone
    """Of the exchange, as in the tz database."""
    stocks: int
    problems: tuple[str, ...] = ()


def read_matrix(release: Release) -> dict[str, MatrixRow]:
    """The release's performance matrix by symbol; BundleError if it is not one."""
    path = release.file("performance_matrix.csv")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return {row["symbol"]: _matrix_row(row) for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: {type(error).__name__}: {error}. Publish the release again.") from None


def _matrix_row(row: dict[str, str]) -> MatrixRow:
    def number(name: str) -> float | None:
        return float(row[name]) if row.get(name) else None

    def measured(horizon: str) -> Measured:
        names = ("mae", "naive_mae", "mape", "naive_mape", "rel_mae", "rel_rmse", "cover90")
        figures = {name: number(f"{name}_{horizon}") for name in names}
        ratio = figures["rel_mae"]
        return Measured.model_validate(
            figures
            | {
                "n": int(number(f"n_{horizon}") or 0),
                "skill": None if ratio is None else 1 - ratio,
                "forecast_source": row.get(f"source_{horizon}") or None,
            }
        )

    named = ("symbol", "name", "sector", "tier", "model", "confidence", "reasons", "flags")
    rank = number("rank")
    return MatrixRow.model_validate(
        {name: row[name] for name in named}
        | {
            "rank": None if rank is None else int(rank),
            "horizons": {each: measured(each) for each in get_args(Horizon) if f"n_{each}" in row},
        }
    )
