"""The production alias: which release is in production, and every move before it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import storage
from common.errors import BundleError
from common.model.release import damaged


@dataclass(frozen=True)
class Alias:
    """One small file, replaced atomically."""

    path: Path
    is_id: Callable[[Any], bool]
    """What may be in it."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other threads and processes from moving it meanwhile."""
        with storage.exclusive(self.path.with_name(".lock")):
            yield

    def history(self) -> list[dict[str, Any]]:
        """Every move, oldest first: ``release``, ``action``, ``at`` (UTC) and the evidence for it, if any.

        Raises
        ------
        BundleError
            If the file is not what `move` wrote.
        """
        try:
            alias = json.loads(self.path.read_bytes())
            stack = stack_of(alias["history"])
            if alias["production"] != stack[-1] or not all(map(self.is_id, stack)):
                raise ValueError("the production id does not follow from the history")
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(
                f"{self.path}: got an invalid alias file ({type(error).__name__}: {error}), need it as "
                "written. Delete it, then choose a release with `nsecast models promote ID`.",
                file=str(self.path),
            ) from None
        return alias["history"]

    def move(
        self, history: list[dict[str, Any]], action: str, release_id: str, evidence: dict[str, Any]
    ) -> None:
        """Add a move to ``history`` and write both; BundleError if the evidence is not plain JSON.

        To be called while `held`, with the history read meanwhile.
        """
        entry = {"release": release_id, "action": action, "at": datetime.now(UTC).isoformat()}
        alias = {"production": release_id, "history": [*history, evidence | entry]}
        try:
            storage.write_json(self.path, alias)
        except (TypeError, ValueError) as error:
            raise damaged(release_id, "evidence", got=str(error), need="plain JSON values") from None


def stack_of(history: list[dict[str, Any]]) -> list[str]:
    """Replay the moves: a promotion covers what was there, a rollback uncovers it."""
    stack: list[str] = []
    for move in history:
        if move["action"] == "rollback":
            stack.pop()
        else:
            stack.append(move["release"])
    return stack
