"""The production alias: which release is in production, and every move before it."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import storage
from common.errors import BundleError, GateClosed
from common.release.manifest import damaged

log = logging.getLogger(__name__)

TRIES = 5
"""Moves of others between reading and writing, one after the other, before a move is given up."""
History = list[dict[str, Any]]
Move = tuple[str, str, dict[str, Any]]
"""What was done, with which release, and why."""


@dataclass(frozen=True)
class Alias:
    """One small file, replaced atomically; in an object store only if it is still the one that was read."""

    path: Path
    is_id: Callable[[Any], bool]
    """What may be in it."""

    def history(self, *, offline_ok: bool = False) -> History:
        """Every move, oldest first: ``release``, ``action``, ``at`` (UTC) and the evidence for it, if any.

        Parameters
        ----------
        offline_ok : while the object store cannot be asked, what it said last will do

        Raises
        ------
        BundleError
            If the file is not what `change` wrote.
        StorageError
            If the object store cannot be asked.
        """
        try:
            storage.current(self.path)
        except FileNotFoundError:
            return []
        except storage.StorageError as error:
            if not offline_ok or not self.path.exists():
                raise
            log.warning("what was last known to be in production is used: %s", error.message)
        try:
            return self._parse(self.path.read_bytes())
        except FileNotFoundError:
            return []

    def stamp(self) -> Any:
        """Another after every move, None before the first; costs one ``stat``, or one request of a store."""
        mirror = storage.mirror_of(self.path)
        if mirror is not None:
            entry = mirror.head(self.path)
            return None if entry is None else entry.version
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def change(self, decide: Callable[[History], Move | None]) -> None:
        """Add a move to the history, or none; nobody else moves between what is decided on and the move.

        Parameters
        ----------
        decide : told the history, says what to do; it is asked again where another was faster

        Raises
        ------
        BundleError
            If the evidence is not plain JSON, or as `history`.
        GateClosed
            If others were faster again and again.
        """
        mirror = storage.mirror_of(self.path)
        if mirror is None:
            with storage.exclusive(self.path.with_name(".lock")):
                history = self.history()
                if (move := decide(history)) is not None:
                    storage.write_bytes(self.path, _content(history, *move))
            return
        for _ in range(TRIES):
            found = mirror.read(self.path)
            history = [] if found is None else self._parse(found[0])
            if (move := decide(history)) is None:
                return
            try:
                mirror.write_if(self.path, _content(history, *move), found and found[1])
                return
            except storage.Changed:
                continue
        where = storage.shown(self.path)
        raise GateClosed(f"{where}: others moved production meanwhile, {TRIES} times. Try again.")

    def _parse(self, content: bytes) -> History:
        try:
            alias = json.loads(content)
            stack = stack_of(alias["history"])
            if alias["production"] != stack[-1] or not all(map(self.is_id, stack)):
                raise ValueError("the production id does not follow from the history")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(
                f"{storage.shown(self.path)}: got an invalid alias file ({type(error).__name__}: {error}), "
                "need it as written. Delete it, then choose a release with `nsecast models promote ID`.",
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
    """Replay the moves: a promotion covers what was there, a rollback uncovers it."""
    stack: list[str] = []
    for move in history:
        if move["action"] == "rollback":
            stack.pop()
        else:
            stack.append(move["release"])
    return stack


def anchor_of(history: History) -> str | None:
    """The best release that has been in production, as the newest move that names one has it (``anchor``).

    A rollback names none, so it changes nothing here; nor does a forced promotion. None: no move names one.
    """
    named = (move.get("anchor") for move in reversed(history))
    return next((anchor for anchor in named if anchor), None)
