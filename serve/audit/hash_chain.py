"""A chain through the parts of a log of served forecasts, so that none can be changed quietly.

Every part states a digest over its rows, in their order, and over the digest of the part that its writer (one
router from its start to its end) wrote before. A writer's first part of a day also states the newest parts of
the other writers that it found. Whoever then edits, removes or reorders rows or parts breaks a digest that a
later part states, and whoever adds a writer to a day gone by adds one that the next day's writers did not
find, unless all that came later is written anew too.

What it proves: what is kept is what was written, in that order, from the oldest kept day to the heads. What
it does not: that the newest part of a writer is the last that it wrote, while no later part has seen it; that
no writer was made up on the newest day; that the oldest days, which are dropped by age and size, were not
dropped earlier; and nothing against someone who owns the storage and writes the whole log anew, unless a
head's digest was kept elsewhere (`Chain.lacks`).
Parts without links, of before there was a chain, are named and prove nothing.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from common import storage
from serve.audit.files import LISTINGS, Link, day_folders, parts_of, read_day, read_part

DAYS_SEEN = 2
"""Newest days in which a writer looks for others."""


def forge(
    writer: str, part: int, day: str, table: pa.Table, *, before: Link | None, seen: dict[str, list[Any]]
) -> Link:
    """The link of a part that is about to be written."""
    stated = None if before is None else {"day": before.day, "digest": before.digest}
    plain = Link(writer, part, day, len(table), stated, seen, "")
    return Link(writer, part, day, len(table), stated, seen, digest_of(plain, table))


def digest_of(link: Link, rows: pa.Table) -> str:
    """Sha256 over what a link states and its rows; empty cells are left out, so that columns may be added."""
    values = [{name: value for name, value in row.items() if value is not None} for row in rows.to_pylist()]
    stated = [link.writer, link.part, link.day, link.before, link.seen, values]
    return hashlib.sha256(json.dumps(stated, sort_keys=True, default=str).encode()).hexdigest()


def heads_seen(folder: Path, writer: str) -> dict[str, list[Any]]:
    """What `Link.seen` states: the newest part of every other writer in the newest days.

    Raises
    ------
    OSError
        If parts are folded faster than they can be read.
    """
    for _ in range(LISTINGS):
        try:
            found = _heads(folder)
        except FileNotFoundError:
            continue
        return {name: [link.part, link.day, link.digest] for name, link in found.items() if name != writer}
    raise OSError(f"{folder}: it changes faster than it can be read")


def _heads(folder: Path) -> dict[str, Link]:
    found: dict[str, Link] = {}
    for day in day_folders(folder)[-DAYS_SEEN:]:
        newest: dict[str, Path] = {}
        for path in parts_of(day):  # sorted, so that a writer's last one stays
            newest[path.name if path.name.startswith("all-") else path.name.split("-")[0]] = path
        for path in newest.values():
            try:
                _, links = read_part(path)
            except (ValueError, KeyError, TypeError, pa.ArrowException):
                continue  # whoever checks the chain is told
            for link in links:
                if link.writer not in found or found[link.writer].part < link.part:
                    found[link.writer] = link
    return found


@dataclass
class Chain:
    """What `check` found."""

    oldest: str = ""
    """The oldest day kept."""
    parts: int = 0
    problems: list[str] = field(default_factory=list)
    """What was edited, removed or put elsewhere, by file."""
    unchained: list[str] = field(default_factory=list)
    """Files without links."""
    heads: dict[str, Link] = field(default_factory=dict, repr=False)
    """Each writer's newest part."""
    known: set[str] = field(default_factory=set, repr=False)
    """Digests of all parts kept, and of those that they state."""

    @property
    def verdict(self) -> str:
        return "broken" if self.problems else "intact" if self.parts else "empty"

    @property
    def newest(self) -> Link | None:
        """The head to keep elsewhere: of the newest day, and there the longest chain's."""
        return max(self.heads.values(), key=lambda link: (link.day, link.part), default=None)

    def lacks(self, kept: list[str]) -> list[str]:
        """Digests that were kept elsewhere and are stated nowhere any more."""
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


def check(folder: Path, each: Callable[[Part], object] = lambda part: None) -> Chain:
    """Read a whole log and follow its chains.

    Parameters
    ----------
    folder : such as ``<home>/served``
    each : called with every part whose rows are those of its link
    """
    chain = Chain()
    places: dict[tuple[str, int], tuple[Path, Link]] = {}
    days = day_folders(folder)
    chain.oldest = days[0].name if days else ""
    for day in days:
        for path, link, rows in _parts(day, chain):
            twice = places.get((link.writer, link.part))
            if twice and twice[1] == link:
                continue  # folded and apart
            if twice:
                chain.problems.append(f"{_shown(path)}: part {link.part} of {link.writer} is there twice")
                continue
            places[link.writer, link.part] = (path, link)
            chain.known |= {link.digest, *(seen[2] for seen in link.seen.values())}
            chain.known |= {link.before["digest"]} if link.before else set()
            each((path, link, rows))
    chain.parts = len(places)
    for (writer, part), (path, link) in sorted(places.items(), key=lambda item: item[0]):
        chain.heads[writer] = link
        chain.problems += _follow(path, link, places.get((writer, part - 1)), chain.oldest)
        for other, (number, seen_day, digest) in link.seen.items():
            there = places.get((other, number))
            if there is None and seen_day >= chain.oldest:
                chain.problems.append(f"{_shown(path)}: part {number} of {other}, of {seen_day}, is gone")
            elif there is not None and there[1].digest != digest:
                chain.problems.append(f"{_shown(there[0])}: not what {_shown(path)} saw")
    chain.problems += _added(list(places.values()), [day.name for day in days])
    return chain


def _added(parts: list[tuple[Path, Link]], days: list[str]) -> list[str]:
    """Writers of a day that one who looked on the next day did not find."""
    following = dict(itertools.pairwise(days))
    writers: dict[str, dict[str, Path]] = {}
    for path, link in parts:
        writers.setdefault(link.day, {}).setdefault(link.writer, path)
    looked: dict[str, list[tuple[Path, Link]]] = {}
    for path, link in parts:
        if link.before is None or link.before["day"] != link.day:
            looked.setdefault(link.day, []).append((path, link))
    return [
        f"{_shown(path)}: {writer} was not there yet when {_shown(other)} was written"
        for day, found in writers.items()
        for writer, path in found.items()
        for other, link in looked.get(following.get(day, ""), [])
        if writer != link.writer and writer not in link.seen
    ]


def _parts(day: Path, chain: Chain) -> Iterator[Part]:
    """The parts of a day that are as their links say; what is wrong goes to the chain."""
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


def _follow(path: Path, link: Link, before: tuple[Path, Link] | None, oldest: str) -> list[str]:
    if link.before is None:
        return [] if link.part == 0 else [f"{_shown(path)}: part {link.part} states none before it"]
    if before is None:
        gone = link.before["day"] >= oldest
        return [f"{_shown(path)}: part {link.part - 1} of {link.writer} is gone"] if gone else []
    same = before[1].digest == link.before["digest"]
    return [] if same else [f"{_shown(before[0])}: not what {_shown(path)} follows"]


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}" if path.suffix else storage.shown(path)
