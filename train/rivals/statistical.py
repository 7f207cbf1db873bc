"""Classical forecasts of each symbol's log price, by statsforecast: AutoARIMA, AutoETS and Theta.

Sources: Hyndman and Khandakar, Journal of Statistical Software 27(3), 2008 (ARIMA, by AICc); Hyndman,
Koehler, Snyder and Grose, IJF 18(3), 2002 (ETS, by AICc); Assimakopoulos and Nikolopoulos, IJF 16(4), 2000
(the theta method), in the form of Fiorucci et al., IJF 32(4), 2016.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from common.data.windows import Windows
from common.errors import ConfigError, TrainingError
from common.model.channels import frozen
from train.rivals.baselines import BaselineForecast, forecast_from, log_path

MODELS = ("arima", "ets", "theta")
LARGEST = 10.0
"""Log change at and beyond which a forecast is no price."""


@dataclass(frozen=True)
class SymbolTask:
    """One symbol's moving windows.

    Attributes
    ----------
    path : float64, shape (T,)
        Log price without corporate actions, oldest first; nothing after the last cutoff.
    cutoffs : int64, shape (N,)
        Rows of ``path``, ascending.
    fits : int64, shape (N,)
        Row, at or before the cutoff, up to which each cutoff's parameters are estimated.
    history : int
        Rows that an estimation looks back over.
    horizons : tuple of int, H
    models : tuple of str, M
    """

    path: np.ndarray
    cutoffs: np.ndarray
    fits: np.ndarray
    history: int
    horizons: tuple[int, ...]
    models: tuple[str, ...]


def statistical(
    windows: Windows,
    *,
    workers: int,
    refit_every: int = 20,
    history: int = 500,
    models: Sequence[str] = MODELS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, BaselineForecast]:
    """Forecast every window with the closes up to its cutoff and none after.

    Parameters are estimated over the last ``history`` closes, at every ``refit_every``-th row of a symbol
    counted from its first possible window; in between the fitted model is run on over the newer closes.
    So a window's forecast does not depend on which other windows are asked for. Both losses get the same
    number: price = last * exp(forecast - path[cutoff]), the median if log returns are normal.

    Parameters
    ----------
    workers : int
        Processes, at most one a symbol; with 1 everything runs in this one.
    progress : callable
        Called here with the symbols done and their number.

    Returns
    -------
    dict
        By model. A window at which a model fails, or says something that is not a price, keeps its last
        price and is counted in ``failures``; frozen windows keep theirs without a model being run.

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
    places, tasks = _tasks(windows, refit_every, history, tuple(models))
    change = np.zeros((len(models), len(windows), len(windows.spec.horizons)))
    with contextlib.closing(_run(tasks, workers)) as results:
        for done, (position, found) in enumerate(results, start=1):
            change[:, places[position]] = found
            progress(done, len(tasks))
    failed = np.asarray(~(np.abs(change) < LARGEST).all(axis=2))
    change[failed] = 0
    return {
        name: forecast_from(windows, change[m], failures=int(failed[m].sum()))
        for m, name in enumerate(models)
    }


def _tasks(
    windows: Windows, refit_every: int, history: int, models: tuple[str, ...]
) -> tuple[list[np.ndarray], list[SymbolTask]]:
    """Positions of each symbol's moving windows, by cutoff, and what is to be forecast there."""
    path, moving = log_path(windows.series), ~frozen(windows)
    places, tasks = [], []
    for symbol in np.unique(windows.symbol[moving]):
        place = np.flatnonzero(moving & (windows.symbol == symbol))
        place = place[np.argsort(windows.end[place], kind="stable")]
        first, end = windows.series.offsets[symbol], windows.end[place]
        start = windows.spec.size - 1
        cutoffs = end - first
        fits = start + (cutoffs - start) // refit_every * refit_every
        places.append(place)
        tasks.append(
            SymbolTask(
                path[first : end[-1] + 1].copy(),
                cutoffs,
                fits,
                history,
                windows.spec.horizons,
                models,
            )
        )
    return places, tasks


def forecast_symbol(task: SymbolTask) -> np.ndarray:
    """Log changes from each cutoff, float64, shape (M, N, H); NaN where a model failed."""
    from threadpoolctl import threadpool_limits

    found = np.full((len(task.models), len(task.cutoffs), len(task.horizons)), np.nan)
    with threadpool_limits(1), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for m, name in enumerate(task.models):
            fitted, fitted_at = None, -1
            for n, (cutoff, fit) in enumerate(zip(task.cutoffs, task.fits, strict=True)):
                try:
                    if fit != fitted_at:
                        fitted, fitted_at = _Fitted.to(task.path[: fit + 1], name, task.history), fit
                    current = fitted or _Fitted.to(task.path[: cutoff + 1], name, task.history)
                    if current is not None:
                        found[m, n] = current.changes(task.path[: cutoff + 1], task.horizons)
                except Exception:  # nosec B112 # explained below
                    # statsforecast raises bare Exceptions, and LinAlgError, ValueError, ZeroDivisionError
                    # besides; the caller counts what is missing.
                    continue
    return found


@dataclass(frozen=True)
class _Fitted:
    """A model with its parameters, for the path from row ``start`` on."""

    model: Any
    start: int

    @classmethod
    def to(cls, path: np.ndarray, name: str, history: int) -> "_Fitted | None":
        """Estimate over the end of ``path``; None where the price never moved: there is nothing to learn."""
        start = max(len(path) - history, 0)
        if (path[start:] == path[start]).all():
            return None
        return cls(_model(name).fit(path[start:] - path[start]), start)

    def changes(self, path: np.ndarray, horizons: tuple[int, ...]) -> np.ndarray:
        """Log changes from the end of ``path``, shape (H,); the fitted model is run on to there."""
        y = path[self.start :] - path[self.start]
        ahead = self.model.forward(y=y, h=max(horizons))["mean"]
        changes: np.ndarray = ahead[np.array(horizons) - 1] - y[-1]
        return changes


def _model(name: str) -> Any:
    from statsforecast import models

    if name == "arima":
        # As in R: candidates of more than 150 closes are compared by conditional sums of squares, which
        # takes a quarter of the time; the one chosen is estimated by maximum likelihood.
        return models.AutoARIMA(season_length=1, approximation=None)
    if name == "ets":
        return models.AutoETS(season_length=1, model="AZN")
    return models.Theta(season_length=1)


def _run(tasks: list[SymbolTask], workers: int) -> Generator[tuple[int, np.ndarray], None, None]:
    """(position, result) of each task as it is done; leaves no process behind, however it ends."""
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from ((position, forecast_symbol(task)) for position, task in enumerate(tasks))
        return
    context = multiprocessing.get_context("spawn")
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (lifeline,))
    try:
        running = {pool.submit(forecast_symbol, task): position for position, task in enumerate(tasks)}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "statistical: a worker process died, perhaps for want of memory. Use fewer workers."
        ) from error
    except BaseException:
        held.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        lifeline.close()


def _start_worker(lifeline: Connection) -> None:
    """Leave Ctrl-C to the parent, and end at once when it lets go of its side of ``lifeline`` or dies."""

    def watch() -> None:
        try:
            lifeline.recv()
        except (EOFError, OSError):
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
