"""A hash chain through the parts of a log of served forecasts, which reveals changes.

A writer is one router process. Every part has a link: a digest over its rows, in order, and over the digest
of the writer's previous part. A writer's first part of a day also lists the other writers' newest parts.
Editing, removing or reordering rows or parts therefore contradicts a later link, and so does adding a writer
to a past day, unless everything written later is rewritten too.

The chain proves that the log holds what was written, in that order, from the oldest kept day to the heads. It
does not prove that a writer's newest part is its last, as long as no later part lists it; that no writer was
added on the newest day; or that the oldest days were not deleted early. It proves nothing against an owner of
the storage who rewrites the whole log, unless a head's digest was kept elsewhere (`Chain.lacks`).
Parts without links, written before the chain existed, are listed and prove nothing.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from common import storage
from serve.audit.files import Link, day_folders, read_day

DAYS_SEEN = 2
"""Number of newest days in which a writer looks for others."""


def make_link(
    writer: str, part: int, day: str, table: pa.Table, *, before: Link | None, seen: dict[str, list[Any]]
) -> Link:
    """Return the link of a part that is about to be written."""
    stated = None if before is None else {"day": before.day, "digest": before.digest}
    link = Link(writer, part, day, len(table), stated, seen, "")
    return dataclasses.replace(link, digest=digest_of(link, table))


def digest_of(link: Link, rows: pa.Table) -> str:
    """Return the SHA-256 of a link and its rows, without empty cells, so that columns can be added later."""
    values = [{name: value for name, value in row.items() if value is not None} for row in rows.to_pylist()]
    stated = [link.writer, link.part, link.day, link.before, link.seen, values]
    return hashlib.sha256(json.dumps(stated, sort_keys=True, default=str).encode()).hexdigest()


def heads_seen(folder: Path, writer: str) -> dict[str, list[Any]]:
    """Return `Link.seen`: the newest part of every other writer in the newest days.

    Raises
    ------
    OSError
        If files change faster than they can be read.
    """
    heads: dict[str, Link] = {}
    for day in day_folders(folder)[-DAYS_SEEN:]:
        parts, damaged = read_day(day, newest=True)
        if day in damaged:
            raise OSError(f"{day}: {damaged[day]}")
        for link in (link for _, links in parts.values() for link in links):
            if link.writer not in heads or heads[link.writer].part < link.part:
                heads[link.writer] = link
    return {name: [link.part, link.day, link.digest] for name, link in heads.items() if name != writer}


@dataclass
class Chain:
    """Result of `check`."""

    oldest: str = ""
    """The oldest day kept."""
    parts: int = 0
    problems: list[str] = field(default_factory=list)
    """Edited, removed or moved parts, each with its file."""
    unchained: list[str] = field(default_factory=list)
    """Files without links."""
    heads: dict[str, Link] = field(default_factory=dict, repr=False)
    """Each writer's newest part."""
    known: set[str] = field(default_factory=set, repr=False)
    """Digests of all parts, and of those that their links name."""

    @property
    def verdict(self) -> str:
        return "broken" if self.problems else "intact" if self.parts else "empty"

    @property
    def newest(self) -> Link | None:
        """The head to keep elsewhere: on the newest day, that of the longest chain."""
        return max(self.heads.values(), key=lambda link: (link.day, link.part), default=None)

    def lacks(self, kept: Iterable[str]) -> list[str]:
        """Return the digests, kept elsewhere, that the log no longer contains."""
        return [digest for digest in kept if digest not in self.known]

    def as_dict(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "problems": self.problems,
            "unchained": self.unchained,
            "oldest": self.oldest,
            "parts": self.parts,
            "head": self.newest.digest if self.newest else None,
            "heads": {name: link.digest for name, link in sorted(self.heads.items())},
        }


Part = tuple[Path, Link, pa.Table]


def check(folder: Path, visit: Callable[[Part], object] = lambda part: None) -> Chain:
    """Read a whole log and verify its chains.

    Parameters
    ----------
    folder : such as ``<home>/served``
    visit : called with every part whose rows match its link
    """
    chain = Chain()
    parts: dict[tuple[str, int], tuple[Path, Link]] = {}
    days = day_folders(folder)
    chain.oldest = days[0].name if days else ""
    for day in days:
        for path, link, rows in _parts(day, chain):
            other = parts.get((link.writer, link.part))
            if other and other[1] == link:
                continue  # a copy of a merged part
            if other:
                chain.problems.append(f"{_shown(path)}: part {link.part} of {link.writer} exists twice")
                continue
            parts[link.writer, link.part] = (path, link)
            visit((path, link, rows))
    chain.parts = len(parts)
    chain.known = {link.digest for _, link in parts.values()}
    for (writer, _), (path, link) in sorted(parts.items(), key=lambda item: item[0]):
        chain.heads[writer] = link
        if link.before is None and link.part:
            chain.problems.append(f"{_shown(path)}: part {link.part} names no previous part")
        for name, number, day_then, digest in _stated(link):
            chain.known.add(digest)
            there = parts.get((name, number))
            if there is None and day_then >= chain.oldest:
                chain.problems.append(f"{_shown(path)}: part {number} of {name}, of {day_then}, is gone")
            elif there is not None and there[1].digest != digest:
                chain.problems.append(f"{_shown(there[0])}: not the part that {_shown(path)} states")
    chain.problems += _added(list(parts.values()), [day.name for day in days])
    return chain


def _stated(link: Link) -> list[tuple[str, int, str, str]]:
    """Return writer, number, day and digest of the parts that a part states: its predecessor, and others'."""
    seen = [(name, number, day, digest) for name, (number, day, digest) in link.seen.items()]
    if link.before is None:
        return seen
    return [(link.writer, link.part - 1, link.before["day"], link.before["digest"]), *seen]


def _added(parts: list[tuple[Path, Link]], days: list[str]) -> list[str]:
    """Return a problem for each writer of a day that a writer of the next day does not list."""
    following = dict(itertools.pairwise(days))
    writers: dict[str, dict[str, Path]] = {}
    for path, link in parts:
        writers.setdefault(link.day, {}).setdefault(link.writer, path)
    first_parts: dict[str, list[tuple[Path, Link]]] = {}
    for path, link in parts:
        if link.before is None or link.before["day"] != link.day:
            first_parts.setdefault(link.day, []).append((path, link))
    return [
        f"{_shown(path)}: {writer} was not there yet when {_shown(other)} was written"
        for day, paths in writers.items()
        for writer, path in paths.items()
        for other, link in first_parts.get(following.get(day, ""), [])
        if writer != link.writer and writer not in link.seen
    ]


def _parts(day: Path, chain: Chain) -> Iterator[Part]:
    """Yield the parts of a day that match their links; report the others to the chain."""
    read, damaged = read_day(day)
    chain.problems += [f"{_shown(path)}: {reason}" for path, reason in damaged.items()]
    for path, (table, links) in read.items():
        if not links:
            chain.unchained.append(_shown(path))
        start = 0
        for link in links:
            rows = table.slice(start, link.rows)
            start += link.rows
            if link.day != day.name:
                chain.problems.append(f"{_shown(path)}: it is of {link.day}")
            elif digest_of(link, rows) != link.digest:
                chain.problems.append(f"{_shown(path)}: rows of part {link.part} were changed")
            else:
                yield path, link, rows


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}" if path.suffix else storage.display_path(path)
