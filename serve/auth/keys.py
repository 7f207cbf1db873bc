"""API keys, kept as hashes in a JSON file.

A key is ``nse_<id>_<secret>`` with 256 random bits of secret. Only its SHA-256 is kept: a slow hash such as
scrypt defends passwords that can be guessed, and 256 random bits cannot, while it would cost every request
tens of milliseconds. Keys are compared in constant time, and neither keys nor hashes are logged.
"""

import hashlib
import hmac
import json
import logging
import re
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from common import storage
from common.errors import ConfigError, Forbidden, NotAuthenticated

log = logging.getLogger(__name__)
Scope = Literal["read", "admin"]
_KEY = re.compile(r"nse_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = "0" * 64
FOLLOW_S = 5.0
"""How often keys in an object store are looked at."""


@dataclass(frozen=True)
class Client:
    """Whose key it was."""

    id: str
    """Not secret: for logs and rate limits."""
    name: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raises Forbidden if the key does not have that scope; ``admin`` may read as well."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden(f"key {self.id}: has {', '.join(sorted(self.scopes))}, need {scope}.")


class KeyFile:
    """The keys of one server; a change is seen by the next request, in an object store within seconds."""

    def __init__(self, path: Path) -> None:
        self.path = storage.locate(path)
        self._followed = False
        self._seen: tuple[int, int, int] | None = None
        self._entries: dict[str, dict[str, Any]] = {}

    def create(self, name: str, scopes: tuple[Scope, ...] = ("read",)) -> str:
        """Add a key and return it: the only time that it can be seen.

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
        with storage.exclusive(self.path.with_name(f".{self.path.name}.lock")):
            self._write({**self._read(), number: entry})
        return key

    def revoke(self, number: str) -> None:
        """Remove the key with that id; raises ConfigError if there is none."""
        with storage.exclusive(self.path.with_name(f".{self.path.name}.lock")):
            entries = self._read()
            if number not in entries:
                raise ConfigError(f"key {number:.40}: not in {self.path}, which has {', '.join(entries)}.")
            self._write({key: entry for key, entry in entries.items() if key != number})

    def clients(self) -> list[Client]:
        """Everyone who has a key; raises ConfigError if the file cannot be read."""
        return [_client(entry) for entry in self._read().values()]

    def check(self, key: str | None, scope: Scope = "read") -> Client:
        """Whose key it is; takes microseconds.

        Raises
        ------
        NotAuthenticated
            If there is no key, or it is not one of the file's.
        Forbidden
            If it does not have that scope.
        """
        if not key:
            raise NotAuthenticated("no API key. Send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        parts = _KEY.fullmatch(key) if len(key) < 100 else None
        entry = self._current().get(parts[1]) if parts else None
        same = hmac.compare_digest(_digest(key), entry["sha256"] if entry else _NOBODY)
        if entry is None or not same:
            raise NotAuthenticated("the API key is not known. Check that it is whole, or ask for a new one.")
        client = _client(entry)
        client.require(scope)
        return client

    def follow(self) -> None:
        """Download keys that are in an object store now, and from now on in a thread.

        The first call takes as long as the store takes; a server makes it before requests come.
        """
        if not self._followed:
            self._followed = True
            if storage.mirror_of(self.path) is not None:
                self._bring()
                threading.Thread(target=self._follow, name="keys", daemon=True).start()

    def _current(self) -> dict[str, dict[str, Any]]:
        """The entries, read again if the file changed; while it cannot be understood, as they were."""
        self.follow()
        try:
            found = self.path.stat()
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
        except OSError:
            stamp = None
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._entries = self._read_here() if stamp else {}
            except ConfigError as error:
                log.error("keys not read, the earlier ones stay: %s", error.message)
        return self._entries

    def _follow(self) -> None:
        while True:
            time.sleep(FOLLOW_S)
            self._bring()

    def _bring(self) -> None:
        """Make the copy here the store's; while that cannot be asked, the earlier keys stay."""
        try:
            storage.current(self.path)
        except FileNotFoundError:
            self.path.unlink(missing_ok=True)
        except storage.StorageError as error:
            log.warning("keys not looked at, the earlier ones stay: %s", error.message)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            storage.current(self.path)
        except FileNotFoundError:
            return {}
        return self._read_here()

    def _read_here(self) -> dict[str, dict[str, Any]]:
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

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        storage.write_json(self.path, {"keys": list(entries.values())})
        self.path.chmod(0o600)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def _client(entry: dict[str, Any]) -> Client:
    return Client(str(entry["id"]), str(entry["name"]), frozenset(entry["scopes"]))
