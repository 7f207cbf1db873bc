"""The releases of an object store, and copies of them here.

::

    releases/<id>/...              the files, then manifest.json, by which alone a release is there
    releases/.publish.lock         one publishes at a time

What an upload that was cut off has left is seen by nobody; the next one of that id writes over it, and
`RemoteCopies.clean` deletes it after a day. A copy is used while its manifest is the store's, and made anew
otherwise.
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
    STAGING,
    Release,
    ReleaseInfo,
    damaged,
    fingerprint,
    is_id,
    parse_manifest,
)
from common.storage.object_store import together

log = logging.getLogger(__name__)

COPIES = 10
"""Releases that a machine keeps copies of; one that is needed again is downloaded again."""


@dataclass(frozen=True)
class RemoteCopies:
    """The store's side of a `Registry`.

    Parameters
    ----------
    folder : the mirror's ``releases``
    offline_ok : while the store cannot be asked, copies are used as they are
    """

    folder: Path
    mirror: storage.Mirror
    offline_ok: bool = False

    def publish(self, staging: Path, release: Release) -> bool:
        """Upload a release whose manifest is written; False if there is one of that id already.

        Raises
        ------
        StorageError
            If the store fails meanwhile: nothing is published then, and it can be tried again.
        """
        final, store = self.folder / release.id, self.mirror.store
        with storage.exclusive(self.folder / ".publish.lock"):
            if store.head(self._key(final / MANIFEST)) is not None:
                return False
            leftovers = {entry.key for entry in self.mirror.listing(final).values()}
            keys = {name: self._key(final / name) for name in release.files}
            together(lambda name: store.put(keys[name], staging / name), sorted(keys))
            store.delete(sorted(leftovers - set(keys.values())))
            try:
                store.put_if(self._key(final / MANIFEST), (staging / MANIFEST).read_bytes(), None)
            except storage.Changed:
                return False
        return True

    def fetch(self, release_id: str) -> bool:
        """Make the copy here the store's release; False if there is none.

        Raises
        ------
        BundleError
            If an object is missing or not as published.
        StorageError
            If the store cannot be asked, unless there is a copy and that will do.
        """
        final = self.folder / release_id
        try:
            content, _ = self.mirror.store.read(self._key(final / MANIFEST))
        except FileNotFoundError:
            return False
        except storage.StorageError as error:
            if not self.offline_ok or not (final / MANIFEST).is_file():
                raise
            log.warning("release=%s is used as it was downloaded: %s", release_id, error.message)
            return True
        with storage.exclusive_here(self.folder / f".fetch-{release_id}.lock"):
            if _content(final / MANIFEST) != content:
                self._download(parse_manifest(final, content), content)
        return True

    def forget(self, release_id: str) -> None:
        """Drop the copy here."""
        _discard(self.folder / release_id)

    def compare(self, release: Release) -> None:
        """Compare names and sizes in the store with the manifest; BundleError names what differs."""
        release.compare(self._sizes(self.mirror.listing(self.folder / release.id)).get(release.id, {}))

    def infos(self) -> list[ReleaseInfo]:
        """Every release in the store, in any order."""
        sizes = self._sizes(self.mirror.listing(self.folder), manifests=True)
        published = sorted(id for id, files in sizes.items() if MANIFEST in files)
        return together(lambda id: self._inspect(id, sizes[id]), published)

    def clean(self, *, older_than_s: float) -> None:
        """Delete what uploads that were never finished have left, if nothing was added for so long."""
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        left: dict[str, list[storage.Entry]] = {}
        for path, entry in self.mirror.listing(self.folder).items():
            left.setdefault(path.relative_to(self.folder).parts[0], []).append(entry)
        for release_id, entries in left.items():
            keys = [entry.key for entry in entries]
            published = self._key(self.folder / release_id / MANIFEST) in keys
            if is_id(release_id) and not published and max(each.modified for each in entries) < before:
                self.mirror.store.delete(keys)

    def _download(self, release: Release, manifest: bytes) -> None:
        staging = self.folder / f"{STAGING}{release.id}-{os.urandom(6).hex()}"
        staging.mkdir(parents=True)
        try:
            together(lambda name: self._bring(release, name, staging / name), sorted(release.files))
            (staging / MANIFEST).write_bytes(manifest)
            _discard(release.path)
            os.rename(staging, release.path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        copies = [folder for folder in self.folder.iterdir() if is_id(folder.name) and folder.is_dir()]
        for folder in sorted(copies, key=lambda each: -each.stat().st_mtime)[COPIES:]:
            _discard(folder)

    def _bring(self, release: Release, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        need = release.files[name]
        try:
            self.mirror.store.download(self._key(release.path / name), target)
        except FileNotFoundError:
            raise damaged(release.id, name, got="no such object", need=f"{need['bytes']} bytes") from None
        if (got := fingerprint(target)) != need:
            raise damaged(
                release.id, name, got=f"other content ({got['bytes']} bytes)", need="it as published"
            )

    def _inspect(self, release_id: str, sizes: dict[str, int]) -> ReleaseInfo:
        folder = self.folder / release_id
        try:
            content, _ = self.mirror.store.read(self._key(folder / MANIFEST))
            release = parse_manifest(folder, content)
            release.compare({name: size for name, size in sizes.items() if name != MANIFEST})
        except (BundleError, FileNotFoundError) as error:
            return ReleaseInfo(release_id, "damaged", reason=str(error))
        return ReleaseInfo(release.id, "ok", release.created, release.info)

    def _sizes(self, listing: dict[Path, Any], *, manifests: bool = False) -> dict[str, dict[str, int]]:
        """Bytes by file's name by release."""
        found: dict[str, dict[str, int]] = {}
        for path, entry in listing.items():
            release_id, _, name = path.relative_to(self.folder).as_posix().partition("/")
            if is_id(release_id) and (manifests or name != MANIFEST):
                found.setdefault(release_id, {})[name] = entry.size
        return found

    def _key(self, path: Path) -> str:
        return path.relative_to(self.mirror.root).as_posix()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _discard(folder: Path) -> None:
    """Take a copy away at once, whatever of it is being read."""
    if os.path.lexists(folder):
        aside = folder.with_name(f"{STAGING}{folder.name}-{os.urandom(6).hex()}")
        os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
