"""A folder that stands for a place in an object store: the store is the truth, the folder its copy here.

Whoever holds a path below such a folder goes on as with any other: what `common.storage` writes there is
in the store first and then here; `current` brings a file as the store has it. In a folder that is no mirror
all of it costs nothing and changes nothing.

Names that begin with a dot, and what only this machine needs (``LOCAL``), stay here.
"""

import fcntl
import fnmatch
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from common.storage.errors import missing
from common.storage.object_store import Entry, ObjectStore, Version, together

NOTES = ".store"
"""Folder in a mirror with what is known of each file: which version of its object it is a copy of."""
LOCAL = ("market", "cluster", "checks", "serve/server.json", "serve/logs")
"""What is made again where it is missing, or is about this machine's processes."""
_LISTED: ContextVar[tuple[Path, dict[Path, Entry]] | None] = ContextVar("listed", default=None)


@dataclass(frozen=True, eq=False)
class Mirror:
    """One folder and its store."""

    root: Path
    store: ObjectStore

    def key(self, path: Path) -> str | None:
        """The object that a path stands for; None if it stays here."""
        hidden = any(part.startswith(".") for part in path.relative_to(self.root).parts)
        return None if hidden else self.lease_key(path)

    def lease_key(self, path: Path) -> str | None:
        """As `key`, for a lock, whose name may begin with a dot."""
        name = path.relative_to(self.root).as_posix()
        return None if any(name == own or name.startswith(f"{own}/") for own in LOCAL) else name

    def push(self, source: Path, target: Path) -> None:
        """Upload ``source``, which is about to be renamed to ``target``."""
        key = self.key(target)
        if key is not None:
            self._note(target, source, self.store.put(key, source))

    def fetch(self, path: Path, entry: Entry | None = None) -> None:
        """Make a file the store's; FileNotFoundError if there is none. ``entry``: what a listing says."""
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
        with nullcontext() if known else self._alone(path):
            self._bring(key, path, known or self._known(path))

    def _bring(self, key: str, path: Path, known: Version | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp{path.suffix}")
        try:
            version = self.store.download(key, temporary, unless=known)
            if version is not None:
                self._note(path, temporary, version)
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def names(self, folder: Path, pattern: str) -> dict[Path, Entry | None]:
        """Paths below ``folder`` that fit ``pattern``; without its entry where nothing was asked of it."""
        fitting: dict[Path, Entry | None]
        if pattern.startswith("**/"):
            found = {self.root / entry.key: entry for entry in self.store.below(self._prefix(folder))}
            fitting = {path: entry for path, entry in found.items() if path.match(pattern[3:])}
        else:
            fitting = self._step(folder, pattern.split("/"))
        return {path: entry for path, entry in fitting.items() if self.key(path) is not None}

    def _step(self, folder: Path, parts: list[str]) -> dict[Path, Entry | None]:
        head, *rest = parts
        if not any(sign in head for sign in "*?["):
            return self._step(folder / head, rest) if rest else {folder / head: None}
        folders, objects = self.store.children(self._prefix(folder))
        if not rest:
            paths = {self.root / entry.key: entry for entry in objects}
            return {path: entry for path, entry in paths.items() if fnmatch.fnmatchcase(path.name, head)}
        found: dict[Path, Entry | None] = {}
        for name in fnmatch.filter(folders, head):
            found |= self._step(folder / name, rest)
        return found

    def fetch_all(self, entries: dict[Path, Entry | None]) -> list[Path]:
        """Those of the paths that there are, each as the store has it."""

        def one(path: Path) -> bool:
            try:
                self.fetch(path, entries[path])
            except FileNotFoundError:
                return False
            return True

        paths = sorted(entries)
        return [path for path, there in zip(paths, together(one, paths), strict=True) if there]

    def listing(self, folder: Path) -> dict[Path, Entry]:
        """Every object below ``folder``."""
        return {self.root / entry.key: entry for entry in self.store.below(self._prefix(folder))}

    @contextmanager
    def looked(self, folder: Path, names: tuple[str, ...]) -> Iterator[None]:
        """Ask once what there is below ``folder``; within the block `fetch` goes by that."""
        listed = self.listing(folder)
        self.fetch_all({path: entry for path, entry in listed.items() if path.name in names})
        token = _LISTED.set((folder, listed))
        try:
            yield
        finally:
            _LISTED.reset(token)

    def folders(self, folder: Path) -> list[str]:
        """Names of the folders in ``folder``."""
        return self.store.children(self._prefix(folder))[0]

    def remove(self, path: Path) -> None:
        key = self.key(path)
        if key is not None:
            self.store.delete([key])
            if (listed := _listed(path)) is not None:
                listed.pop(path, None)

    def remove_tree(self, folder: Path) -> None:
        if self.key(folder) is not None:
            self.store.delete([entry.key for entry in self.store.below(self._prefix(folder))])

    def head(self, path: Path) -> Entry | None:
        """What there is in the store; None if there is nothing."""
        return self.store.head(self._prefix(path))

    def read(self, path: Path) -> tuple[bytes, Version] | None:
        """A small object and its version, for `write_if`; None if there is none."""
        try:
            content, entry = self.store.read(self._prefix(path))
        except FileNotFoundError:
            return None
        self._keep(path, content, entry.version)
        return content, entry.version

    def write_if(self, path: Path, content: bytes, before: Version | None) -> None:
        """Write an object if it still is the one that was read; raises `Changed` if it is not."""
        self._keep(path, content, self.store.put_if(self._prefix(path), content, before))

    def _keep(self, path: Path, content: bytes, version: Version) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
        temporary.write_bytes(content)
        self._note(path, temporary, version)
        os.replace(temporary, path)

    def _prefix(self, path: Path) -> str:
        inside = path.relative_to(self.root).as_posix()
        return "" if inside == "." else inside

    def _note(self, path: Path, written: Path, version: Version) -> None:
        """Keep which version the file ``written`` is; it is known again by its size and time."""
        found, note = written.stat(), self._note_path(path)
        if (listed := _listed(path)) is not None:
            listed[path] = Entry(self._prefix(path), found.st_size, datetime.now(UTC), version)
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_name(f".{note.name}.{uuid4().hex[:8]}")
        temporary.write_text(json.dumps([version.tag, version.number, found.st_size, found.st_mtime_ns]))
        os.replace(temporary, note)

    def _known(self, path: Path) -> Version | None:
        """Which version a file is a copy of, unless that is not known for certain."""
        try:
            tag, number, size, changed = json.loads(self._note_path(path).read_bytes())
            found = path.stat()
        except (OSError, ValueError):
            return None
        return Version(tag, number) if (found.st_size, found.st_mtime_ns) == (size, changed) else None

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """One process of this machine at a time, so that what all its workers need is downloaded once."""
        note = self._note_path(path)
        note.parent.mkdir(parents=True, exist_ok=True)
        with note.with_suffix(".lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _note_path(self, path: Path) -> Path:
        return self.root / NOTES / f"{path.relative_to(self.root).as_posix()}.json"


def _listed(path: Path) -> dict[Path, Entry] | None:
    """What this thread was told by `Mirror.looked` of the folder that ``path`` lies in."""
    found = _LISTED.get()
    return found[1] if found is not None and path.is_relative_to(found[0]) else None
