"""The registry of immutable releases and the production alias.

::

    <root>/releases/<id>/...                  published files and manifest.json, never changed again
    <root>/releases/.staging-<id>-<random>/   a release being written, hidden from readers
    <root>/releases/aliases/production.json   the release in production and every move before it

A release is published by one rename of its staging folder, manifest included, so a crash leaves all of it or
none of it. In an object store the manifest is written last, and these folders hold copies
(`common.release.remote_copies`). The registry refuses damaged releases; whether a release is good enough for
production is decided by the caller (`train.gate.promotion`), who records the evidence in the history.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import storage
from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.release.alias import Alias, History, Move, stack_of
from common.release.manifest import (
    Release,
    ReleaseInfo,
    inspect,
    is_id,
    read_manifest,
    require_id,
    require_same,
    write_manifest,
)
from common.release.remote_copies import RemoteCopies
from common.release.staging import discard, remove_leftovers, require_staging, staging_path

__all__ = ["ANYTHING", "Registry", "ReleaseInfo"]

ANYTHING = "*"
"""Not a release id; see `Registry.promote`."""


class Registry:
    """The releases below one storage root. Nothing is created until a release is staged.

    Parameters
    ----------
    offline_ok : use the last known state while the object store cannot be reached; for servers
    """

    def __init__(self, root: Path, *, offline_ok: bool = False) -> None:
        self.folder, self._offline_ok = Path(root).absolute() / "releases", offline_ok
        self._alias = Alias(self.folder / "aliases" / "production.json")
        mirror = storage.mirror_of(self.folder)
        self._copies = None if mirror is None else RemoteCopies(self.folder, mirror, offline_ok)

    def stage(self, release_id: str) -> Path:
        """Create an empty folder to write ``release_id`` into; ConfigError if the id is not a plain name."""
        require_id(release_id)
        staging = staging_path(self.folder, release_id)
        staging.mkdir(parents=True)
        return staging

    def publish(self, staging: Path, release_id: str, *, info: dict[str, Any]) -> Release:
        """Turn a staging folder into a release, without changing what is in production.

        Parameters
        ----------
        staging : a folder from `stage`; it is gone afterwards, unless an error is raised
        info : JSON values that describe the release, see `Release.info`

        Returns
        -------
        Release
            The published release; the existing one if it has the same files and info.

        Raises
        ------
        BundleError
            If the folder is empty or contains a link or a special file, ``info`` is not JSON, or
            ``release_id`` is already published with other content.
        StorageError
            If the object store fails before the manifest is written. Then nothing is published.
        """
        require_id(release_id)
        final, staging = self.folder / release_id, Path(staging).absolute()
        require_staging(staging, self.folder)
        release = write_manifest(staging, release_id, info)
        if self._copies is not None:
            self._copies.publish(staging, release)
        try:
            os.rename(staging, final)
        except OSError:
            if not os.path.lexists(final):
                raise
            require_same(release, self.verify(release_id))
            shutil.rmtree(staging, ignore_errors=True)
        storage.sync_folder(self.folder)
        return read_manifest(final)

    def clean(self, *, older_than_s: float = 86_400) -> list[Path]:
        """Delete and return the staging folders that have not changed for ``older_than_s``."""
        if self._copies is not None:
            self._copies.clean(older_than_s=older_than_s)
        return remove_leftovers(self.folder, older_than_s=older_than_s)

    def promote(
        self, reference: str, *, evidence: dict[str, Any] | None = None, instead_of: str | None = ANYTHING
    ) -> Release:
        """Verify a release and put it in production; does nothing if it is already there.

        Parameters
        ----------
        evidence : JSON values that explain the move; stored with it in `history`
        instead_of : the release that must be in production before the move (None: no release); default: any

        Raises
        ------
        ReleaseNotFound
            If there is no such release.
        BundleError
            If it is damaged, or the evidence is not plain JSON. Production does not change.
        GateClosed
            If a release other than ``instead_of`` is in production.
        """
        release = self.verify(reference)

        def move(history: History) -> Move | None:
            current = next(reversed(stack_of(history)), None)
            if instead_of not in (ANYTHING, current):
                raise GateClosed(
                    f"release {release.id} was judged against {instead_of or 'nothing'}, but {current} has "
                    "gone to production meanwhile. Try again.",
                    release=release.id,
                )
            return None if current == release.id else ("promote", release.id, evidence or {})

        self._alias.change(move)
        return release

    def rollback(self) -> Release:
        """Verify the previous release and put it back in production; repeat to go back further.

        The release in production is not read, so rolling back works when that one is damaged.

        Raises
        ------
        ReleaseNotFound
            If there is no previous release, or it was deleted.
        BundleError
            If the previous release is damaged. Production does not change.
        """
        if self.production() is None:
            self.resolve("production")  # raises and names the releases
        previous: list[Release] = []

        def move(history: History) -> Move:
            stack = stack_of(history)
            if len(stack) < 2:
                raise ReleaseNotFound(
                    f"nothing was in production before {stack[-1]}. Choose a release with "
                    "`nsecast models promote ID`.",
                    release=stack[-1],
                )
            previous.append(self.verify(stack[-2]))
            return "rollback", stack[-2], {}

        self._alias.change(move)
        return previous[-1]

    def production(self) -> str | None:
        """Return the id of the release in production, or None if none was promoted yet."""
        return next(reversed(stack_of(self.history())), None)

    def history(self) -> History:
        """Return every move of the production alias, see `Alias.history`."""
        return self._alias.history(offline_ok=self._offline_ok)

    def stamp(self) -> Any:
        """Return a value that changes with every move of production, see `Alias.stamp`."""
        return self._alias.stamp()

    def resolve(self, reference: str) -> Release:
        """Find ``"production"``, ``"latest"`` or a release id and read its manifest, without hashing files.

        A release in an object store is downloaded, unless there is a local copy.

        Raises
        ------
        ReleaseNotFound
            If there is no such release; names the existing ones.
        BundleError
            If its manifest is missing or invalid.
        """
        release_id: str | None = reference
        if reference == "production":
            release_id = self.production()
        elif reference == "latest":
            release_id = next((release.id for release in self.releases() if release.state == "ok"), None)
        if not is_id(release_id) or not self._exists(release_id):
            known = [release.id for release in self.releases()]
            existing = f"there are {', '.join(known)}" if known else "none is published yet"
            promote = "Choose one with `nsecast models promote ID`, or train" if known else "Train"
            name = reference if release_id in (None, reference) else f"{reference} ({release_id})"
            raise ReleaseNotFound(
                f"release {name}: not in {storage.display_path(self.folder)}; {existing}. {promote} one with "
                "`nsecast train`, or set another storage root with --home or NSECAST_HOME.",
                release=reference,
                known=known,
            )
        return read_manifest(self.folder / release_id)

    def verify(self, reference: str) -> Release:
        """Hash every file of a release; BundleError names one that is missing, extra or altered.

        In an object store, names and sizes are compared, and the local copy is hashed.
        """
        release = self.open(reference)
        if self._copies is not None:
            self._copies.compare(release)
        return release

    def open(self, reference: str) -> Release:
        """Return a release to read from; BundleError if any file differs from what was published."""
        release = self.resolve(reference)
        try:
            release.check()
        except BundleError:
            if self._copies is None:
                raise
            discard(release.path)  # only the copy may be damaged: download it again
            release = self.resolve(release.id)
            release.check()
        return release

    def releases(self) -> list[ReleaseInfo]:
        """List every release, newest first; those without a readable manifest come last."""
        if self._copies is not None:
            releases = self._copies.infos()
        else:
            entries = self.folder.iterdir() if self.folder.is_dir() else []
            releases = [inspect(entry) for entry in entries if is_id(entry.name)]
        never = datetime.min.replace(tzinfo=UTC)
        return sorted(releases, key=lambda release: (release.created or never, release.id), reverse=True)

    def _exists(self, release_id: str) -> bool:
        if self._copies is not None:
            return self._copies.fetch(release_id)
        return os.path.lexists(self.folder / release_id)
