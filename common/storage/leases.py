"""Leases keep two machines from doing the same work: small objects that their holder renews.

Correctness does not depend on them: manifests and the production alias are written conditionally.
"""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from common.storage.errors import Changed, StorageError
from common.storage.object_store import ObjectStore, Version

log = logging.getLogger(__name__)

LASTS_S = 60.0
"""A lease that was not renewed for this long, by the store's clock, may be taken over."""
RENEW_S = 15.0
FREE = b"{}"
_RELEASED: set[str] = set()
"""Tokens of leases that this process has released, even if the store could not be reached."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease."""

    pid: int
    host: str
    since: str
    machine: str
    """Boot and process namespace, within which the process id shows whether the holder is alive."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_gone(self) -> bool:
        """Whether the process has certainly ended."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


class Lease:
    """A lease stored under ``key``; every method raises StorageError if the store cannot be reached."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key = store, key
        me = Holder(os.getpid(), socket.gethostname(), _now(), _machine())
        self._token = uuid4().hex
        self._mine = json.dumps({**vars(me), "token": self._token}).encode()
        self._version: Version | None = None

    def holder(self) -> Holder | None:
        """Return the current holder; None if the lease is free or has expired."""
        return self._read()[0]

    def take(self) -> Holder | None:
        """Take the lease if it is free; returns None if that worked, else the holder."""
        for _ in range(3):
            holder, before = self._read()
            if holder is not None:
                return holder
            with suppress(Changed):
                self._version = self._store.put_if(self._key, self._mine, before)
                return None
        holder, _ = self._read()
        return holder or Holder(0, "another machine", "just now", "")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease during the block, then release it."""
        done = threading.Event()
        thread = threading.Thread(target=self._renew, args=(done,), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            _RELEASED.add(self._token)
            thread.join()
            with suppress(StorageError):
                if self._version is not None:
                    self._store.put_if(self._key, FREE, self._version)

    def _renew(self, done: threading.Event) -> None:
        while not done.wait(RENEW_S):
            try:
                self._version = self._store.put_if(self._key, self._mine, self._version)
            except Changed:
                log.error(
                    "%s/%s: this process did not renew its lease in time, and another has taken over.",
                    *(self._store.url, self._key),
                )
                self._version = None
                return
            except StorageError as error:
                log.warning("lease not renewed, will retry: %s", error.message)

    def _read(self) -> tuple[Holder | None, Version | None]:
        """Return the holder, if any, and the version of the object."""
        try:
            content, entry = self._store.read(self._key)
        except FileNotFoundError:
            return None, None
        try:
            values = json.loads(content)
            token = values.pop("token")
            holder = Holder(**values)
        except (ValueError, TypeError, AttributeError, KeyError):  # free, or not a lease
            return None, entry.version
        if token in _RELEASED or holder.is_gone:
            return None, entry.version
        silent_s = (self._store.now() - entry.modified).total_seconds()
        return (None if silent_s > LASTS_S else holder), entry.version


def _machine() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
