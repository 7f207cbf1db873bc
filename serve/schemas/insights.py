"""Quality of a release beyond its matrix: errors by horizon, calibration, embedding, the five questions."""

import datetime as dt
from typing import Literal

from serve.schemas.forecast import Horizon, Model


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
    """Squared error of the chances of a rise, no change and a fall, summed over the three: 0 is perfect, 2
    the worst."""
    brier_skill: float | None = None
    """1 - ``brier`` / the same of each stock's base rates before the test part; above 0 is better."""
    brier_up: float | None = None
    """The same of a rise against everything else, at most 1, and its skill."""
    brier_up_skill: float | None = None


class MoveBin(Model):
    """Forecasts with about the same chance of a move, and the share of prices that moved."""

    horizon: int
    bin: int
    """Decile of the forecast chance, from 0 to 9."""
    n: int
    forecast: float
    """Mean forecast chance, 0 to 1."""
    seen: float
    """Share that moved."""


class DirectionBin(MoveBin):
    """Forecasts with about the same chance of a rise, no change or a fall, and how often it happened."""

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
    """Null if the release does not store them; empty if its preset forecasts no chance of a move."""
    directions: list[DirectionBin] | None
    """The same for the chances of a rise, no change and a fall, as served."""
    embedding: Embedding | None
    answers: list[Answer] | None
    """As of the publication of the release."""
    note: str | None
    """What is missing, and what to do about it."""
