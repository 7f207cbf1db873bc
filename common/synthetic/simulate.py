"""Simulate the synthetic market: its stocks, their events and their true sessions.

Symbols, names and sectors are those of the universe; prices, volumes and events are random. As on the real
exchange, the day price is the volume-weighted average of the day's trades (so that its position between low
and high helps a little to predict the next day), many stocks trade thinly, prices are multiples of a tick and
move at most 10 % a day, and stocks are suspended and split.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from pydantic import NonNegativeInt, PositiveInt, model_validator

from common.config import Config
from common.exchange.ticks import tick
from common.exchange.universe import load_universe
from common.synthetic.write import sector_order

INDICES = {"^N20I": "NSE 20-Share Index", "^NASI": "NSE All-Share Index"}
FIRST_PRICES = {
    "SCOM": 25, "EQTY": 45, "KCB": 40, "COOP": 13, "ABSA": 12, "SCBK": 160, "EABL": 170, "BAT": 440,
    "BRIT": 6, "JUB": 220, "CIC": 2, "BAMB": 45, "NMG": 18, "NCBA": 35, "KEGN": 4, "KPLC": 2,
    "ARM": 5.54, "UNGA": 25,
}  # fmt: skip
"""Realistic price levels in KES, for demonstrations; the others are random."""
THIN = ("UNGA",)
FROZEN = ("ARM", "DCON", "HBE", "KQ", "NBK", "MSC", "KURV", "LAPR")
LATE = "LAPR"

SLOTS = 8
"""Times of a day at which a stock may trade."""
BAND = 0.10
"""The exchange's limit on a day's move in either direction."""
FLOOR = 5
"""The lowest price, in cents; only splits go below it."""
RATIOS = (0.5, 0.5, 0.25, 0.2, 0.4, 4.0)
"""New price to old in a split, bonus or consolidation; all far outside the daily band."""
DAY_DEFECTS = (
    "stale_day", "stale_run", "missing_day", "doubled_day", "mistyped_date",
    "no_range", "bad_range", "no_price", "fake_volume", "comma_row", "stale_day", "no_range",
)  # fmt: skip
SLOT_SESSIONS = 6
"""Fewest sessions between two planted defects; a short market gets only the first ones."""


class MarketConfig(Config):
    """Settings of the synthetic market."""

    seed: NonNegativeInt = 7
    """The same seed and settings give the same bytes."""
    symbols: PositiveInt = 66
    """Number of stocks; beyond the universe's 66 they are called S00067, S00068, ..."""
    first_day: dt.date = dt.date(2020, 1, 2)
    """First calendar day."""
    last_day: dt.date = dt.date(2024, 12, 31)
    """Last calendar day."""
    actions_per_year: Annotated[float, Ge(0), Le(1)] = 0.02
    """Splits, bonuses and consolidations per stock and year."""
    suspensions_per_year: Annotated[float, Ge(0), Le(1)] = 0.05
    """Suspensions of some weeks per stock and year."""
    defects: bool = True
    """Plant the archive's defects."""

    @model_validator(mode="after")
    def _has_days(self) -> "MarketConfig":
        if len(sessions(self.first_day, self.last_day)) < 2:
            raise ValueError(f"{self.first_day} to {self.last_day} holds fewer than two trading days")
        return self


@dataclass(frozen=True)
class Day:
    """One true session: int64 arrays of length N + 2, for the stocks and then ``^N20I`` and ``^NASI``.

    Prices are KES cents (index points times 100); ``previous`` is 0 on the first day of a listing, and
    ``volume`` is 0 if fewer than 100 shares were traded.
    """

    position: int
    date: dt.date
    members: np.ndarray
    """Positions of the listed ones, in the order of the file."""
    low: np.ndarray
    high: np.ndarray
    close: np.ndarray
    previous: np.ndarray
    volume: np.ndarray


@dataclass(frozen=True)
class MarketPlan:
    """Everything that is drawn before the first session; arrays have length N.

    ``price``: cents; ``sigma``: per session; ``activity``: probability of a trade at one of the day's times;
    ``volume``: typical shares a day. Events have the position of their session, from 0; an event at position
    ``len(days)`` or later never happens.
    """

    days: list[dt.date]
    symbols: list[str]
    names: list[str]
    sectors: list[str]
    price: np.ndarray
    sigma: np.ndarray
    activity: np.ndarray
    volume: np.ndarray
    listed_from: np.ndarray
    suspended_from: np.ndarray
    suspended_until: np.ndarray
    action_at: np.ndarray
    ratio: np.ndarray
    defects: dict[int, str] = field(default_factory=dict)


def sessions(first: dt.date, last: dt.date) -> list[dt.date]:
    """Return the weekdays from ``first`` to ``last`` without Kenya's fixed public holidays."""
    holidays = {(1, 1), (5, 1), (6, 1), (10, 10), (10, 20), (12, 12), (12, 25), (12, 26)}
    days = (first + dt.timedelta(days=n) for n in range((last - first).days + 1))
    return [day for day in days if day.weekday() < 5 and (day.month, day.day) not in holidays]


def on_tick(cents: np.ndarray) -> np.ndarray:
    """Round cents (float; infinite values give 0) to the nearest tick, as int64."""
    cents = np.where(np.isfinite(cents), cents, 0)
    step = tick(cents)
    return np.asarray(np.rint(cents / step) * step, dtype=np.int64)


def make_plan(config: MarketConfig) -> MarketPlan:
    """Draw the stocks and their events from the seed."""
    rng = np.random.default_rng([config.seed, 0])
    days = sessions(config.first_day, config.last_day)
    real = sorted(load_universe().stocks, key=lambda stock: stock.symbol not in FIRST_PRICES)
    stocks = [(stock.symbol, stock.name, stock.sector) for stock in real[: config.symbols]]
    listed_sectors = sorted({sector for _, _, sector in stocks})
    for number in range(len(stocks) + 1, config.symbols + 1):
        sector = listed_sectors[number % len(listed_sectors)]
        stocks.append((f"S{number:05d}", f"Synthetic Company {number} Plc", sector))
    stocks.sort(key=lambda stock: (sector_order(stock[2]), stock[0]))
    symbols, names, sectors = (list(column) for column in zip(*stocks, strict=True))
    n, count, years = len(symbols), len(days), len(days) / 250

    frozen = np.isin(symbols, FROZEN)
    liquid = np.isin(symbols, list(FIRST_PRICES)) & ~frozen & ~np.isin(symbols, THIN)
    rank = np.empty(n)  # 0: hardly trades, 1: trades all the time
    rank[rng.permutation(n)] = (np.arange(n) + 0.5) / n
    rank = np.where(liquid, 0.8 + 0.2 * rank, np.where(np.isin(symbols, THIN), 0.4, rank))
    activity = np.where(frozen, 0, 1 / (1 + np.exp(5.5 - 9 * rank)))
    sigma = (0.032 - 0.014 * rank) * np.exp(rng.normal(0, 0.2, n))
    price = np.exp(rng.uniform(np.log(0.6), np.log(450), n))
    fixed = np.array([FIRST_PRICES.get(symbol, np.nan) for symbol in symbols])
    price = 100 * np.where(np.isnan(fixed), price, fixed)
    volume = 10 ** (2.7 + 3.2 * rank**2 + rng.normal(0, 0.3, n))

    positions = np.arange(count // 20 + 2, count - 2)
    slots = len(positions) // SLOT_SESSIONS
    defects: dict[int, str] = {}
    if config.defects and slots:
        kinds = DAY_DEFECTS[:slots]
        for kind, part in zip(kinds, np.array_split(positions, len(kinds)), strict=True):
            inside = [p for p in part[2:-3] if days[p - 1].year == days[p + 1].year]
            if inside:
                defects[int(rng.choice(inside))] = kind
    disturbed = {position + offset for position in defects for offset in (-1, 0, 1, 2)}
    quiet = np.array([p for p in range(2, count - 2) if p not in disturbed] or [count], dtype=np.int64)
    acts = (rng.random(n) < config.actions_per_year * years) & ~frozen
    if config.actions_per_year and n > 1 and count > 100:
        acts[np.flatnonzero(liquid)[:1]] = True
    action_at = np.where(acts, rng.choice(quiet, n), count)
    start = np.where(rng.random(n) < config.suspensions_per_year * years, rng.integers(0, count, n), count)
    until = start + rng.integers(15, 60, n)
    start = np.where(liquid | ((start <= action_at) & (action_at < until)), count, start)
    late = np.isin(symbols, [LATE])
    return MarketPlan(
        days, symbols, names, sectors, price, sigma, activity, volume,
        listed_from=np.where(late, quiet[int(0.6 * len(quiet))] if count > 10 else 0, 0),
        suspended_from=start, suspended_until=until,
        action_at=action_at, ratio=rng.choice(RATIOS, n), defects=defects,
    )  # fmt: skip


def simulate(config: MarketConfig, plan: MarketPlan) -> Iterator[Day]:
    """Yield the true sessions one by one; memory depends on the number of stocks, not of days.

    Each stock has an efficient log price with market and own shocks of stochastic volatility, partly
    overnight, and a slow reversion to its first level. At some of the day's times it trades at that price
    plus or minus half a spread. The day price is the volume-weighted average of these trades.
    """
    rng = np.random.default_rng([config.seed, 1])
    n, closed = len(plan.symbols), {p for p, kind in plan.defects.items() if kind == "fake_volume"}
    anchor = np.log(plan.price)
    efficient = anchor.copy()
    close = np.maximum(on_tick(plan.price), 1)
    shares = np.exp(rng.normal(0, 1, n)) * (1e8 * (0.05 + plan.activity) / close)
    beta, spread = rng.uniform(0.2, 0.9, n), plan.sigma * (0.9 - 0.4 * plan.activity)
    blue = np.argsort(-shares * close, kind="stable")[:20]
    turmoil, heat = 0.0, np.zeros(n)
    level = np.array([1500.0, 120.0])
    points = np.rint(level * 100).astype(np.int64)
    share_of_step = np.sqrt(np.r_[0.2, np.full(SLOTS, 0.8 / SLOTS)])[:, None]  # overnight, then the slots
    for position, day in enumerate(plan.days):
        turmoil = 0.95 * turmoil + rng.normal(0, 0.12)
        heat = 0.9 * heat + rng.normal(0, 0.25, n)
        size = plan.sigma * np.exp(heat - 0.3)
        market = rng.normal(0, 1, (SLOTS + 1, 1)) * np.exp(turmoil)
        own = rng.standard_normal((SLOTS + 1, n))
        own[0] *= np.where(rng.random(n) < 0.02, 4, 1)
        steps = share_of_step * (size * own + 0.007 * beta * market)
        split = plan.action_at == position
        reference = np.where(split, close * plan.ratio, close)
        anchor = anchor + split * np.log(plan.ratio)
        efficient = efficient + split * np.log(plan.ratio) + 0.0015 * (anchor - efficient)
        path = efficient + np.cumsum(steps, axis=0)
        efficient = path[-1]

        awake = (position < plan.suspended_from) | (position >= plan.suspended_until)
        awake &= (position >= plan.listed_from) & (position not in closed)
        trades = rng.random((SLOTS, n)) < np.minimum(plan.activity * np.exp(0.5 * heat), 0.97)
        trades[-1] |= split
        trades &= awake
        quote = np.exp(path[1:] + spread * rng.choice([-1.0, 1.0], (SLOTS, n)))
        quote = np.where(rng.random(n) < 0.06, reference, quote)  # days traded at the last price
        quote = np.clip(quote, np.maximum(reference * (1 - BAND), FLOOR), reference * (1 + BAND))
        weight = trades * np.exp(rng.normal(0, 1.5, (SLOTS, n)))
        traded, total = trades.any(axis=0), weight.sum(axis=0)
        average = (weight * quote).sum(axis=0) / np.where(traded, total, 1)
        low = np.where(traded, on_tick(np.where(trades, quote, np.inf).min(axis=0)), close)
        high = np.where(traded, on_tick(np.where(trades, quote, 0).max(axis=0)), close)
        previous, close = close, np.where(traded, np.clip(on_tick(average), low, high), close)
        volume = plan.volume * total / SLOTS * np.exp(0.8 * heat + rng.normal(0, 0.9, n))
        volume = np.floor(volume / 100).astype(np.int64) * 100

        opening = (plan.listed_from == position) & (position > 0)
        volume = np.where(opening, 250_000, volume)
        shares = np.where(split, shares / plan.ratio, shares)
        base = np.where(split, previous * plan.ratio, previous)
        growth = [np.exp(np.mean(np.log(close[blue] / base[blue]))), (shares @ close) / (shares @ base)]
        level, before = level * growth, points
        points = np.rint(level * 100).astype(np.int64)
        yield Day(
            position, day,
            members=np.r_[np.flatnonzero(position >= plan.listed_from), n, n + 1],
            low=np.r_[low, points], high=np.r_[high, points], close=np.r_[close, points],
            previous=np.r_[np.where(opening, 0, previous), before], volume=np.r_[volume, 0, 0],
        )  # fmt: skip
