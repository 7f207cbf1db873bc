"""Where nsecast keeps things, and how a file appears there whole or not at all."""

import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from common.errors import ConfigError


def home(path: str | Path | None = None) -> Path:
    """The storage root: ``path``, else ``NSECAST_HOME``, else ``./nsecast-data``. Nothing is created.

    Raises
    ------
    ConfigError
        If it is a URL: releases are kept on a file system.
    """
    root = str(path or os.environ.get("NSECAST_HOME") or "nsecast-data")
    if re.match(r"[a-z0-9+.-]+:/", root):
        raise ConfigError(f"storage root: got {root}, need a folder. Mount the bucket, or use a local path.")
    return Path(root).absolute()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write to; on success it is fsynced and renamed to ``target``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
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


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold ``lock`` against other threads and processes; a killed holder lets go of it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def claim(lock: Path, what: str) -> Iterator[None]:
    """Hold ``lock`` or raise ConfigError at once, naming the process that has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise ConfigError(
                f"{what} is at work already, in process {holder}. Wait for it, or stop it."
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def write_bytes(target: Path, content: bytes) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path, value: Any) -> None:
    """Atomically write ``value`` as JSON; NaN is refused, so a reader in any language can parse it."""
    write_bytes(target, json.dumps(value, indent=1, allow_nan=False, sort_keys=True).encode() + b"\n")


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


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
