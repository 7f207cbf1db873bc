"""File primitives on this machine: temporary siblings and file locks."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, whose folder is created, and delete it afterwards.

    Errors of writing name ``path``; numpy's of a full disk have neither a path nor a number.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
    except OSError as error:
        if type(error) is not OSError or error.filename is not None:
            raise
        reason = error.strerror or f"{os.strerror(errno.ENOSPC)}: {error}"
        raise OSError(error.errno or errno.ENOSPC, reason, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive_here(lock: Path) -> Iterator[None]:
    """Hold ``lock`` against other threads and processes of this machine."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
