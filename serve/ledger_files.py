"""The files of the log of served forecasts: parts of a day, folded into one when the day is over.

::

    <home>/served/<yyyy-mm-dd>/<router>-<n>.parquet    parts, each written whole and never changed
    <home>/served/<yyyy-mm-dd>/all-<random>.parquet    what was folded

A crash while a day is folded leaves rows in both, which readers take for one. In an object store each part is
there once it is written.
"""

import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from common import storage
from common.model.conformal import LEVELS

BOUNDS = tuple(f"{side}{100 * level:.0f}" for level in LEVELS for side in ("lo", "hi"))
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("release", "preset", "symbol")),
        ("horizon", pa.int64()),
        *((name, pa.date32()) for name in ("cutoff", "target_date")),
        *((name, pa.float64()) for name in ("last_price", "raw", "published", *BOUNDS, "p_move")),
        ("frozen", pa.bool_()),
        *((name, pa.string()) for name in ("source", "model_type")),
        ("served_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""Prices in KES; ``horizon`` in trading days; ``target_date`` as it was announced; bounds and ``p_move`` are
NaN where the model gives none; ``served_at`` is the first time."""
SAME = ("release", "symbol", "horizon", "cutoff", "model_type")
"""Rows that agree in these are one forecast."""
LISTINGS = 5
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def day_folders(folder: Path) -> list[Path]:
    """The days below ``<home>/served``, oldest first."""
    if (mirror := storage.mirror_of(folder)) is not None:
        return [folder / name for name in mirror.folders(folder) if _DAY.fullmatch(name)]
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        path for path in entries if _DAY.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )


def write_part(day: Path, name: str, table: pa.Table) -> None:
    """Write a table of ``SCHEMA``, whole or not at all."""
    target = day / f"{name}.parquet"
    storage.write_with(target, lambda path: pq.write_table(table, path, compression="zstd"))


def read_day(day: Path) -> tuple[dict[Path, pa.Table], dict[Path, str]]:
    """The parts of a day, and those that cannot be read with the reason.

    A part that goes while the day is read was folded into another: then all of it is read again.
    """
    for _ in range(LISTINGS):
        tables, damaged = {}, {}
        try:
            for path in parts_of(day):
                try:
                    tables[path] = pq.ParquetFile(path).read(SCHEMA.names).cast(SCHEMA)
                except (ValueError, KeyError, pa.ArrowException) as error:
                    damaged[path] = str(error).splitlines()[0][:200]
        except FileNotFoundError:
            continue
        return tables, damaged
    return {}, {day: "it changes faster than it can be read"}


def parts_of(day: Path) -> list[Path]:
    """Whole parts; a name with a dot in front is one being written."""
    return [path for path in storage.found(day, "*.parquet") if not path.name.startswith(".")]


def first_served(tables: list[pa.Table]) -> pa.Table:
    """Each forecast once, as it was first served; oldest first."""
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    table = table.sort_by("served_at")
    return table.filter(pa.array(~table.select(list(SAME)).to_pandas().duplicated().to_numpy()))


def fold(day: Path) -> None:
    """Make one part of a day that is over, each forecast once; parts that cannot be read stay."""
    tables, _ = read_day(day)
    if len(tables) > 1:
        write_part(day, f"all-{uuid4().hex[:12]}", first_served(list(tables.values())))
        for path in tables:
            storage.remove(path)
    for path in day.glob(".*.tmp.parquet"):  # a writer was killed
        path.unlink(missing_ok=True)


def drop_days(folder: Path, *, before: str, today: str, most_bytes: int) -> dict[str, int]:
    """Drop the days before one, and the oldest while all are too large; never ``today``.

    Returns
    -------
    dict
        Bytes by day dropped.

    Raises
    ------
    OSError
        If ``today`` alone is too large.
    """
    sizes = _sizes(folder)
    dropped = {}
    for day in list(sizes):
        if day.name < today and (day.name < before or sum(sizes.values()) >= most_bytes):
            with suppress(OSError):
                storage.remove_tree(day)
            if not day.exists():
                dropped[day.name] = sizes.pop(day)
    if sum(sizes.values()) >= most_bytes:
        raise OSError(f"{folder}: {most_bytes / 2**20:.0f} MB are full, see megabytes_kept")
    return dropped


def _sizes(folder: Path) -> dict[Path, int]:
    """Bytes by day, oldest first."""
    mirror = storage.mirror_of(folder)
    if mirror is None:
        return {day: _size(day) for day in day_folders(folder)}
    sizes: dict[Path, int] = {}
    for path, entry in sorted(mirror.listing(folder).items()):
        if _DAY.fullmatch(path.parent.name):
            sizes[path.parent] = sizes.get(path.parent, 0) + entry.size
    return sizes


def _size(day: Path) -> int:
    total = 0
    for path in day.iterdir():
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total
