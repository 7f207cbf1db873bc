"""The panel: daily prices of all symbols, and what was known of them on any evening."""

import difflib
import hashlib
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from common import storage
from common.archive.actions import mark_actions, symbol_spans
from common.archive.flags import Flag
from common.archive.reader import PANEL_COLUMNS, Archive
from common.errors import ArchiveError, UnknownSymbol

SOURCE_KEY = b"nsecast.source"
ALREADY_KNOWN = Flag.REDATED | Flag.LISTED | Flag.RETURN
"""Flags that are known on a row's own evening even if its close is not; ex-dates are announced."""
PART_ROWS = 100_000
"""Rows whose digest is computed at a time."""
DTYPES = {
    "symbol": "str",
    "date": "datetime64[us]",
    **dict.fromkeys(("close", "low", "high", "volume"), "float64"),
    "flags": "int32",
    "known": "datetime64[us]",
}


@dataclass(frozen=True, eq=False)
class Panel:
    """Daily rows of many symbols; build one with `from_archive`, `from_frame` or `load`."""

    frame: pd.DataFrame
    """Sorted by symbol and date, one row each: ``symbol``, ``date``, ``close``, ``low``, ``high`` (KES, NaN
    unknown), ``volume`` (shares, NaN unknown), ``flags`` (`Flag` bits), ``known`` (the date on whose
    evening the close became known). Must not be modified."""
    source: str
    """Where the prices come from, such as ``"archive"`` or ``"synthetic seed=7"``."""

    @classmethod
    def from_archive(cls, archive: Archive, source: str = "archive") -> Self:
        """Build the panel of an archive's rows."""
        return cls.from_frame(archive.rows, source)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, source: str) -> Self:
        """Validate and sort a frame in panel form, and mark its corporate actions.

        Raises
        ------
        ArchiveError
            If a column is missing or has another type, a symbol has two rows on one date, or a close is
            not a positive number.
        """
        missing = [name for name in PANEL_COLUMNS if name not in frame.columns]
        if missing:
            raise ArchiveError(f"{source}: no column {', '.join(missing)}; need {', '.join(PANEL_COLUMNS)}.")
        try:
            frame = frame[list(PANEL_COLUMNS)].reset_index(drop=True).astype(DTYPES)
        except (TypeError, ValueError) as error:
            raise ArchiveError(f"{source}: a column has the wrong type: {error}.") from None
        if not _in_order(frame):
            frame = frame.sort_values(["symbol", "date"], ignore_index=True)
            doubled = frame.loc[frame.duplicated(["symbol", "date"]), ["symbol", "date"]].head(1)
            for symbol, day in doubled.itertuples(index=False):
                raise ArchiveError(f"{source}: {symbol} has two rows on {day:%Y-%m-%d}; keep one.")
        bad = frame[~(frame["close"] > 0) | np.isinf(frame["close"]) | frame["date"].isna()].head(1)
        for row in bad.itertuples():
            raise ArchiveError(f"{source}: {row.symbol} {row.date}: close {row.close} is not a price.")
        return cls(mark_actions(frame), source)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a panel written by `save`.

        Raises
        ------
        ArchiveError
            If the file is missing, damaged or lacks a column.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).split("\n")[0]
            raise ArchiveError(
                f"{path}: not a readable panel: {reason}. Build it from the archive again.", path=str(path)
            ) from None
        source = (table.schema.metadata or {}).get(SOURCE_KEY, b"unknown").decode()
        try:
            frame = table.to_pandas(split_blocks=True, self_destruct=True)
            return cls(cls.from_frame(frame, str(path)).frame, source)
        except pa.ArrowException as error:
            raise ArchiveError(f"{path}: not a readable panel: {error}.", path=str(path)) from None

    def save(self, path: Path) -> None:
        """Write Parquet atomically, with the source in its metadata."""
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), SOURCE_KEY: self.source.encode()}
        )
        storage.write_with(Path(path), lambda temporary: pq.write_table(table, temporary, compression="zstd"))

    @property
    def synthetic(self) -> bool:
        """True if any of its prices are synthetic."""
        return "synthetic" in self.source.lower()

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(self.spans)

    @cached_property
    def dates(self) -> pd.DatetimeIndex:
        """Every date on which any symbol has a row, oldest first."""
        return pd.DatetimeIndex(np.sort(self.frame["date"].unique()))

    def history(self, symbol: str) -> pd.DataFrame:
        """Return the rows of one symbol, oldest first.

        Raises
        ------
        UnknownSymbol
            If it has none; the nearest symbols are suggested.
        """
        if symbol not in self.spans:
            near = difflib.get_close_matches(symbol.upper(), self.symbols, n=3) or list(self.symbols[:3])
            raise UnknownSymbol(
                f"{symbol}: not among the {len(self.symbols)} symbols of the panel. Near: {', '.join(near)}.",
                symbol=symbol,
                near=near,
            )
        start, stop = self.spans[symbol]
        return self.frame.iloc[start:stop].reset_index(drop=True)

    def as_of(self, cutoff: date | str) -> Self:
        """Return the panel as it was known on the evening of ``cutoff``.

        Later rows are dropped, and so are sessions that were rebuilt later. A row whose close became known
        later has what was known then: the close before, no range, no volume, and `Flag.STALE`. Nothing dated
        after the cutoff can change the result.
        """
        cutoff = pd.Timestamp(cutoff).tz_localize(None).normalize()
        frame = self.frame[self.frame["date"] <= cutoff]
        late = frame["known"] > cutoff
        if late.any():
            frame = frame[~late | ((frame["flags"] & int(Flag.REBUILT)) == 0)]
            late = frame["known"] > cutoff
            frame = frame.assign(
                close=frame["close"].mask(late).groupby(frame["symbol"]).ffill(),
                known=frame["known"].mask(late, frame["date"]),
                flags=frame["flags"].mask(late, (frame["flags"] & int(ALREADY_KNOWN)) | int(Flag.STALE)),
            )
            frame.loc[late, ["low", "high", "volume"]] = np.nan
            frame = frame[frame["close"].notna()]
        return type(self)(mark_actions(frame.reset_index(drop=True)), self.source)

    def merge(self, other: Self) -> Self:
        """Return the union of two panels.

        Of two rows of one symbol and date, the one that became known later is kept, since a repair replaces
        what it repaired; if neither is later, this panel's row.
        """
        both = pd.concat([self.frame, other.frame], ignore_index=True)
        both = both.sort_values("known", ascending=False, kind="stable")
        both = both.drop_duplicates(["symbol", "date"])
        source = self.source if other.source in self.source else f"{self.source} + {other.source}"
        return type(self).from_frame(both, source)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the rows in hex; `save` and `load` do not change it."""
        digest = hashlib.sha256()
        for place, (symbol, (start, stop)) in enumerate(self.spans.items()):
            joint = "\n" if place else ""
            digest.update((joint + "\n".join([symbol] * (stop - start))).encode())
        for name, kind in DTYPES.items():
            column = self.frame[name].to_numpy() if name != "symbol" else np.empty(0)
            for start in range(0, len(column), PART_ROWS):
                values = column[start : start + PART_ROWS]
                if kind == "float64":
                    values = np.where(np.isnan(values), np.nan, values)
                digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    @cached_property
    def spans(self) -> dict[str, tuple[int, int]]:
        """Each symbol's first row in ``frame`` and the row after its last."""
        return symbol_spans(self.frame["symbol"])


def _in_order(frame: pd.DataFrame) -> bool:
    """Return whether rows are sorted by symbol and date without duplicates."""
    codes, names = pd.factorize(frame["symbol"])
    step, dates = np.diff(codes), frame["date"].to_numpy()
    sorted_symbols = bool((codes >= 0).all() and (step >= 0).all()) and names.is_monotonic_increasing
    return sorted_symbols and bool(((step > 0) | (dates[1:] > dates[:-1])).all())
