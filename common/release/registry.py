"""The registry: whole, immutable releases and the production alias.

::

    <root>/releases/<id>/...                  published files and manifest.json, never changed again
    <root>/releases/.staging-<id>-<random>/   a release being written, which readers do not see
    <root>/releases/aliases/production.json   the release in production and every move before it

A release appears by one rename of its staging folder, with the manifest already inside: a crash at
any point leaves all of it or none of it. In an object store the manifest is written last, and these folders
hold copies (`common.release.remote_copies`). Publishing and going to production are two steps: the registry
refuses what is damaged, and whether a release is good enough is for the caller to judge
(`train.gate.promotion`), who leaves the evidence in the alias' history.
"""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import storage
from common.errors import BundleError, ConfigError, GateClosed, ReleaseNotFound
from common.release.alias import Alias, History, Move, stack_of
from common.release.manifest import (
    RESERVED,
    STAGING,
    Release,
    ReleaseInfo,
    damaged,
    inspect,
    is_id,
    read_manifest,
    write_manifest,
)
from common.release.remote_copies import RemoteCopies

__all__ = ["ANYTHING", "Registry", "ReleaseInfo"]

ANYTHING = "*"
"""No release id: see `Registry.promote`."""


class Registry:
    """The releases below one storage root; nothing is created until something is staged.

    Parameters
    ----------
    offline_ok : while the object store of the root cannot be asked, what was last seen will do; for servers
    """

    def __init__(self, root: Path, *, offline_ok: bool = False) -> None:
        self.folder, self._offline_ok = Path(root).absolute() / "releases", offline_ok
        self._alias = Alias(self.folder / "aliases" / "production.json", is_id)
        mirror = storage.mirror_of(self.folder)
        self._copies = None if mirror is None else RemoteCopies(self.folder, mirror, offline_ok)

    def stage(self, release_id: str) -> Path:
        """Make a private, empty folder to write ``release_id`` into; ConfigError if it is no plain name."""
        _require_id(release_id)
        staging = self.folder / f"{STAGING}{release_id}-{os.urandom(6).hex()}"
        staging.mkdir(parents=True)
        return staging

    def publish(self, staging: Path, release_id: str, *, info: dict[str, Any]) -> Release:
        """Turn a staging folder into a release; what is in production stays there.

        Parameters
        ----------
        staging : Path
            A folder from `stage`; gone afterwards, unless an error is raised.
        info : dict
            JSON values that describe the release (see `Release.info`).

        Returns
        -------
        Release
            The published release; the existing one if it has the same files and info.

        Raises
        ------
        BundleError
            If the folder is empty or holds a link or a special file, if ``info`` is not JSON, or if
            ``release_id`` is already published with other content.
        StorageError
            If the object store fails before the manifest is there: nothing is published.
        """
        _require_id(release_id)
        final, staging = self.folder / release_id, Path(staging).absolute()
        ours = staging.parent == self.folder and staging.name.startswith(STAGING)
        if not ours or staging.is_symlink() or not staging.is_dir():
            raise BundleError(f"{staging}: not a staging folder. Write into one from Registry.stage().")
        release = write_manifest(staging, release_id, info)
        if self._copies is not None:
            if self._copies.publish(staging, release):
                self._copies.forget(release_id)
            else:
                self._copies.fetch(release_id)
        try:
            os.rename(staging, final)
        except OSError:
            if not os.path.lexists(final):
                raise
            self._require_same(release)
            shutil.rmtree(staging, ignore_errors=True)
        storage.sync_folder(self.folder)
        return read_manifest(final)

    def _require_same(self, release: Release) -> None:
        existing = self.verify(release.id)
        names = sorted(release.files.keys() | existing.files.keys())
        different = [name for name in names if release.files.get(name) != existing.files.get(name)]
        if different or release.info != existing.info:
            raise damaged(
                release.id,
                different[0] if different else "info",
                got="other content than the release of that id already published",
                need="a new release id, because a release never changes",
            )

    def clean(self, *, older_than_s: float = 86_400) -> list[Path]:
        """Remove staging folders in which nothing was written for ``older_than_s``; returns them."""
        before = time.time() - older_than_s
        leftovers = [folder for folder in self.folder.glob(f"{STAGING}*") if _last_written(folder) < before]
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        if self._copies is not None:
            self._copies.clean(older_than_s=older_than_s)
        return sorted(leftovers)

    def promote(
        self, reference: str, *, evidence: dict[str, Any] | None = None, instead_of: str | None = ANYTHING
    ) -> Release:
        """Put a release in production once it is verified; does nothing if it already is there.

        Parameters
        ----------
        evidence : dict, optional
            JSON values that say why, kept with the move in `history`; it cannot replace what the move
            itself says.
        instead_of : release id or None, optional
            What must be in production when the move is made (None: nothing); default: whatever is.

        Raises
        ------
        ReleaseNotFound
            If there is no such release.
        BundleError
            If it is damaged, or the evidence is not plain JSON; production stays as it was.
        GateClosed
            If something else is in production than ``instead_of``.
        """
        release = self.verify(reference)

        def move(history: History) -> Move | None:
            there = next(reversed(stack_of(history)), None)
            if instead_of not in (ANYTHING, there):
                raise GateClosed(
                    f"release {release.id} was judged against {instead_of or 'nothing'}, but {there} has "
                    "gone to production meanwhile. Try again.",
                    release=release.id,
                )
            return None if there == release.id else ("promote", release.id, evidence or {})

        self._alias.change(move)
        return release

    def rollback(self) -> Release:
        """Put back the release that was in production before this one, verified; repeat to go further.

        One file is replaced atomically, after the release's files were hashed: nothing is judged anew and
        nothing is read of what is in production now, so that it works when that is damaged.

        Raises
        ------
        ReleaseNotFound
            If there was none before, or it has been deleted.
        BundleError
            If it is damaged; production stays as it was.
        """
        if self.production() is None:
            self.resolve("production")  # raises, and names the releases there are
        put_back: list[Release] = []

        def move(history: History) -> Move:
            stack = stack_of(history)
            if len(stack) < 2:
                raise ReleaseNotFound(
                    f"nothing was in production before {stack[-1]}. Choose a release with "
                    "`nsecast models promote ID`.",
                    release=stack[-1],
                )
            put_back.append(self.verify(stack[-2]))
            return "rollback", stack[-2], {}

        self._alias.change(move)
        return put_back[-1]

    def production(self) -> str | None:
        """The id of the release in production, or None before the first one was promoted."""
        return next(reversed(stack_of(self.history())), None)

    def history(self) -> list[dict[str, Any]]:
        """Every move of the production alias, oldest first, with its evidence; raises as `Alias.history`."""
        return self._alias.history(offline_ok=self._offline_ok)

    def stamp(self) -> Any:
        """Something that is another after every move of production; see `Alias.stamp`."""
        return self._alias.stamp()

    def resolve(self, reference: str) -> Release:
        """Find ``"production"``, ``"latest"`` or a release id; reads the manifest, hashes nothing.

        From an object store it is downloaded unless its copy is here.

        Raises
        ------
        ReleaseNotFound
            If there is no such release; names those there are.
        BundleError
            If its manifest is missing or invalid.
        """
        wanted: str | None = reference
        if reference == "production":
            wanted = self.production()
        elif reference == "latest":
            wanted = next((release.id for release in self.releases() if release.state == "ok"), None)
        if wanted is None or not is_id(wanted) or not self._is_there(wanted):
            known = [release.id for release in self.releases()]
            there_are = f"there are {', '.join(known)}" if known else "none is published yet"
            promote = "Choose one with `nsecast models promote ID`, or train" if known else "Train"
            name = reference if wanted in (None, reference) else f"{reference} ({wanted})"
            raise ReleaseNotFound(
                f"release {name}: not in {storage.shown(self.folder)}; {there_are}. {promote} one with "
                "`nsecast train`; another storage root is --home or NSECAST_HOME.",
                release=reference,
                known=known,
            )
        return read_manifest(self.folder / wanted)

    def verify(self, reference: str) -> Release:
        """Hash every file of a release; BundleError names one missing, extra or altered.

        In an object store names and sizes are compared; hashed is the copy here, as it was when it came.
        """
        release = self.open(reference)
        if self._copies is not None:
            self._copies.compare(release)
        return release

    def open(self, reference: str, *, verify: bool = True) -> Release:
        """The release to read from; by default refused if one byte of it is not as published."""
        release = self.resolve(reference)
        if not verify:
            return release
        try:
            release.check()
        except BundleError:
            if self._copies is None:
                raise
            self._copies.forget(release.id)  # the copy is at fault, unless the store is too
            release = self.resolve(release.id)
            release.check()
        return release

    def releases(self) -> list[ReleaseInfo]:
        """Every release, newest first; those without a readable manifest last."""
        if self._copies is not None:
            found = self._copies.infos()
        else:
            entries = self.folder.iterdir() if self.folder.is_dir() else []
            found = [inspect(entry) for entry in entries if is_id(entry.name)]
        never = datetime.min.replace(tzinfo=UTC)
        return sorted(found, key=lambda release: (release.created or never, release.id), reverse=True)

    def _is_there(self, release_id: str) -> bool:
        if self._copies is not None:
            return self._copies.fetch(release_id)
        return os.path.lexists(self.folder / release_id)


def _require_id(name: str) -> None:
    if not is_id(name):
        raise ConfigError(
            f"release id: got {name!r}, need at most 128 letters, digits, '.', '_' or '-', the first a "
            f"letter or digit, and none of {', '.join(RESERVED)}."
        )


def _last_written(folder: Path) -> float:
    """When anything below ``folder`` last changed, seconds since the epoch; now, if it is being moved."""
    try:
        return max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    except OSError:
        return time.time()
