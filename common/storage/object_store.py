"""An object store below one URL: objects, conditional writes and listings, alike for every kind of store.

Writes of one object are atomic, and reads after a successful write return it; the stores guarantee both.
Nothing else is atomic: a change of several objects writes the decisive one last.
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
from common.storage.errors import Changed, StorageError, storage_errors

log = logging.getLogger(__name__)

MAX_TRANSFERS = 8
"""Objects transferred at a time."""
CHUNK = 8 * 2**20
PROBE, CLOCK = ".nsecast-probe", ".nsecast-clock"


@dataclass(frozen=True)
class Version:
    """The version of an object's content, as named by the store."""

    tag: str
    number: str | None = None
    """Some stores require it beside the tag."""

    @classmethod
    def of(cls, meta: Any) -> "Version":
        return cls(meta["e_tag"] or "", meta["version"])

    @property
    def plain(self) -> str:
        """The tag without quotes, which some listings leave out."""
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
"""A version that no object has."""


class ObjectStore:
    """Objects by key, relative to ``url``; every method raises StorageError if the store cannot be reached.

    Parameters
    ----------
    url : such as ``s3://bucket/prefix``
    store : a store of obstore, for tests; default: the one named by ``url`` and the environment
    """

    def __init__(self, url: str, store: Any = None) -> None:
        self.url = url
        self._store = store if store is not None else connect(url)

    def head(self, key: str) -> Entry | None:
        """Return the entry of an object, or None."""
        try:
            with storage_errors(self.url, key):
                return _entry(obstore.head(self._store, key))
        except FileNotFoundError:
            return None

    def read(self, key: str) -> tuple[bytes, Entry]:
        """Read a small object; FileNotFoundError if there is none."""
        with storage_errors(self.url, key):
            got = obstore.get(self._store, key)
            return bytes(got.bytes()), _entry(got.meta)

    def download(self, key: str, target: Path, *, unless: Version | None = None) -> Version | None:
        """Download an object to ``target`` in chunks; None if its version is ``unless``."""
        options: Any = {"if_none_match": f'"{unless.plain}"'} if unless else {}
        try:
            with storage_errors(self.url, key):
                got = obstore.get(self._store, key, options=options)
                with target.open("wb") as stream:
                    for chunk in got.stream(min_chunk_size=CHUNK):
                        stream.write(chunk)
                return Version.of(got.meta)
        except raised.NotModifiedError:
            return None

    def put(self, key: str, content: bytes | Path) -> Version:
        """Write an object unconditionally."""
        with storage_errors(self.url, key):
            return Version.of(obstore.put(self._store, key, content))

    def put_if(self, key: str, content: bytes, before: Version | None) -> Version:
        """Write an object if its version is still ``before``; None: if it does not exist.

        Raises
        ------
        Changed
            If the object has changed. The same content counts as written, because the response to our own
            write can be lost.
        """
        mode: Any = "create" if before is None else _condition(before)
        if not self.keeps_conditions:
            current = self.head(key)
            same = current is None if before is None else current and current.version.plain == before.plain
            mode = "overwrite" if same else None
        try:
            if mode is not None:
                with storage_errors(self.url, key):
                    return Version.of(obstore.put(self._store, key, content, mode=mode))
        except (raised.AlreadyExistsError, raised.PreconditionError, FileNotFoundError):
            pass
        try:
            stored, entry = self.read(key)
        except FileNotFoundError:
            stored, entry = b"", None
        if entry is None or stored != content:
            raise Changed(f"{self.url}/{key}: another process has written it meanwhile. Try again.")
        return entry.version

    @cached_property
    def keeps_conditions(self) -> bool:
        """Whether the store honours conditional writes, tested once per process."""
        honours = (self._refuses("create") or self._refuses("create")) and self._refuses(_condition(NEVER))
        if not honours:
            log.warning(
                "%s ignores conditional writes: if two commands write the same object at once, one "
                "write can be lost. Run one writing command at a time, or use a store that honours them.",
                self.url,
            )
        return honours

    def _refuses(self, mode: Any) -> bool:
        """Return whether a conditional write to the probe object is refused."""
        try:
            with storage_errors(self.url, PROBE):
                obstore.put(self._store, PROBE, b"Conditional writes are tried on this object.\n", mode=mode)
        except (raised.AlreadyExistsError, raised.PreconditionError, FileNotFoundError):
            return True
        return False

    def delete(self, keys: list[str]) -> None:
        """Delete objects; missing ones count as deleted."""
        if keys:
            with storage_errors(self.url, keys[0]):
                obstore.delete(self._store, keys if len(keys) > 1 else keys[0])

    def below(self, prefix: str) -> Iterator[Entry]:
        """Yield every object below the folder ``prefix``, at any depth."""
        with storage_errors(self.url, prefix):
            for batch in obstore.list(self._store, prefix or None, chunk_size=1000):
                yield from map(_entry, batch)

    def children(self, prefix: str) -> tuple[list[str], list[Entry]]:
        """Return the names of the folders in the folder ``prefix``, and its objects."""
        with storage_errors(self.url, prefix):
            listing = obstore.list_with_delimiter(self._store, prefix or None)
        folders = [folder.rstrip("/").rpartition("/")[2] for folder in listing["common_prefixes"]]
        return sorted(folders), [_entry(meta) for meta in listing["objects"]]

    def now(self) -> datetime:
        """Return the time by the store's clock."""
        self.put(CLOCK, b"Written to read the clock of this store.\n")
        entry = self.head(CLOCK)
        if entry is None:
            raise StorageError(
                f"{self.url}/{CLOCK}: written, but not found. Check that the store is consistent."
            )
        return entry.modified


def parallel_map(function: Any, items: list[Any]) -> list[Any]:
    """Apply ``function`` to each item in a few threads; the first error is raised."""
    if len(items) < 2:
        return list(map(function, items))
    with ThreadPoolExecutor(min(MAX_TRANSFERS, len(items))) as pool:
        return list(pool.map(function, items))


def _entry(meta: Any) -> Entry:
    return Entry(meta["path"], meta["size"], meta["last_modified"], Version.of(meta))


def _condition(version: Version) -> dict[str, str]:
    number = {} if version.number is None else {"version": version.number}
    return {"e_tag": version.tag, **number}
