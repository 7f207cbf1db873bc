"""Build responses: a forecast with its date, confidence, evidence and caveats."""

import datetime as dt
import time
from collections.abc import Mapping
from typing import get_args

import numpy as np

from common.forecast.confidence import confidence
from common.forecast.conformal import LEVELS
from common.forecast.prices import Prices
from common.forecast.probabilities import DIRECTIONS
from common.presets import SPECIFIC
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.schemas.forecast import (
    BatchResponse,
    BatchSummary,
    Caveat,
    Interval,
    Level,
    PredictResponse,
    SymbolError,
    days_of,
)
from serve.schemas.problems import problem_of


def predict_response(
    loaded: LoadedRelease,
    prepared: PreparedRequest,
    prices: Prices,
    *,
    cached: bool,
    started: float,
    request_id: str,
) -> PredictResponse:
    """Build the response to a prepared request.

    Parameters
    ----------
    prices : of ``prepared.windows``, from the model ``prepared.key``
    cached : whether the model was already loaded
    started : `time.perf_counter` when the request arrived
    """
    chosen, position, horizon = prepared.route, prepared.position, prepared.request.horizon
    stock, last_date = chosen.stock, prepared.windows.cutoff[0]
    last, published = float(prices.last[0]), float(prices.published[0, position])
    by_model, frozen = bool(prices.by_model[0, position]), bool(prices.frozen[0])
    measured = loaded.measured(chosen.symbol, horizon)
    level = confidence(
        model_type=chosen.model_type,
        by_model=by_model,
        skilled=measured is not None and measured.skilled,
        frozen=frozen,
        sessions_behind=prepared.sessions_behind,
        known=stock is not None,
    )
    intervals = _intervals(prices, position)
    mape, mape_source = loaded.mape(chosen.symbol, horizon)
    return PredictResponse(
        symbol=chosen.symbol,
        name=stock.name if stock else None,
        sector=stock.sector if stock else None,
        prediction=published,
        mean_prediction=float(prices.raw[0, position]),
        horizon=horizon,
        target_date=loaded.history.sessions.ahead(last_date, days_of(horizon)),
        last_price=last,
        last_date=last_date.item(),
        change_percent=100 * (published / last - 1),
        expected_change_percent=float(prices.expected_change_percent[0, position]),
        **probability_fields(prices, position),
        model_type=chosen.model_type,
        confidence=level.word,
        confidence_reasons=list(level.reasons),
        confidence_interval=intervals.get("90"),
        intervals=intervals,
        mape=mape,
        mape_source=mape_source,
        naive_mape=measured.naive_mape if measured else None,
        forecast_source="model" if by_model else "last_price",
        warnings=[*prepared.caveats, *_last_price_caveats(by_model, frozen)],
        model_version=model_version(loaded.preset, chosen.model_type),
        release=loaded.release.id,
        cached=cached,
        execution_time=time.perf_counter() - started,
        timestamp=dt.datetime.now(dt.UTC),
        request_id=request_id,
    )


def batch_response(
    loaded: LoadedRelease,
    answers: list[PredictResponse],
    failures: Mapping[str, Exception],
    *,
    started: float,
    request_id: str,
) -> BatchResponse:
    """Combine the responses of one release; ``failures`` by symbol."""
    errors = [
        SymbolError(symbol=symbol, status=problem.status, title=problem.title, detail=problem.detail)
        for symbol, problem in ((symbol, problem_of(error)) for symbol, error in failures.items())
    ]
    return BatchResponse(
        predictions=answers,
        summary=BatchSummary(
            total=len(answers) + len(errors), successful=len(answers), failed=len(errors), errors=errors
        ),
        release=loaded.release.id,
        execution_time=time.perf_counter() - started,
        timestamp=dt.datetime.now(dt.UTC),
        request_id=request_id,
    )


def model_version(preset: str, model_type: str) -> str:
    """Return the name of the version, such as ``residual_specific``."""
    return f"{preset}_{'specific' if model_type == SPECIFIC else 'general'}"


def _last_price_caveats(by_model: bool, frozen: bool) -> list[Caveat]:
    """Say why the forecast is the last price."""
    if frozen:
        message = "The price has not moved for a whole window: the forecast is the last price."
        return [Caveat(code="frozen", message=message)]
    if not by_model:
        message = "The model did not beat the last price on validation: the forecast is the last price."
        return [Caveat(code="last_price", message=message)]
    return []


def probability_fields(prices: Prices, position: int) -> dict[str, float | None]:
    """Return ``probability_up`` and so on of one window; None where the model has none."""
    values = zip(DIRECTIONS, prices.probabilities[0, position], strict=True)
    return {f"probability_{name}": float(value) if np.isfinite(value) else None for name, value in values}


def _intervals(prices: Prices, position: int) -> dict[Level, Interval]:
    names: tuple[Level, ...] = get_args(Level)
    bounds = zip(names, LEVELS, prices.low[0, position], prices.high[0, position], strict=True)
    return {
        name: Interval(lower=float(low), upper=float(high), level=level)
        for name, level, low, high in bounds
        if np.isfinite(low) and np.isfinite(high)
    }
