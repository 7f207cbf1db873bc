"""How a file appears whole or not at all: here, and below a mirror in its store first."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

from common.storage.root import mirror_of


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write to; on success it is fsynced and renamed to ``target``.

    Below a mirror it is uploaded first, so that nothing is here that is not there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        if (mirror := mirror_of(target)) is not None:
            mirror.push(temporary, target)
        os.replace(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of ``path`` survive a power cut."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_bytes(target: Path, content: bytes) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def json_bytes(value: Any) -> bytes:
    """``value`` as JSON; NaN is refused, so a reader in any language can parse it."""
    return json.dumps(value, indent=1, allow_nan=False, sort_keys=True).encode() + b"\n"


def write_json(target: Path, value: Any) -> None:
    """Atomically write ``value`` as `json_bytes`."""
    write_bytes(target, json_bytes(value))


def finite(value: Any) -> Any:
    """``value`` with plain containers and None for NaN and infinity, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_with(target: Path, writer: Callable[[Path], Any]) -> None:
    """Atomically write with a function that takes a path, such as ``frame.to_parquet``."""
    with atomic_path(target) as temporary:
        writer(temporary)


def current(path: Path) -> Path:
    """``path``, below a mirror with the file as the store has it now.

    Raises
    ------
    FileNotFoundError
        Below a mirror, if the store has no such file. In a plain folder reading it says so.
    StorageError
        If the store cannot be asked.
    """
    if (mirror := mirror_of(path)) is not None:
        mirror.fetch(path)
    return path


def exists(path: Path) -> bool:
    """Whether there is such a file; below a mirror, in the store."""
    try:
        return current(path).exists()
    except FileNotFoundError:
        return False


def found(folder: Path, pattern: str) -> list[Path]:
    """Files below ``folder`` that fit ``pattern``, sorted; below a mirror each as the store has it now.

    ``pattern`` is a path whose parts may have wildcards, or ``**/`` and one part.
    """
    mirror = mirror_of(folder)
    if mirror is None:
        return sorted(folder.glob(pattern))
    return mirror.fetch_all(mirror.names(folder, pattern))


def names(folder: Path, pattern: str) -> list[Path]:
    """As `found`, but nothing is brought: where the last part has no wildcard, it may not be there."""
    mirror = mirror_of(folder)
    return sorted(folder.glob(pattern) if mirror is None else mirror.names(folder, pattern))


def looked(folder: Path, *named: str) -> Any:
    """A block in which `current` asks no more about ``folder``; files in it that are ``named`` are here."""
    mirror = mirror_of(folder)
    return nullcontext() if mirror is None else mirror.looked(folder, named)


def push(path: Path) -> None:
    """Below a mirror, upload what others than this module wrote: a file, or all files of a folder."""
    mirror = mirror_of(path)
    if mirror is not None:
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for each in files:
            mirror.push(each, each)


def remove(path: Path) -> None:
    """Delete a file, if there is one."""
    if (mirror := mirror_of(path)) is not None:
        mirror.remove(path)
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder and all in it, if there is one."""
    if (mirror := mirror_of(folder)) is not None:
        mirror.remove_tree(folder)
    if folder.exists():
        shutil.rmtree(folder)


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
