"""The releases of an object store and their local copies.

::

    releases/<id>/...              the files, then manifest.json, which makes them a release
    releases/.publish.lock         one process publishes at a time

Readers ignore what an interrupted upload leaves. The next upload of that id overwrites it, and
`RemoteCopies.clean` deletes it after a day. A copy is used while its manifest equals the store's, and
downloaded again otherwise.
"""

import logging
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common import storage
from common.errors import BundleError
from common.release.manifest import (
    MANIFEST,
    Release,
    ReleaseInfo,
    damaged,
    fingerprint,
    is_id,
    parse_manifest,
)
from common.release.staging import discard, staging_path
from common.storage.object_store import parallel_map

log = logging.getLogger(__name__)

COPIES = 10
"""Copies that a machine keeps; a deleted one is downloaded again when it is needed."""


@dataclass(frozen=True)
class RemoteCopies:
    """The part of a `Registry` that deals with an object store.

    Parameters
    ----------
    folder : the mirror's ``releases``
    offline_ok : use existing copies while the store cannot be reached
    """

    folder: Path
    mirror: storage.Mirror
    offline_ok: bool = False

    def publish(self, staging: Path, release: Release) -> None:
        """Upload a release whose manifest is written and delete any copy of that id.

        If a release of that id is already published, its copy is downloaded instead.

        Raises
        ------
        StorageError
            If the store fails. Then nothing is published, and the call can be repeated.
        """
        if self._upload(staging, release):
            discard(self.folder / release.id)
        else:
            self.fetch(release.id)

    def _upload(self, staging: Path, release: Release) -> bool:
        """Upload a release; False if one of that id is already published."""
        final, store = self.folder / release.id, self.mirror.store
        with storage.exclusive(self.folder / ".publish.lock"):
            if store.head(self.mirror.object_key(final / MANIFEST)) is not None:
                return False
            leftovers = {entry.key for entry in self.mirror.listing(final).values()}
            keys = {name: self.mirror.object_key(final / name) for name in release.files}
            parallel_map(lambda name: store.put(keys[name], staging / name), sorted(keys))
            store.delete(sorted(leftovers - set(keys.values())))
            try:
                store.put_if(
                    self.mirror.object_key(final / MANIFEST), (staging / MANIFEST).read_bytes(), None
                )
            except storage.Changed:
                return False
        return True

    def fetch(self, release_id: str) -> bool:
        """Bring the local copy up to date; False if the store has no such release.

        Raises
        ------
        BundleError
            If an object is missing or differs from what was published.
        StorageError
            If the store cannot be reached, unless there is a copy and ``offline_ok``.
        """
        final = self.folder / release_id
        try:
            content, _ = self.mirror.store.read(self.mirror.object_key(final / MANIFEST))
        except FileNotFoundError:
            return False
        except storage.StorageError as error:
            if not self.offline_ok or not (final / MANIFEST).is_file():
                raise
            log.warning(
                "release=%s: the store cannot be reached, the local copy is used: %s",
                release_id,
                error.message,
            )
            return True
        with storage.exclusive_here(self.folder / f".fetch-{release_id}.lock"):
            if _content(final / MANIFEST) != content:
                self._download(parse_manifest(final, content), content)
        return True

    def compare(self, release: Release) -> None:
        """Compare names and sizes in the store with the manifest; BundleError names the first difference."""
        release.compare(self._sizes(self.mirror.listing(self.folder / release.id)).get(release.id, {}))

    def infos(self) -> list[ReleaseInfo]:
        """List the releases in the store, in any order."""
        sizes = self._sizes(self.mirror.listing(self.folder), manifests=True)
        published = sorted(id for id, files in sizes.items() if MANIFEST in files)
        return parallel_map(lambda id: self._inspect(id, sizes[id]), published)

    def clean(self, *, older_than_s: float) -> None:
        """Delete the objects of unfinished uploads to which nothing was added for ``older_than_s``."""
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        by_release: dict[str, list[storage.Entry]] = {}
        for path, entry in self.mirror.listing(self.folder).items():
            by_release.setdefault(path.relative_to(self.folder).parts[0], []).append(entry)
        for release_id, entries in by_release.items():
            keys = [entry.key for entry in entries]
            published = self.mirror.object_key(self.folder / release_id / MANIFEST) in keys
            if is_id(release_id) and not published and max(entry.modified for entry in entries) < before:
                self.mirror.store.delete(keys)

    def _download(self, release: Release, manifest: bytes) -> None:
        staging = staging_path(self.folder, release.id)
        staging.mkdir(parents=True)
        try:
            parallel_map(
                lambda name: self._download_file(release, name, staging / name), sorted(release.files)
            )
            (staging / MANIFEST).write_bytes(manifest)
            discard(release.path)
            os.rename(staging, release.path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        copies = [folder for folder in self.folder.iterdir() if is_id(folder.name) and folder.is_dir()]
        for folder in sorted(copies, key=lambda folder: -folder.stat().st_mtime)[COPIES:]:
            discard(folder)

    def _download_file(self, release: Release, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        need = release.files[name]
        try:
            self.mirror.store.download(self.mirror.object_key(release.path / name), target)
        except FileNotFoundError:
            raise damaged(release.id, name, got="no such object", need=f"{need['bytes']} bytes") from None
        if (got := fingerprint(target)) != need:
            raise damaged(
                release.id, name, got=f"other content ({got['bytes']} bytes)", need="it as published"
            )

    def _inspect(self, release_id: str, sizes: dict[str, int]) -> ReleaseInfo:
        folder = self.folder / release_id
        try:
            content, _ = self.mirror.store.read(self.mirror.object_key(folder / MANIFEST))
            release = parse_manifest(folder, content)
            release.compare({name: size for name, size in sizes.items() if name != MANIFEST})
        except (BundleError, FileNotFoundError) as error:
            return ReleaseInfo(release_id, "damaged", reason=str(error))
        return ReleaseInfo(release.id, "ok", release.created, release.info)

    def _sizes(self, listing: dict[Path, Any], *, manifests: bool = False) -> dict[str, dict[str, int]]:
        """Return bytes by file name by release."""
        sizes: dict[str, dict[str, int]] = {}
        for path, entry in listing.items():
            release_id, _, name = path.relative_to(self.folder).as_posix().partition("/")
            if is_id(release_id) and (manifests or name != MANIFEST):
                sizes.setdefault(release_id, {})[name] = entry.size
        return sizes


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
