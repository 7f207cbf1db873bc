"""The production alias: which release is in production, with the history of every move."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import storage
from common.errors import BundleError, GateClosed
from common.release.manifest import damaged, is_id

log = logging.getLogger(__name__)

TRIES = 5
"""Attempts at a move before giving up, because other processes move the alias in between."""
History = list[dict[str, Any]]
Move = tuple[str, str, dict[str, Any]]
"""Action, release id and evidence."""


@dataclass(frozen=True)
class Alias:
    """A small file that is replaced atomically, in an object store only if it has not changed since read."""

    path: Path

    def history(self, *, offline_ok: bool = False) -> History:
        """Return every move, oldest first: ``release``, ``action``, ``at`` (UTC) and any evidence.

        Parameters
        ----------
        offline_ok : use the last known history while the object store cannot be reached

        Raises
        ------
        BundleError
            If the file is invalid.
        StorageError
            If the object store cannot be reached.
        """
        try:
            storage.up_to_date(self.path)
        except FileNotFoundError:
            return []
        except storage.StorageError as error:
            if not offline_ok or not self.path.exists():
                raise
            log.warning("the last known production release is used: %s", error.message)
        try:
            return self._parse(self.path.read_bytes())
        except FileNotFoundError:
            return []

    def stamp(self) -> Any:
        """Return a value that changes with every move, None before the first; one ``stat`` or request."""
        mirror = storage.mirror_of(self.path)
        if mirror is not None:
            entry = mirror.head(self.path)
            return None if entry is None else entry.version
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def change(self, decide: Callable[[History], Move | None]) -> None:
        """Decide on a move and make it, with no other move in between.

        Parameters
        ----------
        decide : returns a move or None for the history; called again if another process was faster

        Raises
        ------
        BundleError
            If the evidence is not plain JSON, or the alias file is invalid.
        GateClosed
            If other processes were faster `TRIES` times.
        """
        mirror = storage.mirror_of(self.path)
        if mirror is None:
            with storage.exclusive(self.path.with_name(".lock")):
                history = self.history()
                if (move := decide(history)) is not None:
                    storage.write_bytes(self.path, _content(history, *move))
            return
        for _ in range(TRIES):
            current = mirror.read(self.path)
            history = [] if current is None else self._parse(current[0])
            if (move := decide(history)) is None:
                return
            try:
                mirror.write_if(self.path, _content(history, *move), current and current[1])
                return
            except storage.Changed:
                continue
        where = storage.display_path(self.path)
        raise GateClosed(f"{where}: others moved production meanwhile, {TRIES} times. Try again.")

    def _parse(self, content: bytes) -> History:
        try:
            alias = json.loads(content)
            stack = stack_of(alias["history"])
            if alias["production"] != stack[-1] or not all(map(is_id, stack)):
                raise ValueError("the production id does not follow from the history")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(
                f"{storage.display_path(self.path)}: got an invalid alias file "
                f"({type(error).__name__}: {error}), "
                "need it unaltered. Delete it, then choose a release with `nsecast models promote ID`.",
                file=str(self.path),
            ) from None
        history: History = alias["history"]
        return history


def _content(history: History, action: str, release_id: str, evidence: dict[str, Any]) -> bytes:
    entry = {"release": release_id, "action": action, "at": datetime.now(UTC).isoformat()}
    alias = {"production": release_id, "history": [*history, evidence | entry]}
    try:
        return storage.json_bytes(alias)
    except (TypeError, ValueError) as error:
        raise damaged(release_id, "evidence", got=str(error), need="plain JSON values") from None


def stack_of(history: History) -> list[str]:
    """Replay the moves: a promotion pushes a release onto the stack, a rollback pops one."""
    stack: list[str] = []
    for move in history:
        if move["action"] == "rollback":
            stack.pop()
        else:
            stack.append(move["release"])
    return stack


def rolled_back(history: History) -> set[str]:
    """Return the releases that were in production and left it by a rollback."""
    return {move["release"] for move in history} - set(stack_of(history))
