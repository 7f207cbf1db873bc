"""The stocks of a release and the models that forecast them."""

import datetime as dt
from typing import Literal

from common.forecast.confidence import ConfidenceRating
from serve.schemas.forecast import Horizon, Model, ModelType
from serve.schemas.matrix import MatrixRow
from serve.schemas.service import CacheStats


class StockModel(Model):
    """One stock and the model that forecasts it."""

    symbol: str
    name: str
    sector: str
    tier: Literal["specific", "general"]
    model_type: ModelType
    model_version: str
    horizons: list[Horizon]
    last_date: dt.date | None
    """Last session in the prices of the release; null if it has none."""
    last_price: float | None
    sessions: int
    """Number of closes in the release."""
    available: bool
    """Whether the release has enough closes for a forecast."""
    cached: bool
    """Whether a replica has loaded the model, as this router knows."""
    training_date: dt.date
    """Last session of the prices with which the release was trained; a refresh does not change it."""
    test_mape: float | None
    """The ``mape`` of a forecast at the shortest horizon."""
    performance: MatrixRow | None
    evaluated_until: dt.date
    """The networks of ``performance`` were fitted and chosen on prices before this day."""
    served_until: dt.date
    """The networks that serve were fitted and chosen on prices before this day."""
    release: str


class ModelSummary(Model):
    """One entry of the list of models."""

    symbol: str
    name: str
    sector: str
    model_type: ModelType
    model_version: str
    confidence: ConfidenceRating
    last_date: dt.date | None
    last_price: float | None


class AvailableModels(Model):
    """Every stock that can be forecast, with its model."""

    release: str
    synthetic: bool
    total: int
    total_stocks: int
    """``total``, by its earlier name."""
    trained_models: int
    """Specific models of the release."""
    available_stocks: list[str]
    """Symbols."""
    models_by_sector: dict[str, list[str]]
    """Symbols by sector."""
    model_version: str
    """The preset."""
    cache_stats: CacheStats
    stock_specific: int
    general: int
    horizons: list[Horizon]
    models: list[ModelSummary]
    sectors: dict[str, list[str]] | None = None
    """Symbols by sector, if requested."""
