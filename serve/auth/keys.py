"""API keys, stored as hashes in a JSON file.

A key is ``nse_<id>_<secret>`` with a secret of 256 random bits. Only its SHA-256 is stored: a slow hash such
as scrypt protects passwords that can be guessed, and would cost every request tens of milliseconds. Keys are
compared in constant time, and neither keys nor hashes are logged.
"""

import hashlib
import hmac
import json
import logging
import re
import secrets
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from common import storage
from common.errors import ConfigError, Forbidden, NotAuthenticated

log = logging.getLogger(__name__)
Scope = Literal["read", "admin"]
_KEY = re.compile(r"nse_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NO_HASH = "0" * 64
FOLLOW_S = 5.0
"""How often keys in an object store are checked for changes."""


@dataclass(frozen=True)
class Client:
    """The owner of a key, or an address without keys."""

    id: str
    """Not secret; for logs and rate limits."""
    name: str
    scopes: frozenset[Scope]


class KeyFile:
    """The keys of one server; changes apply to the next request, in an object store within seconds."""

    def __init__(self, path: Path) -> None:
        self.path = storage.locate(path)
        self._followed = False
        self._seen: tuple[int, int, int] | None = None
        self._entries: dict[str, dict[str, Any]] = {}

    def create(self, name: str, scopes: tuple[Scope, ...] = ("read",)) -> str:
        """Add a key and return it; it cannot be shown again.

        Raises
        ------
        ConfigError
            If a scope is unknown, the name is empty or long, or the file cannot be read.
        """
        if unknown := set(scopes) - set(get_args(Scope)):
            raise ConfigError(f"scope: unknown {', '.join(sorted(unknown))}. Known: read, admin.")
        if not scopes or not 0 < len(name) <= 64 or not name.isprintable():
            raise ConfigError(f"key: name {name!r:.80}: need 1 to 64 printable characters and a scope.")
        number, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = f"nse_{number}_{secret}"
        entry = {
            "id": number,
            "name": name,
            "scopes": sorted(set(scopes)),
            "sha256": _digest(key),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._lock():
            self._write({**self._read(), number: entry})
        return key

    def revoke(self, number: str) -> None:
        """Remove the key with this id; raises ConfigError if there is none."""
        with self._lock():
            entries = self._read()
            if number not in entries:
                raise ConfigError(f"key {number:.40}: not in {self.path}, which has {', '.join(entries)}.")
            del entries[number]
            self._write(entries)

    def clients(self) -> list[Client]:
        """List the owners of all keys; raises ConfigError if the file cannot be read."""
        return [_client(entry) for entry in self._read().values()]

    def check(self, key: str | None, scope: Scope = "read") -> Client:
        """Return the owner of a key; takes microseconds.

        Raises
        ------
        NotAuthenticated
            If there is no key, or it is not in the file.
        Forbidden
            If it does not have the scope; ``admin`` includes ``read``.
        """
        if not key:
            raise NotAuthenticated("no API key. Send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        parts = _KEY.fullmatch(key) if len(key) < 100 else None
        entry = self._current().get(parts[1]) if parts else None
        same = hmac.compare_digest(_digest(key), entry["sha256"] if entry else _NO_HASH)
        if entry is None or not same:
            raise NotAuthenticated("the API key is not known. Check that it is complete, or get a new one.")
        client = _client(entry)
        if scope not in client.scopes and "admin" not in client.scopes:
            raise Forbidden(f"key {client.id}: has {', '.join(sorted(client.scopes))}, need {scope}.")
        return client

    def follow(self) -> None:
        """Download keys from an object store now, and then regularly in a thread.

        The first call waits for the store; a server calls this before it accepts requests.
        """
        if not self._followed:
            self._followed = True
            if storage.mirror_of(self.path) is not None:
                self._download()
                threading.Thread(target=self._follow, name="keys", daemon=True).start()

    def _current(self) -> dict[str, dict[str, Any]]:
        """Return the entries, read again if the file has changed; a damaged file keeps the previous ones."""
        self.follow()
        try:
            stat = self.path.stat()
            stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
        except OSError:
            stamp = None
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._entries = self._read_local() if stamp else {}
            except ConfigError as error:
                log.error("keys not read, the previous ones stay valid: %s", error.message)
        return self._entries

    def _follow(self) -> None:
        while True:
            time.sleep(FOLLOW_S)
            self._download()

    def _download(self) -> None:
        """Update the local copy; while the store cannot be reached, the previous keys stay valid."""
        try:
            storage.up_to_date(self.path)
        except FileNotFoundError:
            self.path.unlink(missing_ok=True)
        except storage.StorageError as error:
            log.warning("keys not downloaded, the previous ones stay valid: %s", error.message)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            storage.up_to_date(self.path)
        except FileNotFoundError:
            return {}
        return self._read_local()

    def _read_local(self) -> dict[str, dict[str, Any]]:
        try:
            entries = json.loads(self.path.read_bytes())["keys"]
            for entry in entries:
                _client(entry)
                if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]):
                    raise ValueError("a hash is not SHA-256")
            return {entry["id"]: entry for entry in entries}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{self.path}: not a file of API keys ({type(error).__name__}). Restore it, or move it away."
            ) from None

    def _lock(self) -> AbstractContextManager[None]:
        return storage.exclusive(self.path.with_name(f".{self.path.name}.lock"))

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        storage.write_json(self.path, {"keys": list(entries.values())})
        self.path.chmod(0o600)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def _client(entry: dict[str, Any]) -> Client:
    return Client(str(entry["id"]), str(entry["name"]), frozenset(entry["scopes"]))
