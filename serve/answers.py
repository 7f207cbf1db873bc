"""What is said of a forecast: its date, confidence, evidence and caveats."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

import numpy as np

from common.data.windows import Windows
from common.model.confidence import STALE_SESSIONS, confidence
from common.model.conformal import LEVELS
from common.model.presets import SPECIFIC
from common.model.prices import Prices
from serve.problems import problem_of
from serve.routing import Route
from serve.schemas import (
    BatchResponse,
    BatchSummary,
    Caveat,
    Interval,
    Level,
    PredictRequest,
    PredictResponse,
    SymbolError,
    days_of,
)
from serve.sessions import Sessions

if TYPE_CHECKING:
    from serve.desk import Desk, Prepared


def answer(
    desk: Desk, prepared: Prepared, prices: Prices, *, cached: bool, started: float, request_id: str
) -> PredictResponse:
    """The response to a prepared question, see `Desk.answer`."""
    chosen, place, horizon = prepared.route, prepared.place, prepared.request.horizon
    stock, last_date = chosen.stock, prepared.windows.cutoff[0]
    last, published = float(prices.last[0]), float(prices.published[0, place])
    by_model, frozen = bool(prices.by_model[0, place]), bool(prices.frozen[0])
    measured = desk.measured(chosen.symbol, horizon)
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
        target_date=desk.past.sessions.ahead(last_date, days_of(horizon)),
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
        model_version=model_version(desk.preset, chosen.model_type),
        release=desk.release.id,
        cached=cached,
        execution_time=time.perf_counter() - started,
        timestamp=dt.datetime.now(dt.UTC),
        request_id=request_id,
    )


def batch_answer(
    desk: Desk,
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
        release=desk.release.id,
        execution_time=time.perf_counter() - started,
        timestamp=dt.datetime.now(dt.UTC),
        request_id=request_id,
    )


def model_version(preset: str, model_type: str) -> str:
    """``residual_specific`` or ``residual_general``."""
    return f"{preset}_{'specific' if model_type == SPECIFIC else 'general'}"


def sessions_behind(request: PredictRequest, windows: Windows, sessions: Sessions) -> int:
    """Sessions of the market from the last price to ``as_of``, by default to the end of the data."""
    end = np.datetime64(request.as_of) if request.as_of else sessions.last
    return sessions.between(windows.cutoff[0], end)


def cautions(
    desk: Desk, request: PredictRequest, chosen: Route, windows: Windows, behind: int, due: dt.date
) -> tuple[Caveat, ...]:
    """What to know whatever the model says; ``due``: the last day whose closes can be known."""
    last_date, end, found = windows.cutoff[0].item(), desk.data_end, []
    if desk.panel.synthetic:
        found.append(("synthetic", f"The market is invented ({desk.panel.source}): no real price."))
    if request.brings_prices:
        found += _of_the_prices(request, last_date, desk.spec.size)
    else:
        if not request.as_of and (old := desk.past.sessions.between(np.datetime64(end), np.datetime64(due))):
            closed = "1 session has" if old == 1 else f"{old} sessions have"
            found.append(("old_data", f"The release's prices end on {end}; {closed} closed since then."))
        if not windows.series.true[-1]:
            found.append(("copied_day", f"The close of {last_date} was not known; the one before stands in."))
    if behind >= STALE_SESSIONS:
        found.append(("stale", f"The last price is of {last_date}, {behind} sessions ago."))
    if last_date < desk.valid_end:
        found.append(
            (
                "in_sample",
                f"The models were fitted or chosen on what came after {last_date}: no measure of skill.",
            )
        )
    if chosen.stock is None:
        found.append(("unknown_symbol", "No counter of this release: forecast from the prices sent alone."))
    elif chosen.stock.tier == "specific" and chosen.model_type != SPECIFIC:
        if chosen.symbol in desk.own:
            found.append(("fallback", "The stock's own model cannot be loaded; the general one answers."))
        else:
            found.append(
                ("no_own_model", "This release has no model of the stock's own; the general one answers.")
            )
    return tuple(Caveat(code=code, message=message) for code, message in found)


def _of_the_prices(request: PredictRequest, last_date: dt.date, size: int) -> list[tuple[str, str]]:
    bars = request.recent_bars
    got = len(bars or request.recent_prices or [])
    found = []
    if bars:
        found.append(("market_unknown", "What the market did is not known to bars and counts as unknown."))
    else:
        found.append(
            ("closes_only", "Range, volume and market are not known to closes and count as unknown.")
        )
    if not (bars and bars[-1].date):
        found.append(
            ("dates_assumed", f"The prices are taken to end on {last_date}. Send as_of, or bars with dates.")
        )
    if got > size:
        found.append(("clipped", f"The newest {size} of {got} prices are used."))
    return found


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
