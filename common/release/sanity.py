"""Checks of a release's forecasts: plausible prices, nested intervals, every stock, no look-ahead."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from common.exchange.ticks import tick
from common.forecast.conformal import LEVELS
from common.prices.series import Series
from common.release.bundle import GENERAL
from common.release.released_models import Forecast
from common.release.subject import Finding, Subject, finding

OWN_PAST = 250
"""Changes over a horizon that a stock needs for a range of its own; others use the range of all stocks."""
BOUND_MARGIN = 1.0
"""How far a 95 % bound may lie outside the range of past changes, in widths of that range. On the days of
2024, a margin of .25 would have refused a good release on 60 %, .5 on 29 % and 1 on none. The check is there
to catch diverging networks and wrong units; coverage measures the width of intervals."""
ROUNDING = 1e-9
"""Relative rounding error between two prices."""
AUDIT_DAYS, AUDIT_STOCKS = 3, 8
ORDER = ("lo95", "lo90", "lo80", "hi80", "hi90", "hi95")


def no_absurd_value(subject: Subject) -> Finding:
    """Check that the newest forecasts lie within the range of the stock's past changes over the horizon.

    The range is that of the log changes over h sessions in the release's panel, without corporate actions.
    The published and the raw price must lie inside it, and the bounds of the 95 % interval inside the range
    widened by ``BOUND_MARGIN`` times its width at either end. One tick more is allowed, so that rounding does
    not fail a calm stock. A stock with fewer than ``OWN_PAST`` changes uses the range of all stocks.
    """
    horizons = subject.models.models.window.horizons
    past = {horizon: _past(subject.series, horizon) for horizon in horizons}
    problems, values = [], 0
    for symbol, forecasts in subject.forecasts.items():
        for forecast in forecasts:
            low, high = past[forecast.horizon][symbol]
            for name, value, margin in _values(forecast):
                values += 1
                step = float(tick(np.array(100 * forecast.last_price))) / 100
                extra = margin * (high - low)
                lowest = forecast.last_price * np.exp(low - extra) - step
                highest = forecast.last_price * np.exp(high + extra) + step
                if not lowest <= value <= highest:
                    problems.append(
                        f"{symbol} {name} {forecast.horizon} days ahead is {value:.4g} KES, last price "
                        f"{forecast.last_price:.4g}, need {lowest:.4g} to {highest:.4g}"
                    )
    return finding(problems, f"{values} values of {len(subject.forecasts)} stocks")


def nested_intervals(subject: Subject) -> Finding:
    """Check that intervals are nested, at all levels or none, and prices of the test part positive."""
    forecasts = [each for of_stock in subject.forecasts.values() for each in of_stock]
    rows = [[_bounds(forecast).get(name, np.nan) for name in ORDER] for forecast in forecasts]
    newest = np.array(rows, dtype=float).reshape(-1, len(ORDER))
    problems = [
        f"{forecasts[i].symbol} {forecasts[i].horizon} days ahead: {newest[i].tolist()}"
        for i in np.flatnonzero(~_is_nested(newest))
    ]
    tested = subject.table[list(ORDER)].to_numpy(float)
    wrong = ~_is_nested(tested) | (subject.table[["raw", "published", *ORDER]] <= 0).any(axis=1).to_numpy()
    problems += [f"test part: {_row_key(row)}" for row in subject.table[wrong].itertuples()]
    count = int(np.isfinite(newest).all(axis=1).sum() + np.isfinite(tested).all(axis=1).sum())
    return finding(problems, f"{count} intervals" if count else "the model gives no intervals")


def all_forecast(subject: Subject) -> Finding:
    """Check that every stock with enough closes, or that the release claims to cover, has forecasts."""
    size, horizons = subject.models.models.window.size, len(subject.models.models.window.horizons)
    claimed = {*subject.jobs, *subject.models.bundle(GENERAL).forecaster.stock_ids, *subject.table["symbol"]}
    forecast, problems, short = 0, [], []
    for symbol in subject.models.universe.symbols:
        closes = subject.closes[symbol]
        if len(subject.forecasts.get(symbol, ())) == horizons:
            forecast += 1
        elif closes >= size or symbol in claimed:
            problems.append(f"{symbol}: {subject.refused.get(symbol, 'not every horizon')}")
        else:
            short.append(f"{symbol} ({closes} of {size} closes)")
    counts = f"{forecast} of {len(subject.models.universe.symbols)}"
    counts += f"; too little data: {', '.join(short)}" if short else ""
    return finding([f"{counts}; {problems[0]}", *problems[1:]] if problems else [], counts)


def no_look_ahead(subject: Subject) -> Finding:
    """Check that forecasts as of a test day equal the published test forecasts to the last digit.

    A forecast as of a day reads only what was known that day, so a test forecast that used later data would
    differ. Checks ``AUDIT_DAYS`` days spread over the test part with ``AUDIT_STOCKS`` stocks each, with and
    without a specific model.
    """
    table = subject.table
    days = np.sort(table["cutoff"].unique())
    if not len(days):
        return False, "no test forecast to repeat"
    chosen = np.unique(days[(np.arange(AUDIT_DAYS) * 2 + 1) * len(days) // (2 * AUDIT_DAYS)])
    problems: list[str] = []
    count = 0
    for day in chosen:
        rows = table[table["cutoff"] == day]
        ordered = rows[["model_type", "symbol"]].drop_duplicates().sort_values(["model_type", "symbol"])
        positions = np.unique(np.linspace(0, len(ordered) - 1, AUDIT_STOCKS).astype(int))
        for symbol in ordered["symbol"].iloc[positions]:
            own = rows[rows["symbol"] == symbol]
            count += len(own)
            problems += _differences(subject, symbol, pd.Timestamp(day).date(), own)
    dates = ", ".join(f"{pd.Timestamp(day):%Y-%m-%d}" for day in chosen)
    return finding(problems, f"{count} forecasts of {dates} repeated")


def _differences(subject: Subject, symbol: str, day: dt.date, rows: pd.DataFrame) -> Iterator[str]:
    forecasts = {each.horizon: each for each in subject.evaluated.forecast(symbol, as_of=day)}
    for row in rows.itertuples():
        forecast = forecasts[row.horizon]
        now = {
            "cutoff": forecast.last_date,
            "last_price": forecast.last_price,
            "raw": forecast.raw,
            "published": forecast.published,
            "frozen": forecast.frozen,
            "source": forecast.source,
            "model_type": forecast.model_type,
            **{name: _bounds(forecast).get(name, np.nan) for name in ORDER},
        }
        published = {name: getattr(row, name) for name in now} | {"cutoff": day}
        for name, value in now.items():
            other = published[name]
            if value != other and not (value != value and other != other):  # NaN equals NaN
                yield f"{symbol} {day}, horizon {row.horizon}: {name} is {value}, published {other}"


def _past(series: Series, horizon: int) -> dict[str, tuple[float, float]]:
    """Return each symbol's range of allowed log changes over ``horizon`` sessions."""
    own, enough = {}, set()
    for symbol in series.symbols:
        path = np.cumsum(series.log_return[series.rows(symbol)].astype(np.float64))
        changes = path[horizon:] - path[:-horizon]
        own[symbol] = (float(changes.min()), float(changes.max())) if len(changes) else (0.0, 0.0)
        enough |= {symbol} if len(changes) >= OWN_PAST else set()
    overall = min(low for low, _ in own.values()), max(high for _, high in own.values())
    return {symbol: span if symbol in enough else overall for symbol, span in own.items()}


def _values(forecast: Forecast) -> Iterator[tuple[str, float, float]]:
    """Yield the name, the value in KES and the margin, in widths of the range, of each value to check."""
    yield "published", forecast.published, 0.0
    yield "raw", forecast.raw, 0.0
    for name, value in _bounds(forecast).items():
        if name.endswith("95"):
            yield name, value, BOUND_MARGIN


def _bounds(forecast: Forecast) -> dict[str, float]:
    """Return the bounds ``lo80`` to ``hi95`` that the forecast has."""
    bounds = {}
    for level in (f"{100 * level:.0f}" for level in LEVELS):
        if level in forecast.intervals:
            bounds[f"lo{level}"], bounds[f"hi{level}"] = forecast.intervals[level]
    return bounds


def _is_nested(bounds: np.ndarray) -> np.ndarray:
    """Return whether each row, shape (N, 6) with columns as in ``ORDER``, ascends or is all NaN."""
    rising = (np.diff(bounds, axis=1) >= -ROUNDING * np.abs(bounds[:, 1:])).all(axis=1)
    nested: np.ndarray = rising | np.isnan(bounds).all(axis=1)
    return nested


def _row_key(row: Any) -> str:
    return f"{row.symbol} {row.cutoff:%Y-%m-%d}, horizon {row.horizon}"


CHECKS: tuple[tuple[str, str, Callable[[Subject], Finding]], ...] = (
    ("no absurd value", "within the stock's past changes over the same horizon", no_absurd_value),
    ("intervals", "each inside those of a higher level", nested_intervals),
    ("all counters answer", "every stock with enough data", all_forecast),
    ("no look-ahead", "as of a past day, equal to the last digit", no_look_ahead),
)
"""Name, requirement and function of each check, in order."""
