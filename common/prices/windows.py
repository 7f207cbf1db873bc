"""Cut supervised windows from series, and split them chronologically by target date."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from common.errors import ConfigError, InsufficientHistory
from common.presets import SplitSpec, WindowSpec
from common.prices.series import MAX_SESSIONS, Series


@dataclass(frozen=True)
class Windows:
    """N windows over a Series, stored as row numbers; prices are copied only when a batch is cut.

    With four horizons a window takes twelve bytes, so that all windows of ten thousand stocks fit in memory.
    """

    series: Series
    spec: WindowSpec
    end: np.ndarray
    """int32 or int64, shape (N,): row of each window's last day, its cutoff."""
    symbol: np.ndarray
    """int32, shape (N,): position in ``series.symbols``."""
    counted: np.ndarray
    """bool, shape (N, H): whether the change to each target is used for training and scoring."""

    @classmethod
    def joined(cls, parts: Sequence["Windows"]) -> "Windows":
        """Concatenate windows of the same spec, and the series they lie in."""
        if len(parts) == 1:
            return parts[0]
        columns = [part.series.columns for part in parts]
        lengths = [np.diff(part.series.offsets) for part in parts]
        series = Series(
            symbols=tuple(symbol for part in parts for symbol in part.series.symbols),
            offsets=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
            **{name: np.concatenate([series[name] for series in columns]) for name in columns[0]},
        )
        rows = np.cumsum([0, *(len(part.series.close) for part in parts[:-1])])
        symbols = np.cumsum([0, *(len(part.series.symbols) for part in parts[:-1])])
        return cls(
            series,
            parts[0].spec,
            np.concatenate([part.end + start for part, start in zip(parts, rows, strict=True)]),
            np.concatenate([part.symbol + start for part, start in zip(parts, symbols, strict=True)]),
            np.concatenate([part.counted for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.end)

    @property
    def cutoff(self) -> np.ndarray:
        """datetime64[D], shape (N,)."""
        return np.asarray(self.series.dates[self.end])

    @property
    def last_price(self) -> np.ndarray:
        """Close at the cutoff in KES, shape (N,)."""
        return np.asarray(self.series.close[self.end])

    @property
    def target(self) -> np.ndarray:
        """int64, shape (N, H): row of each target, -1 where the symbol has no row on that session.

        A horizon counts market sessions, as the date of a served forecast does, not the symbol's own rows.
        """
        rows = [_rows_ahead(self.series, self.end, self.symbol, horizon) for horizon in self.spec.horizons]
        return np.stack(rows, axis=1)

    @property
    def change(self) -> np.ndarray:
        """float64, shape (N, H): log change from the cutoff's close to the target's.

        NaN if there is no target, its close was never known, a corporate action or a long gap lies in
        between, or the target belongs to another part of the split.
        """
        change = np.log(self._target_close) - np.log(self.last_price)[:, None]
        return np.where(self.counted, change, np.nan)

    @property
    def target_date(self) -> np.ndarray:
        """datetime64[D], shape (N, H); NaT where there is no target."""
        target = self.target
        dates = self.series.dates[np.maximum(target, 0)]
        return np.where(target >= 0, dates, np.datetime64("NaT"))

    @property
    def actual(self) -> np.ndarray:
        """Close at the target in KES, shape (N, H); NaN exactly where ``change`` is."""
        return np.where(self.counted, self._target_close, np.nan)

    @property
    def _target_close(self) -> np.ndarray:
        """Close in KES at each counted target, elsewhere at the cutoff, shape (N, H)."""
        rows = self.end[:, None]
        if self.counted.any():  # a served forecast has no targets
            rows = np.where(self.counted, self.target, rows)
        return np.asarray(self.series.close[np.broadcast_to(rows, self.counted.shape)])

    def take(self, chosen: np.ndarray | slice) -> "Windows":
        """Select windows by position or by mask."""
        return replace(self, end=self.end[chosen], symbol=self.symbol[chosen], counted=self.counted[chosen])

    def only(self, allowed: np.ndarray) -> "Windows":
        """Keep the targets where ``allowed`` (N, H) is true, and the windows with at least one of them."""
        counted = self.counted & allowed
        return replace(self, counted=counted).take(counted.any(axis=1))

    def cut(self, column: np.ndarray) -> np.ndarray:
        """Cut one column of the series into windows, shape (N, size), oldest day first."""
        column, size = np.ascontiguousarray(column), self.spec.size
        shape, strides = (max(len(column) - size + 1, 0), size), column.strides * 2
        windows = np.ndarray(shape, column.dtype, column, strides=strides)
        return np.asarray(windows[self.end - (size - 1)])


def make_windows(series: Series, spec: WindowSpec) -> Windows:
    """Make the windows of all symbols whose last close was known that evening.

    Windows without a target are included, since a forecast needs none; their ``change`` is NaN.
    """
    dtype = np.int32 if len(series.close) + max(spec.horizons) < 2**31 else np.int64
    allowed = series.known.copy()
    for first, last in pairwise(series.offsets.tolist()):
        allowed[first : min(first + spec.size - 1, last)] = False
    end = np.flatnonzero(allowed).astype(dtype)
    symbol = (np.searchsorted(series.offsets, end, side="right") - 1).astype(np.int32)
    actions = np.cumsum(series.action)
    counted = np.empty((len(end), len(spec.horizons)), dtype=bool)
    for column, horizon in enumerate(spec.horizons):
        target = _rows_ahead(series, end, symbol, horizon)
        row = np.where(target >= 0, target, end)
        counted[:, column] = (target >= 0) & series.true[row] & (actions[row] == actions[end])
    return Windows(series, spec, end, symbol, counted)


def _rows_ahead(series: Series, rows: np.ndarray, symbol: np.ndarray, horizon: int) -> np.ndarray:
    """Find the symbol's row ``horizon`` market sessions after each row, int64; -1 where there is none."""
    last = series.offsets[1:][symbol] - 1
    session = series.session[rows].astype(np.int64) + horizon
    target = np.minimum(rows.astype(np.int64) + horizon, last)
    exists = series.session[target] == session
    gaps = ~exists & (series.session[last] > session)
    if gaps.any():
        key = symbol[gaps].astype(np.int64) * MAX_SESSIONS + session[gaps]
        target[gaps] = np.searchsorted(series.keys, key)
        exists[gaps] = series.keys[target[gaps]] == key
    return np.where(exists, target, -1)


def id_column(windows: Windows, stock_ids: dict[str, int]) -> np.ndarray:
    """Return each window's stock id as network input, int32, shape (N, 1); 0 for a symbol without one."""
    ids = np.array([stock_ids.get(symbol, 0) for symbol in windows.series.symbols], dtype=np.int32)
    return np.asarray(ids[windows.symbol][:, None])


def evenly(windows: Windows, max_windows: int) -> Windows:
    """Return at most ``max_windows`` of the windows, evenly spaced."""
    count = min(len(windows), max_windows)
    return windows.take(np.unique(np.linspace(0, len(windows) - 1, count).astype(np.int64)))


def last_window(series: Series, spec: WindowSpec) -> Windows:
    """Make the newest window of each symbol, whatever its flags.

    Raises
    ------
    InsufficientHistory
        If a symbol has fewer rows than one window.
    """
    lengths = np.diff(series.offsets)
    for symbol, length in zip(series.symbols, lengths, strict=True):
        if length < spec.size:
            raise InsufficientHistory(
                f"{symbol}: need {spec.size} closes, got {length}. Send a longer history.",
                symbol=symbol,
                need=spec.size,
                got=int(length),
            )
    count = len(series.symbols)
    counted = np.zeros((count, len(spec.horizons)), dtype=bool)
    return Windows(series, spec, series.offsets[1:] - 1, np.arange(count, dtype=np.int32), counted)


@dataclass(frozen=True)
class Boundaries:
    """Last target date of each part; a date belongs to exactly one part."""

    train_end: np.datetime64
    valid_end: np.datetime64
    test_end: np.datetime64

    def parts(self, windows: Windows) -> tuple[Windows, Windows, Windows]:
        """Split windows into train, valid and test, each with only its own targets.

        The cutoff of a validation or test window lies at or after the end of the previous part, so that
        no target spans two parts.
        """
        cutoff = windows.cutoff
        train, valid, test = (np.zeros_like(windows.counted) for _ in range(3))
        for column, horizon in enumerate(windows.spec.horizons):
            row = _rows_ahead(windows.series, windows.end, windows.symbol, horizon)
            target = windows.series.dates[np.where(windows.counted[:, column], row, windows.end)]
            train[:, column] = target <= self.train_end
            valid[:, column] = (cutoff >= self.train_end) & (target <= self.valid_end)
            test[:, column] = (cutoff >= self.valid_end) & (target <= self.test_end)
        return windows.only(train), windows.only(valid), windows.only(test)


def boundaries(dates: np.ndarray, spec: SplitSpec) -> Boundaries:
    """Split sessions (sorted, unique datetime64[D]) into the three parts.

    Raises
    ------
    ConfigError
        If a part would be empty.
    """
    if len(dates) < 3:
        raise ConfigError(f"split: need at least 3 sessions, got {len(dates)}. Use a longer archive.")
    if spec.train_end and spec.valid_end:
        train_end, valid_end = np.datetime64(spec.train_end), np.datetime64(spec.valid_end)
    else:
        train_end = dates[max(_share_of(len(dates), spec.train_share), 1) - 1]
        valid_end = dates[max(_share_of(len(dates), spec.train_share + spec.valid_share), 2) - 1]
    if not (dates[0] <= train_end < valid_end < dates[-1]):
        raise ConfigError(
            f"split: train_end {train_end} and valid_end {valid_end} must lie in order inside the data, "
            f"{dates[0]} to {dates[-1]}, and leave a test part."
        )
    return Boundaries(train_end, valid_end, dates[-1])


def _share_of(count: int, share: float) -> int:
    """Round down a share of ``count``; 80 for .7 + .1 of 100, although the floats add to less than .8."""
    return int(count * share + 1e-9)
