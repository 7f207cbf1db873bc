"""What is said of a forecast: its date, confidence, evidence and caveats."""

import datetime as dt
import time
from collections.abc import Mapping
from typing import get_args

import numpy as np

from common.forecast.confidence import confidence
from common.forecast.conformal import LEVELS
from common.forecast.prices import Prices
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


def answer(
    loaded: LoadedRelease,
    prepared: PreparedRequest,
    prices: Prices,
    *,
    cached: bool,
    started: float,
    request_id: str,
) -> PredictResponse:
    """The response to a prepared question.

    Parameters
    ----------
    prices : of ``prepared.windows``, from the model ``prepared.key``
    cached : the model was loaded already
    started : `time.perf_counter` when the request came in
    """
    chosen, place, horizon = prepared.route, prepared.place, prepared.request.horizon
    stock, last_date = chosen.stock, prepared.windows.cutoff[0]
    last, published = float(prices.last[0]), float(prices.published[0, place])
    by_model, frozen = bool(prices.by_model[0, place]), bool(prices.frozen[0])
    measured = loaded.measured(chosen.symbol, horizon)
    found = confidence(
        model_type=chosen.model_type,
        by_model=by_model,
        skilled=measured is not None and measured.skilled,
        frozen=frozen,
        sessions_behind=prepared.sessions_behind,
        known=stock is not None,
    )
    intervals = _intervals(prices, place)
    return PredictResponse(
        symbol=chosen.symbol,
        name=stock.name if stock else None,
        sector=stock.sector if stock else None,
        prediction=published,
        mean_prediction=float(prices.raw[0, place]),
        horizon=horizon,
        target_date=loaded.past.sessions.ahead(last_date, days_of(horizon)),
        last_price=last,
        last_date=last_date.item(),
        change_percent=100 * (published / last - 1),
        model_type=chosen.model_type,
        confidence=found.word,
        confidence_reasons=list(found.reasons),
        confidence_interval=intervals.get("90"),
        intervals=intervals,
        mape=measured.mape if measured else None,
        naive_mape=measured.naive_mape if measured else None,
        forecast_source="model" if by_model else "last_price",
        warnings=[*prepared.caveats, *_of_the_forecast(by_model, frozen)],
        model_version=model_version(loaded.preset, chosen.model_type),
        release=loaded.release.id,
        cached=cached,
        execution_time=time.perf_counter() - started,
        timestamp=dt.datetime.now(dt.UTC),
        request_id=request_id,
    )


def batch_answer(
    loaded: LoadedRelease,
    answers: list[PredictResponse],
    failures: Mapping[str, Exception],
    *,
    started: float,
    request_id: str,
) -> BatchResponse:
    """Many answers of one release as one response; ``failures`` by symbol."""
    errors = []
    for symbol, error in failures.items():
        problem = problem_of(error)
        errors.append(
            SymbolError(symbol=symbol, status=problem.status, title=problem.title, detail=problem.detail)
        )
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
    """``residual_specific`` or ``residual_general``."""
    return f"{preset}_{'specific' if model_type == SPECIFIC else 'general'}"


def _of_the_forecast(by_model: bool, frozen: bool) -> list[Caveat]:
    if frozen:
        return [
            Caveat(
                code="frozen", message="The price has not moved for a whole window: the last one is given."
            )
        ]
    if not by_model:
        return [
            Caveat(
                code="last_price",
                message="The model did not beat the last price on validation: the last price is given.",
            )
        ]
    return []


def _intervals(prices: Prices, place: int) -> dict[Level, Interval]:
    names: tuple[Level, ...] = get_args(Level)
    bounds = zip(names, LEVELS, prices.low[0, place], prices.high[0, place], strict=True)
    return {
        name: Interval(lower=float(low), upper=float(high), level=level)
        for name, level, low, high in bounds
        if np.isfinite(low) and np.isfinite(high)
    }
