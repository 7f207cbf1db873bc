"""Write, read and delete files atomically, in a mirror's object store first."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from common.storage.local import temporary_sibling
from common.storage.root import mirror_of


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write to, which on success is synced and renamed to ``target``.

    In a mirror it is uploaded first, so that every local file is also in the store.
    """
    with temporary_sibling(target) as temporary:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        if (mirror := mirror_of(target)) is not None:
            mirror.push(temporary, target)
        os.replace(temporary, target)
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Sync renames inside ``folder`` to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Sync the content of ``path`` to disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_bytes(target: Path, content: bytes) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def json_bytes(value: Any) -> bytes:
    """Encode ``value`` as JSON; ValueError for NaN, which other languages cannot parse."""
    return json.dumps(value, indent=1, allow_nan=False, sort_keys=True).encode() + b"\n"


def write_json(target: Path, value: Any) -> None:
    """Atomically write ``value`` as `json_bytes`."""
    write_bytes(target, json_bytes(value))


def finite(value: Any) -> Any:
    """Return ``value`` with plain containers, and None in place of NaN and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_with(target: Path, writer: Callable[[Path], Any]) -> None:
    """Atomically write a file with a function that takes a path, such as ``frame.to_parquet``."""
    with atomic_path(target) as temporary:
        writer(temporary)


def up_to_date(path: Path) -> Path:
    """Return ``path``, in a mirror after bringing the file up to date.

    Raises
    ------
    FileNotFoundError
        In a mirror, if the store has no such file. In a plain folder it is raised on reading.
    StorageError
        If the store cannot be reached.
    """
    if (mirror := mirror_of(path)) is not None:
        mirror.fetch(path)
    return path


def exists(path: Path) -> bool:
    """Return whether a file exists, in a mirror: in the store."""
    try:
        return up_to_date(path).exists()
    except FileNotFoundError:
        return False


def fetch_matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files below ``folder`` that match ``pattern``, sorted, in a mirror up to date.

    ``pattern`` is a path whose parts may have wildcards, or ``**/`` and one part.
    """
    mirror = mirror_of(folder)
    if mirror is None:
        return sorted(folder.glob(pattern))
    return mirror.fetch_all(mirror.names(folder, pattern))


def matching_names(folder: Path, pattern: str) -> list[Path]:
    """Return paths as `fetch_matching` does, without a download; a plain last part may not exist."""
    mirror = mirror_of(folder)
    return sorted(folder.glob(pattern) if mirror is None else mirror.names(folder, pattern))


def listed_once(folder: Path, *named: str) -> Any:
    """Return a context where `up_to_date` uses one listing of ``folder``; downloads files ``named``."""
    mirror = mirror_of(folder)
    return nullcontext() if mirror is None else mirror.looked(folder, named)


def upload(path: Path) -> None:
    """In a mirror, upload a file or all files of a folder that were not written by this module."""
    mirror = mirror_of(path)
    if mirror is not None:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            mirror.push(file, file)


def remove(path: Path) -> None:
    """Delete a file if it exists."""
    if (mirror := mirror_of(path)) is not None:
        mirror.remove(path)
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder and its content if it exists."""
    if (mirror := mirror_of(folder)) is not None:
        mirror.remove_tree(folder)
    if folder.exists():
        shutil.rmtree(folder)


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
