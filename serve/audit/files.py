"""The files of a log of served forecasts: a day's parts, merged into one file after the day.

::

    <log>/<yyyy-mm-dd>/<writer>-<n>-<sha256>.parquet      parts, written atomically and never changed
    <log>/<yyyy-mm-dd>/all-<random>-<sha256>.parquet      merged parts

A name ends with the first digits of the file's digest. The file's metadata has the link of each part
(`serve.audit.hash_chain`), which merging keeps. A crash during a merge leaves rows in both files; readers
ignore the copies.
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
from common.forecast.probabilities import DIRECTIONS

BOUNDS = tuple(f"{side}{100 * level:.0f}" for level in LEVELS for side in ("lo", "hi"))
PROBABILITIES = tuple(f"probability_{direction}" for direction in DIRECTIONS)
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
        *((name, pa.float64()) for name in (*PROBABILITIES, "expected_change_percent")),
    ]
)
"""Prices in KES; ``horizon`` in trading days; ``target_date`` as published; bounds and ``p_move`` are NaN
where the model has none; ``served_at`` is the first time. The columns from ``as_of`` on are for
`serve.audit.receipts` and null in files written before they existed: the requested day, the request's prices
(JSON), digest of the release's manifest, versions (JSON), and the ids of the requests with this response.
``prices`` (packed) and ``prices_digest`` are only in old files. ``form`` is ``FORM``; null: clients may have
chosen the request ids. ``PROBABILITIES`` and
``expected_change_percent`` are those of the response; probabilities are null where the model has none."""
FORM = 2
"""``form`` of rows whose request ids were made by the server."""
ADDED = 12
"""Number of last columns of ``SCHEMA`` that older files lack."""
LINKS, HASHED = b"nsecast.links", 16
LISTINGS = 5
"""Attempts to read a folder whose files change meanwhile."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HASH = re.compile(rf"-([0-9a-f]{{{HASHED}}})$")


def day_folders(folder: Path) -> list[Path]:
    """Return the folders of the days in a log, oldest first."""
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
    """A part's place in the chain of its writer, see `serve.audit.hash_chain`."""

    writer: str
    part: int
    """Counted from 0."""
    day: str
    rows: int
    before: dict[str, str] | None
    """``day`` and ``digest`` of the writer's previous part; None: this is the first."""
    seen: dict[str, list[Any]]
    """``[part, day, digest]`` of the other writers' newest parts at that time, by writer."""
    digest: str


def write_part(day: Path, name: str, table: pa.Table, links: list[Link]) -> Path:
    """Write a table of ``SCHEMA`` atomically; ``links`` cover its rows in order."""
    metadata = {LINKS: json.dumps([asdict(link) for link in links])} if links else {}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    target = day / f"{name}-{hashlib.sha256(content).hexdigest()[:HASHED]}.parquet"
    storage.write_bytes(target, content)
    return target


def read_part(path: Path) -> tuple[pa.Table, list[Link]]:
    """Return the rows and links of a part; old parts have no links.

    Raises
    ------
    ValueError, KeyError
        If it cannot be read, or differs from the digest in its name.
    """
    content, named = path.read_bytes(), _HASH.search(path.stem)
    if named and hashlib.sha256(content).hexdigest()[:HASHED] != named[1]:
        raise ValueError("its bytes were changed")
    table = pq.ParquetFile(pa.BufferReader(content)).read()
    links = [Link(**link) for link in json.loads((table.schema.metadata or {}).get(LINKS, b"[]"))]
    if bool(links) != bool(named) or (links and sum(link.rows for link in links) != len(table)):
        raise ValueError("its links do not match its rows")
    for field in list(SCHEMA)[-ADDED:]:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(SCHEMA.names).cast(SCHEMA), links


Parts = dict[Path, tuple[pa.Table, list[Link]]]


def read_day(day: Path, *, newest: bool = False) -> tuple[Parts, dict[Path, str]]:
    """Return the parts of a day, or only each writer's newest, and the unreadable ones with the reason.

    If a part disappears meanwhile, it was merged into another, and the day is read again.
    """
    for _ in range(LISTINGS):
        parts: Parts = {}
        damaged = {}
        try:
            for path in _newest(parts_of(day)) if newest else parts_of(day):
                try:
                    parts[path] = read_part(path)
                except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
                    damaged[path] = str(error).splitlines()[0][:200]
        except FileNotFoundError:
            continue
        return parts, damaged
    return {}, {day: "it changes faster than it can be read"}


def _newest(parts: list[Path]) -> list[Path]:
    """Return the last of each writer's sorted parts, and all merged ones."""
    names = [part.name if part.name.startswith("all-") else part.name.split("-")[0] for part in parts]
    return list(dict(zip(names, parts, strict=True)).values())


def parts_of(day: Path) -> list[Path]:
    """Return the complete parts of a day, sorted; a name with a leading dot is being written."""
    return [path for path in storage.fetch_matching(day, "*.parquet") if not path.name.startswith(".")]


def fold(day: Path) -> None:
    """Merge the parts of a past day into one file; unreadable parts and those without links stay."""
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


def drop_days(folder: Path, *, before: str, today: str, max_bytes: int) -> tuple[dict[str, int], int]:
    """Delete the days before one, and the oldest while the log is too large; never ``today``.

    Returns
    -------
    dropped
        Deleted bytes by day.
    left
        Bytes that remain.
    """
    sizes = _sizes(folder)
    dropped = {}
    for day in list(sizes):
        if day.name < today and (day.name < before or sum(sizes.values()) >= max_bytes):
            with suppress(OSError):
                storage.remove_tree(day)
            if not day.exists():
                dropped[day.name] = sizes.pop(day)
    return dropped, sum(sizes.values())


def _sizes(folder: Path) -> dict[Path, int]:
    """Return the bytes of each day, oldest first."""
    mirror = storage.mirror_of(folder)
    sizes: dict[Path, int] = {}
    if mirror is not None:
        for path, entry in sorted(mirror.listing(folder).items()):
            if _DAY.fullmatch(path.parent.name):
                sizes[path.parent] = sizes.get(path.parent, 0) + entry.size
        return sizes
    for day in day_folders(folder):
        sizes[day] = 0
        for path in day.iterdir():
            with suppress(FileNotFoundError):
                sizes[day] += path.lstat().st_size
    return sizes
