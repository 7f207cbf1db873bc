"""Classical forecasts of each symbol's log price with statsforecast: AutoARIMA, AutoETS and Theta.

Sources: Hyndman and Khandakar, Journal of Statistical Software 27(3), 2008 (ARIMA, by AICc); Hyndman,
Koehler, Snyder and Grose, IJF 18(3), 2002 (ETS, by AICc); Assimakopoulos and Nikolopoulos, IJF 16(4), 2000
(the theta method), in the form of Fiorucci et al., IJF 32(4), 2016.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pandas as pd

from common.errors import ConfigError, TrainingError
from common.network.channels import frozen
from common.presets import WindowSpec
from common.prices.windows import Windows
from train.rivals.baselines import BaselineForecast, forecast_from, log_path

MODELS = ("arima", "ets", "theta")
MAX_CHANGE = 10.0
"""Forecasts with a log change of this size or more count as failures."""


def statistical(
    windows: Windows,
    *,
    workers: int,
    refit_every: int = 20,
    history: int = 500,
    models: Sequence[str] = MODELS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, BaselineForecast]:
    """Forecast every window from the closes up to its cutoff.

    Parameters are estimated over the last ``history`` closes, at every ``refit_every``-th row of a symbol
    counted from its first possible window; in between, the fitted model is updated with the newer closes.
    A window's forecast therefore does not depend on the other windows. The raw and the published price are
    equal: last * exp(forecast - path[cutoff]), the median if log returns are normal.

    Parameters
    ----------
    workers : int
        Number of processes, at most one per symbol; with 1, everything runs in this process.
    progress : callable
        Called in this process with the number of symbols done and their total.

    Returns
    -------
    dict
        By model. Where a model fails, or its forecast is not a valid price, the forecast is the last price
        and ``failures`` counts the window. Frozen windows also get the last price, but are not counted.

    Raises
    ------
    ConfigError
        If a model is unknown.
    TrainingError
        If a worker process dies.
    """
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise ConfigError(f"statistical: unknown {', '.join(unknown)}. Known: {', '.join(MODELS)}.")
    change = np.zeros((len(models), len(windows), len(windows.spec.horizons)))
    forecast = functools.partial(
        _forecast_symbol, windows.spec, models=tuple(models), refit_every=refit_every, history=history
    )
    symbols = list(_moving_symbols(windows))
    with contextlib.closing(_run(forecast, symbols, workers)) as results:
        for done, (positions, symbol_change) in enumerate(results, start=1):
            change[:, positions] = symbol_change
            progress(done, len(symbols))
    failed = np.asarray(~(np.abs(change) < MAX_CHANGE).all(axis=2))
    change[failed] = 0
    return {
        name: forecast_from(windows, change[m], failures=int(failed[m].sum()))
        for m, name in enumerate(models)
    }


def _moving_symbols(windows: Windows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the positions of a symbol's moving windows, its log prices, and the rows of the cutoffs."""
    path, moving = log_path(windows.series), ~frozen(windows)
    for symbol in np.unique(windows.symbol[moving]):
        positions = np.flatnonzero(moving & (windows.symbol == symbol))
        first = windows.series.offsets[symbol]
        cutoffs = windows.end[positions] - first
        yield positions, path[first : first + cutoffs.max() + 1].copy(), cutoffs


def _forecast_symbol(
    spec: WindowSpec,
    positions: np.ndarray,
    path: np.ndarray,
    cutoffs: np.ndarray,
    *,
    models: tuple[str, ...],
    refit_every: int,
    history: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``positions`` and the log changes from each cutoff, shape (M, N, H); NaN where a model failed.

    The rows from one estimation to the next are passed to statsforecast as a series of their own, which it
    cross-validates at every row. Rows beyond the last cutoff are copies of the last row.
    """
    from statsforecast import StatsForecast
    from threadpoolctl import threadpool_limits

    farthest = max(spec.horizons)
    part_of, window = np.divmod(cutoffs - (spec.size - 1), refit_every)
    numbers, part_of = np.unique(part_of, return_inverse=True)
    fits = spec.size - 1 + numbers * refit_every
    starts = np.maximum(fits + 1 - history, 0)
    parts = []
    for start, fit in zip(starts, fits, strict=True):
        part = path[start : fit + refit_every]
        rows = fit - start + refit_every + farthest
        parts.append(np.pad(part - part[0], (0, rows - len(part)), mode="edge"))
    series = [pd.DataFrame({"unique_id": n, "ds": range(len(y)), "y": y}) for n, y in enumerate(parts)]
    engine = StatsForecast([_Model(name, history, spec.size) for name in models], freq=1)
    with threadpool_limits(1), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        table = engine.cross_validation(farthest, pd.concat(series), n_windows=refit_every, refit=False)
    ahead = table[list(models)].to_numpy().T.reshape(len(models), len(fits), refit_every, farthest)
    last = path[cutoffs] - path[starts[part_of]]
    return positions, ahead[:, part_of, window][..., np.array(spec.horizons) - 1] - last[:, None]


class _Model:
    """A model whose failures do not end statsforecast's cross-validation."""

    def __init__(self, name: str, history: int, size: int) -> None:
        self._name, self._history, self._size = name, history, size

    def __repr__(self) -> str:
        return self._name

    def fit(self, y: np.ndarray, X: None = None) -> "_Model":
        """Estimate the parameters on ``y``; postponed if the price never moved."""
        self._fitted = self._failed = None
        if (y != y[0]).any():
            try:
                self._fitted = _model(self._name).fit(y)
            except Exception as error:
                # statsforecast raises bare Exceptions, LinAlgError, ValueError and ZeroDivisionError.
                self._failed = error
        return self

    def forward(self, h: int, y: np.ndarray, **_: Any) -> dict[str, np.ndarray]:
        """Forecast from the end of ``y``, shape (h,); NaN for a frozen window or if the model fails."""
        try:
            recent, window = y[-self._history :], y[-self._size :]
            if self._failed is None and (window != y[-1]).any() and (self._fitted or (recent != y[-1]).any()):
                model = self._fitted or _model(self._name).fit(recent)
                return {"mean": model.forward(y=y, h=h)["mean"]}
        except Exception:  # nosec B110 # the caller counts the NaN
            pass
        return {"mean": np.full(h, np.nan)}

    forecast = forward


def _model(name: str) -> Any:
    from statsforecast import models

    if name == "arima":
        # As in R: with more than 150 closes, candidates are compared by conditional sums of squares, which
        # takes a quarter of the time; the chosen one is estimated by maximum likelihood.
        return models.AutoARIMA(season_length=1, approximation=None)
    if name == "ets":
        return models.AutoETS(season_length=1, model="AZN")
    return models.Theta(season_length=1)


def _run(
    forecast: Callable[..., tuple[np.ndarray, np.ndarray]],
    symbols: Sequence[tuple[np.ndarray, ...]],
    workers: int,
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Yield the result of each symbol when it is done; always ends its processes."""
    workers = min(workers, len(symbols))
    if workers <= 1:
        yield from (forecast(*symbol) for symbol in symbols)
        return
    context = multiprocessing.get_context("spawn")
    lifeline, parent_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (lifeline,))
    try:
        for future in as_completed([pool.submit(forecast, *symbol) for symbol in symbols]):
            yield future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "statistical: a worker process died, perhaps because memory ran out. Use fewer workers."
        ) from error
    finally:
        parent_end.close()
        pool.shutdown(cancel_futures=True)
        lifeline.close()


def _start_worker(lifeline: Connection) -> None:
    """Ignore Ctrl-C, and exit when the parent closes its end of ``lifeline`` or dies."""

    def watch() -> None:
        try:
            lifeline.recv()
        except (EOFError, OSError):
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
