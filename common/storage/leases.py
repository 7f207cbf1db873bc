"""Who is at work, across machines: a lease is a small object that its holder renews.

A lease keeps two from doing the same work. What must never go wrong does not rest on it: manifests and the
production alias are written conditionally.
"""

import json
import logging
import os
import socket
import threading
import time
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
"""A lease that was not renewed for so long, by the store's clock, may be taken over."""
RENEW_S = 15.0
FREE = b"{}"
_LET_GO: set[str] = set()
"""Tokens of leases that this process held and is done with, whether the store heard of it or not."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

    pid: int
    host: str
    since: str
    machine: str
    """Boot and process namespace: within one, a process id says whether the holder lives."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_gone(self) -> bool:
        """Whether it is certain that the process has ended."""
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
    """A lease under ``key``; every method raises StorageError if the store cannot be asked."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key = store, key
        me = Holder(os.getpid(), socket.gethostname(), _now(), _machine())
        self._token = uuid4().hex
        self._mine = json.dumps({**vars(me), "token": self._token}).encode()
        self._version: Version | None = None

    def holder(self) -> Holder | None:
        """Who holds it now; None if it is free or has run out."""
        return self._look()[0]

    def take(self) -> Holder | None:
        """Take it if nobody holds it; returns who does, or None if it is ours now."""
        for _ in range(3):
            holder, before = self._look()
            if holder is not None:
                return holder
            with suppress(Changed):
                self._version = self._store.put_if(self._key, self._mine, before)
                return None
        holder, _ = self._look()
        return holder or Holder(0, "another machine", "just now", "")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew it while the block works, then let go of it."""
        over = threading.Event()
        thread = threading.Thread(target=self._renew, args=(over,), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            _LET_GO.add(self._token)
            thread.join()
            with suppress(StorageError):
                if self._version is not None:
                    self._store.put_if(self._key, FREE, self._version)

    def _renew(self, over: threading.Event) -> None:
        while not over.wait(RENEW_S):
            try:
                self._version = self._store.put_if(self._key, self._mine, self._version)
            except Changed:
                log.error(
                    "%s/%s: this process was silent for too long, and another has taken over.",
                    *(self._store.url, self._key),
                )
                self._version = None
                return
            except StorageError as error:
                log.warning("lease not renewed, tried again: %s", error.message)

    def _look(self) -> tuple[Holder | None, Version | None]:
        try:
            content, entry = self._store.read(self._key)
        except FileNotFoundError:
            return None, None
        try:
            said = json.loads(content)
            token = said.pop("token")
            holder = Holder(**said)
        except (ValueError, TypeError, AttributeError, KeyError):  # free, or nothing that we wrote
            return None, entry.version
        if token in _LET_GO or holder.is_gone:
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


def wait_for(lease: Lease, *, every_s: float = 1.0) -> None:
    """Take a lease, however long that takes."""
    while lease.take() is not None:
        time.sleep(every_s)
