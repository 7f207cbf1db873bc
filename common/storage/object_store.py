"""An object store below one URL: whole objects, conditions, listings; the same for every kind of store.

An object appears whole or not at all, and whoever reads after a write that succeeded sees it: the stores
promise that. Nothing else here is atomic; what needs several objects writes the one that counts last.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
import obstore.exceptions as raised

from common.storage.connect import connect
from common.storage.errors import Changed, StorageError, speaking

log = logging.getLogger(__name__)

TOGETHER = 8
"""Objects on their way at once."""
PIECE = 8 * 2**20
PROBE, CLOCK = ".nsecast-probe", ".nsecast-clock"


@dataclass(frozen=True)
class Version:
    """Which content an object has; two are the same if the store says so."""

    tag: str
    number: str | None = None
    """Some stores want it beside the tag."""

    @classmethod
    def of(cls, answer: Any) -> "Version":
        return cls(answer["e_tag"] or "", answer["version"])

    @property
    def plain(self) -> str:
        """Without the quotes, which some listings leave out."""
        return self.tag.removeprefix("W/").strip('"')


@dataclass(frozen=True)
class Entry:
    """An object without its content."""

    key: str
    size: int
    modified: datetime
    """By the store's clock."""
    version: Version


NEVER = Version(f'"{"0" * 32}"', "1")
"""No object is it."""


class ObjectStore:
    """Objects by key, relative to ``url``; every method raises StorageError if the store cannot be asked.

    Parameters
    ----------
    url : such as ``s3://bucket/prefix``
    store : one of the library's, for tests; default: what ``url`` and the environment name
    """

    def __init__(self, url: str, store: Any = None) -> None:
        self.url = url
        self._store = store if store is not None else connect(url)

    def head(self, key: str) -> Entry | None:
        """What there is under ``key``, or None."""
        try:
            with speaking(self.url, key):
                return _entry(obstore.head(self._store, key))
        except FileNotFoundError:
            return None

    def read(self, key: str) -> tuple[bytes, Entry]:
        """A small object; FileNotFoundError if there is none."""
        with speaking(self.url, key):
            got = obstore.get(self._store, key)
            return bytes(got.bytes()), _entry(got.meta)

    def download(self, key: str, target: Path, *, unless: Version | None = None) -> Version | None:
        """Write an object to ``target``, piece by piece; None if it is the one given in ``unless``."""
        options: Any = {"if_none_match": f'"{unless.plain}"'} if unless else {}
        try:
            with speaking(self.url, key):
                got = obstore.get(self._store, key, options=options)
                with target.open("wb") as stream:
                    for piece in got.stream(min_chunk_size=PIECE):
                        stream.write(piece)
                return Version.of(got.meta)
        except raised.NotModifiedError:
            return None

    def put(self, key: str, content: bytes | Path) -> Version:
        """Write an object, whatever was there."""
        with speaking(self.url, key):
            return Version.of(obstore.put(self._store, key, content))

    def put_if(self, key: str, content: bytes, before: Version | None) -> Version:
        """Write an object if there is still the one given in ``before``; None: if there is none.

        Raises
        ------
        Changed
            If there is another now. That the same content is there counts as written: the answer to a write
            of ours can be lost on its way.
        """
        mode: Any = "create" if before is None else _condition(before)
        if not self.keeps_conditions:
            there = self.head(key)
            same = there is None if before is None else there and there.version.plain == before.plain
            mode = "overwrite" if same else None
        try:
            if mode is not None:
                with speaking(self.url, key):
                    return Version.of(obstore.put(self._store, key, content, mode=mode))
        except (raised.AlreadyExistsError, raised.PreconditionError, FileNotFoundError):
            pass
        try:
            there_now, entry = self.read(key)
        except FileNotFoundError:
            there_now, entry = b"", None
        if entry is None or there_now != content:
            raise Changed(f"{self.url}/{key}: another has written it meanwhile. Try again.")
        return entry.version

    @cached_property
    def keeps_conditions(self) -> bool:
        """Whether the store honours conditional writes, tried once in a process."""
        kept = (self._refuses("create") or self._refuses("create")) and self._refuses(_condition(NEVER))
        if not kept:
            log.warning(
                "%s ignores conditional writes: of two commands that write the same thing at the same moment "
                "one can be lost. Let one command at a time write there, or use a store that honours them.",
                self.url,
            )
        return kept

    def _refuses(self, mode: Any) -> bool:
        """Whether a write to the object that conditions are tried on is refused."""
        try:
            with speaking(self.url, PROBE):
                obstore.put(self._store, PROBE, b"Conditional writes are tried on this object.\n", mode=mode)
        except (raised.AlreadyExistsError, raised.PreconditionError, FileNotFoundError):
            return True
        return False

    def delete(self, keys: list[str]) -> None:
        """Delete objects; those that are not there count as deleted."""
        if keys:
            with speaking(self.url, keys[0]):
                obstore.delete(self._store, keys if len(keys) > 1 else keys[0])

    def below(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key begins with the folder ``prefix``, at any depth."""
        with speaking(self.url, prefix):
            for batch in obstore.list(self._store, prefix or None, chunk_size=1000):
                yield from map(_entry, batch)

    def children(self, prefix: str) -> tuple[list[str], list[Entry]]:
        """Names of the folders in the folder ``prefix``, and the objects in it."""
        with speaking(self.url, prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)
        folders = [folder.rstrip("/").rpartition("/")[2] for folder in found["common_prefixes"]]
        return sorted(folders), [_entry(each) for each in found["objects"]]

    def now(self) -> datetime:
        """The time by the store's own clock."""
        self.put(CLOCK, b"Written to learn the time of this store.\n")
        entry = self.head(CLOCK)
        if entry is None:
            raise StorageError(f"{self.url}/{CLOCK}: written, and not there. Is the store consistent?")
        return entry.modified


def together(work: Any, items: list[Any]) -> list[Any]:
    """``work`` done to each item, a few at once; the first error is raised."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(TOGETHER, len(items))) as pool:
        return list(pool.map(work, items))


def _entry(found: Any) -> Entry:
    return Entry(found["path"], found["size"], found["last_modified"], Version.of(found))


def _condition(version: Version) -> dict[str, str]:
    number = {} if version.number is None else {"version": version.number}
    return {"e_tag": version.tag, **number}
