"""Supervised windows cut from series, and the chronological split by target date."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from common.errors import ConfigError, InsufficientHistory
from common.presets import SplitSpec, WindowSpec
from common.prices.series import SESSIONS, Series


@dataclass(frozen=True)
class Windows:
    """N windows over a Series, kept as row numbers: nothing is copied until a batch is cut.

    Twelve bytes a window with four horizons, so that every window of ten thousand counters fits in the
    memory of one process; what can be looked up in the series is.

    Attributes
    ----------
    end : int32 or int64, shape (N,)
        Row of each window's cutoff, its last day.
    symbol : int32, shape (N,)
        Position in ``series.symbols``.
    counted : bool, shape (N, H)
        Whether the change to each target is there to learn from and to judge by.
    """

    series: Series
    spec: WindowSpec
    end: np.ndarray
    symbol: np.ndarray
    counted: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Windows"]) -> "Windows":
        """One after the other, over their series one after the other; all of one spec."""
        columns = [each.name for each in fields(Series) if each.name not in ("symbols", "offsets")]
        lengths = [np.diff(part.series.offsets) for part in parts]
        series = Series(
            symbols=tuple(symbol for part in parts for symbol in part.series.symbols),
            offsets=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
            **{name: np.concatenate([getattr(part.series, name) for part in parts]) for name in columns},
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
        cutoff: np.ndarray = self.series.dates[self.end]
        return cutoff

    @property
    def last_price(self) -> np.ndarray:
        """Close at the cutoff in KES, shape (N,)."""
        price: np.ndarray = self.series.close[self.end]
        return price

    @property
    def target(self) -> np.ndarray:
        """int64, shape (N, H): row of each target, -1 where there is none.

        A horizon counts market sessions, not the symbol's own rows: the target is the close on the very
        session that a served forecast names, and there is none where the symbol has no row on it.
        """
        rows = [_ahead(self.series, self.end, self.symbol, horizon) for horizon in self.spec.horizons]
        return np.stack(rows, axis=1)

    @property
    def change(self) -> np.ndarray:
        """float64, shape (N, H): log change from the cutoff's close to the target's.

        NaN where the target does not exist, its close was never known, a corporate action or a long gap lies
        between, or it belongs to another part.
        """
        change = np.log(self._later_close) - np.log(self.last_price)[:, None]
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
        return np.where(self.counted, self._later_close, np.nan)

    @property
    def _later_close(self) -> np.ndarray:
        """Close at the target in KES where it counts, else at the cutoff, shape (N, H)."""
        rows = self.end[:, None]
        if self.counted.any():  # a served forecast has no target to look up
            rows = np.where(self.counted, self.target, rows)
        close: np.ndarray = self.series.close[np.broadcast_to(rows, self.counted.shape)]
        return close

    def take(self, chosen: np.ndarray | slice) -> "Windows":
        """The windows at these positions (or where this mask is true)."""
        return replace(self, end=self.end[chosen], symbol=self.symbol[chosen], counted=self.counted[chosen])

    def of_symbols(self, first: int, last: int) -> "Windows":
        """The windows of symbols ``first`` to ``last`` (not included), over a series of these alone."""
        series = self.series
        rows = slice(int(series.offsets[first]), int(series.offsets[last]))
        columns = [each.name for each in fields(Series) if each.name not in ("symbols", "offsets")]
        own = Series(
            symbols=series.symbols[first:last],
            offsets=series.offsets[first : last + 1] - rows.start,
            **{name: getattr(series, name)[rows] for name in columns},
        )
        chosen = slice(*np.searchsorted(self.symbol, [first, last]))
        return Windows(
            own, self.spec, self.end[chosen] - rows.start, self.symbol[chosen] - first, self.counted[chosen]
        )

    def only(self, allowed: np.ndarray) -> "Windows":
        """Keep the targets where ``allowed`` (N, H) is true, and the windows that have one left."""
        counted = self.counted & allowed
        kept = counted.any(axis=1)
        return replace(self, end=self.end[kept], symbol=self.symbol[kept], counted=counted[kept])

    def cut(self, column: np.ndarray) -> np.ndarray:
        """One of the series' columns as windows, shape (N, size), oldest day first."""
        column, size = np.ascontiguousarray(column), self.spec.size
        shape, strides = (max(len(column) - size + 1, 0), size), column.strides * 2
        every = np.ndarray(shape, column.dtype, column, strides=strides)
        ours: np.ndarray = every[self.end - (size - 1)]
        return ours


def make_windows(series: Series, spec: WindowSpec) -> Windows:
    """Every window of every symbol whose cutoff's close was known that evening.

    Windows with no target yet are included (their ``change`` is NaN): a forecast needs none.
    """
    rows = np.int32 if len(series.close) + max(spec.horizons) < 2**31 else np.int64
    allowed = series.known.copy()
    for first, last in pairwise(series.offsets.tolist()):
        allowed[first : min(first + spec.size - 1, last)] = False
    end = np.flatnonzero(allowed).astype(rows)
    owner = (np.searchsorted(series.offsets, end, side="right") - 1).astype(np.int32)
    actions = np.cumsum(series.action)
    counted = np.empty((len(end), len(spec.horizons)), dtype=bool)
    for place, horizon in enumerate(spec.horizons):
        target = _ahead(series, end, owner, horizon)
        row = np.where(target >= 0, target, end)
        counted[:, place] = (target >= 0) & series.true[row] & (actions[row] == actions[end])
    return Windows(series, spec, end, owner, counted)


def _ahead(series: Series, rows: np.ndarray, symbol: np.ndarray, horizon: int) -> np.ndarray:
    """The same symbol's row ``horizon`` market sessions after each row, int64; -1 where it has none then."""
    last = series.offsets[1:][symbol] - 1
    wanted = series.session[rows].astype(np.int64) + horizon
    found = np.minimum(rows.astype(np.int64) + horizon, last)
    there = series.session[found] == wanted
    gaps = ~there & (series.session[last] > wanted)
    if gaps.any():
        key = symbol[gaps].astype(np.int64) * SESSIONS + wanted[gaps]
        place = np.searchsorted(series.keys, key)
        found[gaps], there[gaps] = place, series.keys[place] == key
    return np.where(there, found, -1)


def id_column(windows: Windows, stock_ids: dict[str, int]) -> np.ndarray:
    """Stock id of each window as networks take it, int32, shape (N, 1); 0 for a symbol without one."""
    ids = np.array([stock_ids.get(symbol, 0) for symbol in windows.series.symbols], dtype=np.int32)
    column: np.ndarray = ids[windows.symbol][:, None]
    return column


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
    none = np.zeros((count, len(spec.horizons)), dtype=bool)
    return Windows(series, spec, series.offsets[1:] - 1, np.arange(count, dtype=np.int32), none)


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
        cutoff = windows.cutoff
        train, valid, test = (np.zeros_like(windows.counted) for _ in range(3))
        for place, horizon in enumerate(windows.spec.horizons):
            row = _ahead(windows.series, windows.end, windows.symbol, horizon)
            target = windows.series.dates[np.where(windows.counted[:, place], row, windows.end)]
            train[:, place] = target <= self.train_end
            valid[:, place] = (cutoff >= self.train_end) & (target <= self.valid_end)
            test[:, place] = (cutoff >= self.valid_end) & (target <= self.test_end)
        return windows.only(train), windows.only(valid), windows.only(test)


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
