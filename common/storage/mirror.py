"""A mirror: a folder that is a local copy of a prefix in an object store.

`common.storage` writes files to the store first and then to the folder, and `current` brings a local file up
to date. In plain folders the same calls only use the disk. Names that begin with a dot, and files that only
this machine needs (``LOCAL``), are not uploaded.
"""

import fnmatch
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from common.storage.errors import missing
from common.storage.local import exclusive_here, temporary_sibling
from common.storage.object_store import Entry, ObjectStore, Version, parallel_map

NOTES = ".store"
"""Folder in a mirror that records of which version of its object each file is a copy."""
LOCAL = ("market", "cluster", "checks", "serve/server.json", "serve/logs")
"""Paths that can be rebuilt, or that describe this machine's processes."""
_LISTED: ContextVar[tuple[Path, dict[Path, Entry]] | None] = ContextVar("listed", default=None)


@dataclass(frozen=True, eq=False)
class Mirror:
    """A folder and its object store."""

    root: Path
    store: ObjectStore

    def key(self, path: Path) -> str | None:
        """Return the key of a path's object; None if the path is not uploaded."""
        hidden = any(part.startswith(".") for part in path.relative_to(self.root).parts)
        return None if hidden else self.lease_key(path)

    def lease_key(self, path: Path) -> str | None:
        """Return the key of a lock, whose name may begin with a dot; None if it is not uploaded."""
        name = self.object_key(path)
        return None if any(name == local or name.startswith(f"{local}/") for local in LOCAL) else name

    def push(self, source: Path, target: Path) -> None:
        """Upload ``source``, which is about to be renamed to ``target``."""
        key = self.key(target)
        if key is not None:
            self._note(target, source, self.store.put(key, source))

    def fetch(self, path: Path, entry: Entry | None = None) -> None:
        """Bring a file up to date; FileNotFoundError if there is none. ``entry``: its entry in a listing."""
        key = self.key(path)
        if key is None:
            return
        listed = _listed(path)
        if entry is None and listed is not None:
            entry = listed.get(path)
            if entry is None:
                raise missing(self.store.url, key)
        known = self._known(path)
        if entry is not None and known is not None and entry.version.plain == known.plain:
            return
        # one process of a machine downloads a file that all of its workers need
        with nullcontext() if known else exclusive_here(self._note_path(path).with_suffix(".lock")):
            known = known or self._known(path)
            with temporary_sibling(path) as temporary:
                version = self.store.download(key, temporary, unless=known)
                if version is not None:
                    self._note(path, temporary, version)
                    os.replace(temporary, path)

    def names(self, folder: Path, pattern: str) -> dict[Path, Entry | None]:
        """Return paths below ``folder`` that match ``pattern``, with their entries if they were listed."""
        matching: dict[Path, Entry | None]
        if pattern.startswith("**/"):
            entries = self.listing(folder)
            matching = {path: entry for path, entry in entries.items() if path.match(pattern[3:])}
        else:
            matching = self._match(folder, pattern.split("/"))
        return {path: entry for path, entry in matching.items() if self.key(path) is not None}

    def _match(self, folder: Path, parts: list[str]) -> dict[Path, Entry | None]:
        head, *rest = parts
        if not any(sign in head for sign in "*?["):
            return self._match(folder / head, rest) if rest else {folder / head: None}
        folders, objects = self.store.children(self.object_key(folder))
        if not rest:
            paths = {self.root / entry.key: entry for entry in objects}
            return {path: entry for path, entry in paths.items() if fnmatch.fnmatchcase(path.name, head)}
        matching: dict[Path, Entry | None] = {}
        for name in fnmatch.filter(folders, head):
            matching |= self._match(folder / name, rest)
        return matching

    def fetch_all(self, entries: dict[Path, Entry | None]) -> list[Path]:
        """Bring files up to date; returns the paths that exist."""

        def fetch(path: Path) -> bool:
            try:
                self.fetch(path, entries[path])
            except FileNotFoundError:
                return False
            return True

        paths = sorted(entries)
        return [path for path, exists in zip(paths, parallel_map(fetch, paths), strict=True) if exists]

    def listing(self, folder: Path) -> dict[Path, Entry]:
        """List the objects below ``folder`` by path."""
        return {self.root / entry.key: entry for entry in self.store.below(self.object_key(folder))}

    @contextmanager
    def looked(self, folder: Path, names: tuple[str, ...]) -> Iterator[None]:
        """List ``folder`` once, for every `fetch` in the block."""
        listed = self.listing(folder)
        self.fetch_all({path: entry for path, entry in listed.items() if path.name in names})
        token = _LISTED.set((folder, listed))
        try:
            yield
        finally:
            _LISTED.reset(token)

    def folders(self, folder: Path) -> list[str]:
        """Return the names of the folders in ``folder``."""
        return self.store.children(self.object_key(folder))[0]

    def remove(self, path: Path) -> None:
        key = self.key(path)
        if key is not None:
            self.store.delete([key])
            if (listed := _listed(path)) is not None:
                listed.pop(path, None)

    def remove_tree(self, folder: Path) -> None:
        if self.key(folder) is not None:
            self.store.delete([entry.key for entry in self.listing(folder).values()])

    def head(self, path: Path) -> Entry | None:
        """Return the entry of an object; None if there is none."""
        return self.store.head(self.object_key(path))

    def read(self, path: Path) -> tuple[bytes, Version] | None:
        """Return a small object and its version, for `write_if`; None if there is none."""
        try:
            content, entry = self.store.read(self.object_key(path))
        except FileNotFoundError:
            return None
        self._keep(path, content, entry.version)
        return content, entry.version

    def write_if(self, path: Path, content: bytes, before: Version | None) -> None:
        """Write an object if it has not changed since it was read; raises `Changed` if it has."""
        self._keep(path, content, self.store.put_if(self.object_key(path), content, before))

    def _keep(self, path: Path, content: bytes, version: Version) -> None:
        with temporary_sibling(path) as temporary:
            temporary.write_bytes(content)
            self._note(path, temporary, version)
            os.replace(temporary, path)

    def object_key(self, path: Path) -> str:
        """Return the key or prefix of any path, uploaded or not; empty for the mirror's root."""
        inside = path.relative_to(self.root).as_posix()
        return "" if inside == "." else inside

    def _note(self, path: Path, written: Path, version: Version) -> None:
        """Record the version of the file ``written``, which its size and time identify."""
        status, note = written.stat(), self._note_path(path)
        if (listed := _listed(path)) is not None:
            listed[path] = Entry(self.object_key(path), status.st_size, datetime.now(UTC), version)
        with temporary_sibling(note) as temporary:
            temporary.write_text(
                json.dumps([version.tag, version.number, status.st_size, status.st_mtime_ns])
            )
            os.replace(temporary, note)

    def _known(self, path: Path) -> Version | None:
        """Return the version that a file is a copy of, or None if that is uncertain."""
        try:
            tag, number, size, modified = json.loads(self._note_path(path).read_bytes())
            status = path.stat()
        except (OSError, ValueError):
            return None
        return Version(tag, number) if (status.st_size, status.st_mtime_ns) == (size, modified) else None

    def _note_path(self, path: Path) -> Path:
        return self.root / NOTES / f"{path.relative_to(self.root).as_posix()}.json"


def _listed(path: Path) -> dict[Path, Entry] | None:
    """Return the listing of `Mirror.looked` that covers ``path``, if any."""
    listed = _LISTED.get()
    return listed[1] if listed is not None and path.is_relative_to(listed[0]) else None
