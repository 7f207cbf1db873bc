"""Quality of a release beyond its matrix: errors by horizon, calibration, embedding, the five questions."""

import datetime as dt
from typing import Literal

from serve.schemas.forecast import Horizon, Model

Entry = Literal["next_close", "same_close"]
"""Bought at the close of the session after the cutoff, or at the cutoff's own, at which nobody can trade."""


class PooledErrors(Model):
    """Errors at one horizon over all moving stocks of the test part; null if not measured."""

    horizon: Horizon
    n: int
    symbols: int
    mae: float | None
    """KES, like ``naive_mae``."""
    naive_mae: float | None
    mape: float | None
    """Percent, like ``naive_mape``."""
    naive_mape: float | None
    rel_mae: float | None
    """Absolute error of the published price relative to the naive forecast; below 1 is better."""
    rel_rmse: float | None
    """Root of the squared error of the mean price relative to the naive forecast."""
    cover80: float | None
    """Share of actual prices inside the 80 % interval."""
    cover90: float | None
    cover95: float | None
    brier: float | None = None
    """Squared error of the probabilities of a rise, no change and a fall, summed over the three: 0 is
    perfect, 2 the worst."""
    brier_skill: float | None = None
    """1 - ``brier`` / the same of each stock's base rates before the test part; above 0 is better."""
    brier_up: float | None = None
    """The same of a rise against everything else, at most 1, and its skill."""
    brier_up_skill: float | None = None


class MoveBin(Model):
    """Forecasts with about the same probability of a move, and the share of prices that moved."""

    horizon: int
    bin: int
    """Decile of the forecast probability, from 0 to 9."""
    n: int
    forecast: float
    """Mean forecast probability, 0 to 1."""
    seen: float
    """Share that moved."""


class DirectionBin(MoveBin):
    """Forecasts with about the same probability of a rise, no change or a fall, and how often it happened."""

    outcome: Literal["up", "unchanged", "down"]
    tier: Literal["all", "specific", "general"]


class Neighbour(Model):
    symbol: str
    distance: float


class EmbeddedStock(Model):
    """One stock in the embedding."""

    symbol: str
    x: float
    y: float
    neighbours: list[Neighbour]
    """The nearest stocks in all dimensions, not only the two shown."""


class Embedding(Model):
    """The general model's stock embedding, on its first two principal axes."""

    shares: list[float]
    """Share of the variance along x and along y."""
    places: list[EmbeddedStock]


class Table(Model):
    columns: list[str]
    rows: list[list[str | int | float | bool | None]]


class Answer(Model):
    """One of the five questions that a finished training answers."""

    question: str
    answer: str
    tables: list[Table]
    """Figures behind the answer."""


class RankSkill(Model):
    """How well forecasts rank the stocks of a day; null if not measured."""

    horizon: int
    entry: Entry
    ic: float | None
    """Mean over the days of Spearman's correlation of forecast and actual change across the stocks."""
    t: float | None
    """t-statistic of the mean, allowing for outcomes that overlap (Newey and West)."""
    p: float | None
    low: float | None
    """``low`` to ``high`` is the 95 % interval of the mean."""
    high: float | None
    positive_share: float | None
    """Share of days with a correlation above 0, 0 to 1."""
    days: int
    left_out: int
    """Days with too few stocks to rank."""


class PortfolioGain(Model):
    """Gain of a portfolio of the best-ranked stocks, percent per holding period; null if not measured."""

    horizon: int
    """Days held."""
    entry: Entry
    portfolio: Literal["top_minus_market", "top_minus_bottom"]
    """The fifth of stocks with the highest forecast changes, minus all stocks or minus the lowest fifth."""
    days: int
    turnover: float | None
    """Share of a portfolio that the next one replaces, 0 to 1."""
    gross: float | None
    """Mean before costs; ``gross_low`` to ``gross_high`` is its 95 % interval."""
    gross_t: float | None
    gross_p: float | None
    gross_low: float | None
    gross_high: float | None
    gross_year: float | None
    """Per year, not compounded."""
    net: float | None
    """After costs; an upper bound, since only the costs of trades are counted."""
    net_t: float | None
    net_p: float | None
    net_low: float | None
    net_high: float | None
    net_year: float | None
    break_even: float | None
    """Cost each way in percent at which nothing is left."""


class GroupSkill(Model):
    """Errors relative to the naive forecast by last price or by liquidity; null if not measured."""

    horizon: int
    kind: Literal["price", "liquidity"]
    group: str
    n: int
    symbols: int
    rel_mae: float | None
    rel_rmse: float | None
    dm_abs_p: float | None
    dm_sq_p: float | None
    naive_share: float | None
    """Share of the naive forecast's squared error, 0 to 1."""


class Worth(Model):
    """Contents of ``worth.json``: what the forecasts of the test part are worth after costs."""

    verdict: str
    """What is left after costs."""
    ranking: str
    where: str
    """Share of the squared error, and skill, by last price."""
    notes: list[str]
    """How the figures are measured."""
    cost_percent: float
    """Cost of a purchase, and of a sale, in percent."""
    rank_ic: list[RankSkill]
    portfolios: list[PortfolioGain]
    groups: list[GroupSkill]


class StoredInsights(Model):
    """Contents of ``insights.json`` in a release."""

    moves: list[MoveBin]
    directions: list[DirectionBin] | None = None
    embedding: Embedding | None
    answers: list[Answer]


class InsightsPage(Model):
    """Quality of the release that serves, measured on its test part."""

    release: str
    synthetic: bool
    quick: bool
    preset: str
    source: str
    train_end: dt.date
    valid_end: dt.date
    test_end: dt.date
    networks: str
    """Which networks the figures are measured on, and which ones serve: a sentence with their dates."""
    pooled: list[PooledErrors]
    moves: list[MoveBin] | None
    """Null if the release does not store them; empty if its preset forecasts no probability of a move."""
    directions: list[DirectionBin] | None
    """The same for the probabilities of a rise, no change and a fall, as served."""
    embedding: Embedding | None
    answers: list[Answer] | None
    """As of the publication of the release."""
    worth: Worth | None
    """Null in releases published before this was measured."""
    note: str | None
    """What is missing, and what to do about it."""
