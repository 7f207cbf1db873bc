"""Checks of what a release says: sensible prices, ordered intervals, every counter, no look ahead."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from common.exchange.ticks import tick
from common.forecast.conformal import LEVELS
from common.prices.series import Series
from common.release.bundle import GENERAL
from common.release.forecasts import Forecast
from train.evaluation.backtest import BOUNDS
from train.gate.subject import Finding, Subject, finding

OWN_PAST = 250
"""Changes over a horizon that a stock needs to be judged by its own past, else by every stock's."""
BOUND_MARGIN = 1.0
"""How far a 95 % bound may lie outside the range of past changes, in widths of that range. A share of .25
would have refused a sound release on 60 % of the days of 2024, .5 on 29 %, 1 on none: it is there to catch a
network that explodes or a wrong unit, while the width of intervals is measured by their coverage."""
ROUNDING = 1e-9
"""Relative difference of two prices that floating point may make."""
AUDIT_DAYS, AUDIT_STOCKS = 3, 8
ORDER = ("lo95", "lo90", "lo80", "hi80", "hi90", "hi95")


def no_absurd_value(subject: Subject) -> Finding:
    """The newest forecasts stay within what the stock ever did over such a horizon.

    Its log changes over h sessions in the release's own panel, corporate actions taken out, span a range.
    The published and the raw price must lie inside it, the bounds of the 95 % interval inside the range
    widened by ``BOUND_MARGIN`` of its width at either end, and each may be one tick further out, so that a
    calm stock does not fail by rounding. A stock with fewer than ``OWN_PAST`` such changes is judged by those
    of all stocks together.
    """
    horizons = subject.models.models.window.horizons
    past = {horizon: _past(subject.series, horizon) for horizon in horizons}
    problems, values = [], 0
    for symbol, answers in subject.answers.items():
        for answer in answers:
            low, high = past[answer.horizon][symbol]
            for name, value, margin in _values(answer):
                values += 1
                step = float(tick(np.array(100 * answer.last_price))) / 100
                wider = margin * (high - low)
                least = answer.last_price * np.exp(low - wider) - step
                most = answer.last_price * np.exp(high + wider) + step
                if not least <= value <= most:
                    problems.append(
                        f"{symbol} {name} {answer.horizon} days ahead is {value:.4g} KES, last "
                        f"{answer.last_price:.4g}, need {least:.4g} to {most:.4g}"
                    )
    return finding(problems, f"{values} values of {len(subject.answers)} counters")


def positive_prices(subject: Subject) -> Finding:
    """The newest forecasts and those of the test part are positive numbers of KES, any bounds too."""
    problems = [
        f"{symbol} {name} {answer.horizon} days ahead is {value}"
        for symbol, answers in subject.answers.items()
        for answer in answers
        for name, value in {
            "last price": answer.last_price,
            "published": answer.published,
            "raw": answer.raw,
            **_bounds(answer),
        }.items()
        if not (np.isfinite(value) and value > 0)
    ]
    table = subject.table
    prices = table[["last_price", "raw", "published"]].to_numpy(float)
    bounds = table[list(BOUNDS)].to_numpy(float)
    good = np.isfinite(prices).all(axis=1) & (prices > 0).all(axis=1)
    good &= (np.isnan(bounds) | (np.isfinite(bounds) & (bounds > 0))).all(axis=1)
    problems += [f"test part: {_named(row)}" for row in table[~good].itertuples()]
    newest = sum(map(len, subject.answers.values()))
    return finding(problems, f"{newest} newest and {len(table)} test forecasts")


def nested_intervals(subject: Subject) -> Finding:
    """Each interval lies inside the surer ones; a forecast has all three or none."""
    newest = [answer for answers in subject.answers.values() for answer in answers]
    rows = [[_bounds(answer).get(name, np.nan) for name in ORDER] for answer in newest]
    told = np.array(rows, dtype=float).reshape(-1, len(ORDER))
    problems = [
        f"{newest[place].symbol} {newest[place].horizon} days ahead: {told[place].tolist()}"
        for place in np.flatnonzero(~_is_nested(told))
    ]
    tested = subject.table[list(ORDER)].to_numpy(float)
    problems += [f"test part: {_named(row)}" for row in subject.table[~_is_nested(tested)].itertuples()]
    count = int(np.isfinite(told).all(axis=1).sum() + np.isfinite(tested).all(axis=1).sum())
    return finding(problems, f"{count} intervals" if count else "the model gives no intervals")


def general_tier_answers(subject: Subject) -> Finding:
    general = {stock.symbol for stock in subject.models.universe.general}
    return _answering(subject, general)


def all_answer(subject: Subject) -> Finding:
    return _answering(subject, set(subject.models.universe.symbols))


def no_look_ahead(subject: Subject) -> Finding:
    """Asked as of a day of the test part, the release repeats the published test forecast to the last digit.

    Asked that way it reads what was known that evening alone, so that a forecast that had seen more would
    differ. ``AUDIT_DAYS`` days spread over the test part, ``AUDIT_STOCKS`` stocks each, with models of their
    own and without.
    """
    table = subject.table
    days = np.sort(table["cutoff"].unique())
    chosen = days[(np.arange(AUDIT_DAYS) * 2 + 1) * len(days) // (2 * AUDIT_DAYS)] if len(days) else days
    problems: list[str] = []
    count = 0
    for day in np.unique(chosen):
        rows = table[table["cutoff"] == day]
        ordered = rows[["model_type", "symbol"]].drop_duplicates().sort_values(["model_type", "symbol"])
        places = np.unique(np.linspace(0, len(ordered) - 1, AUDIT_STOCKS).astype(int))
        for symbol in ordered["symbol"].iloc[places]:
            mine = rows[rows["symbol"] == symbol]
            count += len(mine)
            problems += _differences(subject, symbol, pd.Timestamp(day).date(), mine)
    if not count:
        return False, "no test forecast to repeat"
    named = ", ".join(f"{pd.Timestamp(day):%Y-%m-%d}" for day in np.unique(chosen))
    return finding(problems, f"{count} forecasts of {named} repeated")


def _differences(subject: Subject, symbol: str, day: dt.date, rows: pd.DataFrame) -> Iterator[str]:
    answers = {answer.horizon: answer for answer in subject.evaluated.forecast(symbol, as_of=day)}
    for row in rows.itertuples():
        answer = answers[row.horizon]
        now = {
            "cutoff": answer.last_date,
            "last_price": answer.last_price,
            "raw": answer.raw,
            "published": answer.published,
            "frozen": answer.frozen,
            "source": answer.source,
            "model_type": answer.model_type,
            **{name: _bounds(answer).get(name, np.nan) for name in ORDER},
        }
        then = {name: getattr(row, name) for name in now} | {"cutoff": day}
        for name, value in now.items():
            if value != then[name] and not (value != value and then[name] != then[name]):
                yield f"{symbol} {day}, horizon {row.horizon}: {name} is {value}, published {then[name]}"


def _answering(subject: Subject, symbols: set[str]) -> Finding:
    """Every counter with a window of closes answers; one without need not, unless the release claims it."""
    size, horizons = subject.models.models.window.size, len(subject.models.models.window.horizons)
    claimed = {*subject.jobs, *subject.models.bundle(GENERAL).forecaster.stock_ids, *subject.table["symbol"]}
    answering, problems, short = 0, [], []
    for symbol in sorted(symbols):
        closes = subject.closes[symbol]
        if len(subject.answers.get(symbol, ())) == horizons:
            answering += 1
        elif closes >= size or symbol in claimed:
            problems.append(f"{symbol}: {subject.refused.get(symbol, 'not every horizon')}")
        else:
            short.append(f"{symbol} ({closes} of {size} closes)")
    found = f"{answering} of {len(symbols)}" + (f"; too little data: {', '.join(short)}" if short else "")
    return finding([f"{found}; {problems[0]}", *problems[1:]] if problems else [], found)


def _past(series: Series, horizon: int) -> dict[str, tuple[float, float]]:
    """By symbol, the least and the largest log change over ``horizon`` sessions that it is judged by."""
    own, enough = {}, set()
    for symbol in series.symbols:
        path = np.cumsum(series.log_return[series.rows(symbol)].astype(np.float64))
        changes = path[horizon:] - path[:-horizon]
        own[symbol] = (float(changes.min()), float(changes.max())) if len(changes) else (0.0, 0.0)
        enough |= {symbol} if len(changes) >= OWN_PAST else set()
    everyone = min(low for low, _ in own.values()), max(high for _, high in own.values())
    return {symbol: span if symbol in enough else everyone for symbol, span in own.items()}


def _values(answer: Forecast) -> Iterator[tuple[str, float, float]]:
    """What may be absurd in a forecast: name, KES, and how far out it may lie, in widths of the range."""
    yield "published", answer.published, 0.0
    yield "raw", answer.raw, 0.0
    for name, value in _bounds(answer).items():
        if name.endswith("95"):
            yield name, value, BOUND_MARGIN


def _bounds(answer: Forecast) -> dict[str, float]:
    """``lo80`` to ``hi95``, those there are."""
    named = {}
    for level in (f"{100 * level:.0f}" for level in LEVELS):
        if level in answer.intervals:
            named[f"lo{level}"], named[f"hi{level}"] = answer.intervals[level]
    return named


def _is_nested(bounds: np.ndarray) -> np.ndarray:
    """By row of shape (N, 6), columns as in ``ORDER``."""
    rising = (np.diff(bounds, axis=1) >= -ROUNDING * np.abs(bounds[:, 1:])).all(axis=1)
    nested: np.ndarray = rising | np.isnan(bounds).all(axis=1)
    return nested


def _named(row: Any) -> str:
    return f"{row.symbol} {row.cutoff:%Y-%m-%d}, horizon {row.horizon}"
