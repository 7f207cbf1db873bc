"""Supervised windows cut from series, and the chronological split by target date."""

from dataclasses import dataclass

import numpy as np

from common.data.series import Series
from common.errors import ConfigError, InsufficientHistory
from common.model.presets import SplitSpec, WindowSpec


@dataclass(frozen=True)
class Windows:
    """N windows over a Series, kept as row numbers: nothing is copied until a batch is cut.

    Attributes
    ----------
    end : int64, shape (N,)
        Row of each window's cutoff, its last day.
    symbol : int64, shape (N,)
        Position in ``series.symbols``.
    change : float64, shape (N, H)
        Log change from the cutoff's close to the target's; NaN where the target does not exist, its
        close was never known, or a corporate action lies between.
    target : int64, shape (N, H)
        Row of each target, -1 where there is none.
    """

    series: Series
    spec: WindowSpec
    end: np.ndarray
    symbol: np.ndarray
    change: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.end)

    @property
    def cutoff(self) -> np.ndarray:
        """datetime64[D], shape (N,)."""
        return self.series.dates[self.end]

    @property
    def last_price(self) -> np.ndarray:
        """Close at the cutoff in KES, shape (N,)."""
        return self.series.close[self.end]

    @property
    def target_date(self) -> np.ndarray:
        """datetime64[D], shape (N, H); NaT where there is no target."""
        dates = self.series.dates[np.maximum(self.target, 0)]
        return np.where(self.target >= 0, dates, np.datetime64("NaT"))

    @property
    def actual(self) -> np.ndarray:
        """Close at the target in KES, shape (N, H); NaN exactly where ``change`` is."""
        closes = self.series.close[np.maximum(self.target, 0)]
        return np.where(np.isfinite(self.change), closes, np.nan)

    def take(self, chosen: np.ndarray) -> "Windows":
        """The windows at these positions (or where this mask is true)."""
        return Windows(
            self.series,
            self.spec,
            self.end[chosen],
            self.symbol[chosen],
            self.change[chosen],
            self.target[chosen],
        )

    def only(self, allowed: np.ndarray) -> "Windows":
        """Keep the targets where ``allowed`` (N, H) is true, and the windows that have one left."""
        change = np.where(allowed, self.change, np.nan)
        kept = np.isfinite(change).any(axis=1)
        return Windows(
            self.series, self.spec, self.end[kept], self.symbol[kept], change[kept], self.target[kept]
        )

    def cut(self, column: np.ndarray) -> np.ndarray:
        """One of the series' columns as windows, shape (N, size), oldest day first."""
        return column[self.end[:, None] + np.arange(1 - self.spec.size, 1)]


def make_windows(series: Series, spec: WindowSpec) -> Windows:
    """Every window of every symbol whose cutoff's close was known that evening.

    Windows with no target yet are included (their ``change`` is NaN): a forecast needs none.
    """
    ends, owners, changes, targets = [], [], [], []
    horizons = np.array(spec.horizons)
    log_close = np.log(series.close)
    for position in range(len(series.symbols)):
        first, last = series.offsets[position], series.offsets[position + 1]
        end = np.arange(first + spec.size - 1, last, dtype=np.int64)
        end = end[series.known[end]]
        target = end[:, None] + horizons
        exists = target < last
        row = np.where(exists, target, end[:, None])
        actions = np.cumsum(series.action[first:last])
        usable = exists & series.true[row] & (actions[row - first] == actions[end - first][:, None])
        ends.append(end)
        owners.append(np.full(len(end), position, dtype=np.int64))
        changes.append(np.where(usable, log_close[row] - log_close[end][:, None], np.nan))
        targets.append(np.where(exists, target, -1))
    return Windows(
        series,
        spec,
        np.concatenate(ends),
        np.concatenate(owners),
        np.concatenate(changes),
        np.concatenate(targets),
    )


def id_column(windows: Windows, stock_ids: dict[str, int]) -> np.ndarray:
    """Stock id of each window as networks take it, int32, shape (N, 1); 0 for a symbol without one."""
    ids = np.array([stock_ids.get(symbol, 0) for symbol in windows.series.symbols], dtype=np.int32)
    return ids[windows.symbol][:, None]


def last_window(series: Series, spec: WindowSpec) -> Windows:
    """The newest window of each symbol, whatever its flags.

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
    shape = (count, len(spec.horizons))
    return Windows(
        series, spec, series.offsets[1:] - 1, np.arange(count), np.full(shape, np.nan), np.full(shape, -1)
    )


@dataclass(frozen=True)
class Boundaries:
    """Last target date of each part; a date belongs to exactly one part."""

    train_end: np.datetime64
    valid_end: np.datetime64
    test_end: np.datetime64

    def parts(self, windows: Windows) -> tuple[Windows, Windows, Windows]:
        """(train, valid, test), each with only the targets that belong to it.

        A validation or test window's cutoff also lies at or after the part before it ends, so that no
        target spans two parts.
        """
        cutoff, target = windows.cutoff[:, None], windows.target_date
        return (
            windows.only(target <= self.train_end),
            windows.only((cutoff >= self.train_end) & (target <= self.valid_end)),
            windows.only((cutoff >= self.valid_end) & (target <= self.test_end)),
        )


def boundaries(dates: np.ndarray, spec: SplitSpec) -> Boundaries:
    """Where the split falls in these sessions (sorted, unique datetime64[D]).

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
        train_end = dates[max(_sessions(len(dates), spec.train_share), 1) - 1]
        valid_end = dates[max(_sessions(len(dates), spec.train_share + spec.valid_share), 2) - 1]
    if not (dates[0] <= train_end < valid_end < dates[-1]):
        raise ConfigError(
            f"split: train_end {train_end} and valid_end {valid_end} must lie in order inside the data, "
            f"{dates[0]} to {dates[-1]}, and leave a test part."
        )
    return Boundaries(train_end, valid_end, dates[-1])


def _sessions(count: int, share: float) -> int:
    """How many of ``count`` sessions a share is; .7 + .1 of 100 is 80 though the floats add to less."""
    return int(count * share + 1e-9)
