"""The files of a log of served forecasts: parts of a day, folded into one when the day is over.

::

    <log>/<yyyy-mm-dd>/<writer>-<n>-<sha256>.parquet      parts, each written whole and never changed
    <log>/<yyyy-mm-dd>/all-<random>-<sha256>.parquet      what was folded

The name ends with the first digits of the file's own digest; inside, each part states its place in the chain
(`serve.audit.hash_chain`), and keeps it when it is folded. A crash while a day is folded leaves rows in both,
which readers take for one. In an object store each part is there once it is written.
"""

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from common import storage
from common.forecast.conformal import LEVELS

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
        ("as_of", pa.date32()),
        *((name, pa.string()) for name in ("brought", "release_digest", "software")),
        ("request_ids", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("prices", "prices_digest")),
        ("form", pa.int8()),
    ]
)
"""Prices in KES; ``horizon`` in trading days; ``target_date`` as it was announced; bounds and ``p_move`` are
NaN where the model gives none; ``served_at`` is the first time. From ``as_of`` on for
`serve.audit.receipts`, null in files written before these columns existed: the evening asked for, prices
that the request included (JSON; now in ``prices``), digest of the release's manifest, versions (JSON), and
the ids of the requests that got this answer. ``prices`` are the request's own as `serve.audit.prices` packs
them, or ``prices_digest`` is their digest alone. ``form`` is ``FORM``; null: the clients may have chosen
the request ids."""
FORM = 2
"""Of rows whose request ids the server made."""
ADDED = 8
"""Last columns of ``SCHEMA`` that older files lack."""
_FLOATS = [each.name for each in SCHEMA if pa.types.is_float64(each.type)]
_UNLIKE = {*_FLOATS, "request_ids", "prices", "prices_digest"}
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": [name for name in SCHEMA.names if name not in _UNLIKE],
    "column_encoding": dict.fromkeys(_FLOATS, "BYTE_STREAM_SPLIT")
    | {"request_ids.list.element": "DELTA_LENGTH_BYTE_ARRAY"},
}
"""How parts are written: values that are rarely the same without a dictionary. Measured: a tenth smaller; a
higher level of zstd gains 1 to 4 % more for several times the processor time."""
LINKS, HASHED = b"nsecast.links", 16
SAME = ("release", "symbol", "horizon", "cutoff", "model_type")
"""Rows that agree in these are one forecast."""
LISTINGS = 5
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HASH = re.compile(rf"-([0-9a-f]{{{HASHED}}})$")


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


@dataclass(frozen=True)
class Link:
    """One part's place in the chain of its writer, see `serve.audit.hash_chain`."""

    writer: str
    part: int
    """Counted from 0."""
    day: str
    rows: int
    before: dict[str, str] | None
    """``day`` and ``digest`` of the writer's part before; None: it is the first."""
    seen: dict[str, list[Any]]
    """``[part, day, digest]`` of other writers' newest parts, by writer, as found then."""
    digest: str


def write_part(day: Path, name: str, table: pa.Table, links: list[Link]) -> Path:
    """Write a table of ``SCHEMA``, whole or not at all; ``links`` cover its rows in their order."""
    noted = {LINKS: json.dumps([asdict(link) for link in links])} if links else {}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(noted), sink, **WRITING)
    content = sink.getvalue().to_pybytes()
    target = day / f"{name}-{hashlib.sha256(content).hexdigest()[:HASHED]}.parquet"
    storage.write_bytes(target, content)
    return target


def read_part(path: Path) -> tuple[pa.Table, list[Link]]:
    """Rows and links of a part; without links where it was written by a version that had none.

    Raises
    ------
    ValueError, KeyError
        If it cannot be read, or its bytes are not those that its name speaks of.
    """
    content, named = path.read_bytes(), _HASH.search(path.stem)
    if named and hashlib.sha256(content).hexdigest()[:HASHED] != named[1]:
        raise ValueError("its bytes are not those that were written")
    table = pq.ParquetFile(pa.BufferReader(content)).read()
    links = [Link(**each) for each in json.loads((table.schema.metadata or {}).get(LINKS, b"[]"))]
    if bool(links) != bool(named) or (links and sum(link.rows for link in links) != len(table)):
        raise ValueError("its links are not those of its rows")
    for field in list(SCHEMA)[-ADDED:]:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(SCHEMA.names).cast(SCHEMA), links


Read = dict[Path, tuple[pa.Table, list[Link]]]


def read_day(day: Path) -> tuple[Read, dict[Path, str]]:
    """The parts of a day, and those that cannot be read with the reason.

    A part that goes while the day is read was folded into another: then all of it is read again.
    """
    for _ in range(LISTINGS):
        found: Read = {}
        damaged = {}
        try:
            for path in parts_of(day):
                try:
                    found[path] = read_part(path)
                except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
                    damaged[path] = str(error).splitlines()[0][:200]
        except FileNotFoundError:
            continue
        return found, damaged
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
    """Make one part of a day that is over; parts that cannot be read, or have no links, stay.

    A day that is one part already is not read again.
    """
    several = sum(_HASH.search(path.stem) is not None for path in parts_of(day)) > 1
    read, _ = read_day(day) if several else ({}, {})
    chained = {path: part for path, part in read.items() if part[1]}
    if len(chained) > 1:
        links = [link for _, own in chained.values() for link in own]
        write_part(
            day, f"all-{uuid4().hex[:12]}", pa.concat_tables(table for table, _ in chained.values()), links
        )
        for path in chained:
            storage.remove(path)
    for path in day.glob(".*.tmp.parquet"):  # a writer was killed
        path.unlink(missing_ok=True)


def drop_days(folder: Path, *, before: str, today: str, most_bytes: int) -> tuple[dict[str, int], int]:
    """Drop the days before one, and the oldest while all are too large; never ``today``, whatever its size.

    Returns
    -------
    dropped
        Bytes by day.
    left
        Bytes of the days that stay.
    """
    sizes = _sizes(folder)
    dropped = {}
    for day in list(sizes):
        if day.name < today and (day.name < before or sum(sizes.values()) >= most_bytes):
            with suppress(OSError):
                storage.remove_tree(day)
            if not day.exists():
                dropped[day.name] = sizes.pop(day)
    return dropped, sum(sizes.values())


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
