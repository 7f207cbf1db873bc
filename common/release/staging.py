"""Staging folders, which hold releases that are being written or deleted and are hidden from readers."""

import os
import shutil
import time
from pathlib import Path

from common.errors import BundleError

STAGING = ".staging-"


def staging_path(folder: Path, release_id: str) -> Path:
    """Return the path of a new staging folder in ``folder``."""
    return folder / f"{STAGING}{release_id}-{os.urandom(6).hex()}"


def require_staging(staging: Path, folder: Path) -> None:
    """Raise BundleError unless ``staging`` is a staging folder in ``folder``."""
    named = staging.parent == folder and staging.name.startswith(STAGING)
    if not named or staging.is_symlink() or not staging.is_dir():
        raise BundleError(f"{staging}: not a staging folder. Write into one from Registry.stage().")


def discard(release: Path) -> None:
    """Delete a release's folder, hiding it first, so that readers never see a part of it."""
    if os.path.lexists(release):
        hidden = staging_path(release.parent, release.name)
        os.rename(release, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def remove_leftovers(folder: Path, *, older_than_s: float) -> list[Path]:
    """Delete and return the staging folders that have not changed for ``older_than_s``."""
    before = time.time() - older_than_s
    leftovers = [staging for staging in folder.glob(f"{STAGING}*") if _last_written(staging) < before]
    for staging in leftovers:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(leftovers)


def _last_written(folder: Path) -> float:
    """Return when anything below ``folder`` last changed, or now if it is being moved."""
    try:
        return max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    except OSError:
        return time.time()
