"""Make forecasts at rolling cutoffs with the serving code, and put them beside the actual prices."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common.engine import IN_PROCESS, Engine
from common.errors import BacktestError
from common.forecast.conformal import BOUNDS, LEVELS, Calibration, Outcomes
from common.forecast.prices import Prices
from common.forecast.probabilities import DIRECTIONS
from common.presets import SPECIFIC
from common.prices.panel import Panel
from common.prices.windows import Windows
from common.release.bundle import GENERAL
from common.release.learning import unlearned, window_blocks
from common.release.models import ModelFolder

Block = Windows | Callable[[], Windows]
"""The windows of some symbols, or a function that cuts them where they are needed."""
PROBABILITIES = [f"probability_{direction}" for direction in DIRECTIONS]
COLUMNS = [
    "symbol",
    "cutoff",
    "horizon",
    "target_date",
    "last_price",
    "raw",
    "published",
    *BOUNDS,
    "actual",
    "p_move",
    *PROBABILITIES,
    "needed",
    "frozen",
    "source",
    "model_type",
]


@dataclass(frozen=True)
class Backtest:
    """The forecasts of a period, and the calibration after its last outcome."""

    table: pd.DataFrame
    """One row per symbol, cutoff and horizon, see `forecast_table`."""
    calibration: Calibration


def backtest(
    models: ModelFolder,
    panel: Panel,
    calibration: Calibration,
    *,
    start: np.datetime64,
    end: np.datetime64,
    symbols: Collection[str] | None = None,
    general_only: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Forecast every stock (or ``symbols``) at every cutoff in ``start..end`` whose close was known that day.

    Weights are fixed. The intervals follow the calibration, which learns from each outcome on the day it
    becomes known. It does not learn again the outcomes that ``calibration`` already includes, so the figures
    of a cutoff do not depend on the period. ``progress`` is called with the number of blocks done and of all.

    Raises
    ------
    BacktestError
        If the panel has no cutoff in that period.
    """
    blocks, period = window_blocks(panel, models, end, symbols), (start, end)
    calibration, tables = backtest_blocks(models, blocks, calibration, period, general_only, progress)
    table = pd.concat(tables, ignore_index=True)
    if not len(table):
        raise BacktestError(
            f"no cutoff from {start} to {end}: the prices go from {panel.dates[0]:%Y-%m-%d} to "
            f"{panel.dates[-1]:%Y-%m-%d}, and a window needs {models.window.size} closes. Choose another "
            "period, or pass newer files with --archive."
        )
    return Backtest(table, calibration)


def backtest_blocks(
    models: ModelFolder,
    blocks: Iterable[Block],
    calibration: Calibration,
    period: tuple[np.datetime64, np.datetime64],
    general_only: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    engine: Engine = IN_PROCESS,
    finish: Callable[..., Any] = lambda number, table: table,
    given: Sequence[Any] = (),
) -> tuple[Calibration, Iterator[Any]]:
    """Forecast blocks of symbols on an engine, see `backtest`; their number does not affect the forecasts.

    Returns
    -------
    (Calibration, iterator)
        The calibration after the last outcome, and for each block, in order, the result of
        ``finish(number of the block, forecast table, *given)``, which the engine calls.
    """
    shared, before = engine.share(models), engine.share(calibration)
    learning, forecast = [], []
    for block in blocks:
        first, second = engine.submit(_forecast, shared, block, period, before, general_only, returns=2)
        learning.append(first)
        forecast.append(second)
    outcomes: list[Outcomes] = []
    for outcome in engine.values(_taken(learning)):
        outcomes.append(outcome)
        progress(len(outcomes), len(forecast))
    calibration = calibration.extended(Outcomes.joined(outcomes))
    fixed = (shared, period, engine.share(calibration), general_only, finish)
    calls = enumerate(_taken(forecast))
    tables = [engine.submit(_table, number, made, *fixed, *given) for number, made in calls]
    return calibration, engine.values(_taken(tables))


def _taken(results: list[Any]) -> Iterator[Any]:
    """Yield references, and forget each one."""
    while results:
        yield results.pop(0)


def _until(block: Block, end: np.datetime64) -> Windows:
    windows = block() if callable(block) else block
    return windows.take(windows.cutoff <= end)


def _forecast(
    models: ModelFolder,
    block: Block,
    period: tuple[np.datetime64, np.datetime64],
    calibration: Calibration,
    general_only: bool,
) -> tuple[Outcomes, tuple[Block, np.ndarray]]:
    """Return the outcomes of a block, and the block with the networks' outputs in the period."""
    windows = _until(block, period[1])
    windows = windows.take((windows.cutoff >= period[0]) | unlearned(windows, calibration))
    outputs = models.outputs(windows, general_only=general_only)
    needed = models.prices(windows, outputs, general_only=general_only).needed
    outcomes = Outcomes.of(windows, needed, calibration.groups.of(windows))
    return outcomes, (block, outputs[windows.cutoff >= period[0]])


def _table(
    number: int,
    forecast: tuple[Block, np.ndarray],
    models: ModelFolder,
    period: tuple[np.datetime64, np.datetime64],
    calibration: Calibration,
    general_only: bool,
    finish: Callable[..., Any],
    *given: Any,
) -> Any:
    """Call ``finish`` with the forecast table of a block."""
    windows = _until(forecast[0], period[1])
    windows = windows.take(windows.cutoff >= period[0])
    levels = calibration.for_windows(windows)
    prices = models.prices(windows, forecast[1], levels, general_only=general_only)
    return finish(number, forecast_table(windows, prices, models, general_only=general_only), *given)


def forecast_table(
    windows: Windows, prices: Prices, models: ModelFolder, *, general_only: bool = False
) -> pd.DataFrame:
    """Return one row per window and horizon, sorted by symbol, cutoff and horizon.

    Columns: ``symbol``, ``cutoff`` (the last day with a known close), ``horizon`` (trading days),
    ``target_date`` (NaT if in the future), ``last_price``, ``raw``, ``published``, ``lo80`` to ``hi95``,
    ``actual`` (all in KES; NaN if in the future, never known, or on the other side of a split), ``p_move``
    (the mixture's), ``probability_up`` and so on (calibrated, see `Prices`), ``needed`` (the smallest
    interval level that contained the actual price), ``frozen`` (no move in the window), ``source`` (``model``
    or ``last_price``), ``model_type`` (``stock_specific`` or ``general``).
    """
    count, horizons = len(windows), windows.spec.horizons
    symbols = np.array(windows.series.symbols, dtype=object)
    own = [not general_only and models.job_for(symbol) != GENERAL for symbol in windows.series.symbols]

    def each(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, len(horizons))

    columns = {
        "symbol": pd.array(each(symbols[windows.symbol]), dtype="str"),
        "cutoff": each(windows.cutoff.astype("datetime64[s]")),
        "horizon": np.tile(np.array(horizons, dtype=np.int64), count),
        "target_date": windows.target_date.astype("datetime64[s]").ravel(),
        "last_price": each(prices.last),
        "raw": prices.raw.ravel(),
        "published": prices.published.ravel(),
        "actual": windows.actual.ravel(),
        "p_move": prices.p_move.ravel(),
        "needed": prices.needed.ravel(),
        "frozen": each(prices.frozen),
        "source": np.where(prices.by_model, "model", "last_price").ravel(),
        "model_type": each(np.where(np.array(own)[windows.symbol], SPECIFIC, GENERAL)),
    }
    for place, level in enumerate(LEVELS):
        columns[f"lo{100 * level:.0f}"] = prices.low[..., place].ravel()
        columns[f"hi{100 * level:.0f}"] = prices.high[..., place].ravel()
    for place, name in enumerate(PROBABILITIES):
        columns[name] = prices.probabilities[..., place].ravel()
    table = pd.DataFrame(columns)[COLUMNS]
    return table.sort_values(["symbol", "cutoff", "horizon"], ignore_index=True)
