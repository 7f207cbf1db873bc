"""The forecast card: a stock's forecasts, the errors of past forecasts, and cautions."""

import datetime as dt
from typing import Any, Literal

import numpy as np

from common.forecast.confidence import ConfidenceRating
from serve.forecaster import Forecaster
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import Horizon, Model, PredictResponse, days_of

WIDE = 0.25
"""A range wider than this share of the last price gets a caution."""
Verdict = Literal["better", "same", "worse"]


class Reliability(Model):
    """Errors on the test part, as published with the release."""

    n: int
    """Forecasts that were scored."""
    mape: float
    """Mean absolute error in percent of the actual price."""
    naive_mape: float
    """The same of the last price taken as the forecast."""
    cover90: float | None
    """Share of actual prices inside the 90 % range."""
    rel_mae: float | None
    """Error in percent of the last price, over the same error of the last price taken as the forecast."""
    verdict: Verdict
    """Against the last price, by ``rel_mae`` as printed (three decimals)."""
    by_mape: Verdict
    """The same by the two MAPEs as printed; it may be the opposite where prices changed much."""


class CardLine(Model):
    """One horizon; KES."""

    horizon: Horizon
    target_date: dt.date
    prediction: float
    change_percent: float
    expected_change_percent: float | None = None
    """Of the mean price, see `PredictResponse`."""
    probability_up: float | None = None
    """Of a close above the last price; null where the model gives no probabilities."""
    probability_unchanged: float | None = None
    probability_down: float | None = None
    lower: float | None
    """Of the 90 % range; null where the model has none."""
    upper: float | None
    confidence: ConfidenceRating
    past: Reliability | None
    """Null: not measured."""


class Caution(Model):
    """A reason not to rely on the card; ``values`` fill its sentence."""

    code: str
    values: dict[str, str | int | float | dt.date | list[int]]


class Card(Model):
    """The numbers of a card."""

    symbol: str
    name: str
    sector: str
    last_price: float
    last_date: dt.date
    test_from: dt.date
    test_to: dt.date
    outlook: list[CardLine]
    """Nearest horizon first."""
    cautions: list[Caution]
    release: str


def make_card(
    forecaster: Forecaster,
    symbol: str,
    horizons: list[Horizon] | None = None,
    *,
    as_of: dt.date | None = None,
    today: dt.date | None = None,
) -> Card:
    """Make the card of one stock.

    Parameters
    ----------
    horizons : default: all of the release
    as_of : forecast from what was known on the evening of that day
    today : as in `LoadedRelease.prepare`

    Raises
    ------
    UnknownSymbol, InsufficientHistory, BadRequest
        If it cannot be forecast.
    """
    loaded = forecaster.loaded
    chosen = horizons or forecaster.horizons
    answers = [forecaster.one(symbol, name, as_of=as_of, today=today) for name in chosen]
    first = answers[0]
    return Card(
        symbol=first.symbol,
        name=first.name or first.symbol,
        sector=first.sector or "",
        last_price=first.last_price,
        last_date=first.last_date,
        test_from=loaded.valid_end,
        test_to=dt.date.fromisoformat(loaded.release.info["test_end"]),
        outlook=[_line(loaded, answer) for answer in answers],
        cautions=_cautions(loaded, answers, as_of, today or loaded.clock.last_due()),
        release=first.release,
    )


def _line(loaded: LoadedRelease, answer: PredictResponse) -> CardLine:
    bounds, measured = answer.confidence_interval, loaded.measured(answer.symbol, answer.horizon)
    past = None
    if measured and measured.n and measured.mape is not None and measured.naive_mape is not None:
        by_mape = _verdict(round(measured.mape, 2), round(measured.naive_mape, 2))
        ratio = measured.rel_mae
        past = Reliability(
            n=measured.n,
            mape=measured.mape,
            naive_mape=measured.naive_mape,
            cover90=measured.cover90,
            rel_mae=ratio,
            verdict=by_mape if ratio is None else _verdict(round(ratio, 3), 1),
            by_mape=by_mape,
        )
    return CardLine(
        lower=bounds.lower if bounds else None,
        upper=bounds.upper if bounds else None,
        past=past,
        **{
            name: getattr(answer, name) for name in CardLine.model_fields if name in type(answer).model_fields
        },
    )


def _verdict(ours: float, naive: float) -> Verdict:
    return "better" if ours < naive else "same" if ours == naive else "worse"


def _cautions(
    loaded: LoadedRelease, answers: list[PredictResponse], as_of: dt.date | None, due: dt.date
) -> list[Caution]:
    sessions, last, end = loaded.history.sessions, answers[0].last_date, loaded.data_end
    until = np.datetime64(as_of or end)
    values: dict[str, dict[str, Any]] = {
        "synthetic": {"source": loaded.panel.source},
        "old_data": {"date": end, "sessions": sessions.between(np.datetime64(end), np.datetime64(due))},
        "stale": {"date": last, "sessions": sessions.between(np.datetime64(last), until)},
        "copied_day": {"date": last},
        "in_sample": {"date": last},
        "frozen": {"sessions": loaded.spec.size},
    }
    warnings = {caveat.code: caveat.message for answer in answers for caveat in answer.warnings}
    cautions = [
        Caution(code=code, values=values.get(code, {"message": message}))
        for code, message in warnings.items()
    ]
    if loaded.release.info.get("quick"):
        cautions.append(Caution(code="quick", values={}))
    if not all(answer.confidence_interval for answer in answers):
        cautions.append(Caution(code="no_range", values={}))
    widths = {
        days_of(answer.horizon): (bounds.upper - bounds.lower) / answer.last_price
        for answer in answers
        if (bounds := answer.confidence_interval)
    }
    if wide := {days: width for days, width in widths.items() if width > WIDE}:
        percent = 100 * max(wide.values())
        cautions.append(Caution(code="wide", values={"horizons": list(wide), "percent": percent}))
    return cautions
