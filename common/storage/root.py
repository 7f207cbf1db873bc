"""Find the storage root by its name, and name paths so that any machine can find them."""

import hashlib
import json
import os
import re
from pathlib import Path

from common.errors import ConfigError
from common.storage.mirror import Mirror
from common.storage.object_store import ObjectStore

MARK = ".nsecast-store.json"
"""File in a mirror with the URL of its store."""
SCHEMES = ("s3", "gs", "az")
_MIRRORS: dict[Path, Mirror] = {}
"""Mirrors known to this process, by folder."""


def home(path: str | Path | None = None) -> Path:
    """Return the storage root: ``path``, else ``NSECAST_HOME``, else ``./nsecast-data``.

    A URL such as ``s3://bucket/prefix`` becomes a folder below ``NSECAST_CACHE`` (default
    ``~/.cache/nsecast``) that mirrors it, see `common.storage.mirror`.

    Raises
    ------
    ConfigError
        If it is a URL of another kind, without a bucket, or with credentials.
    """
    root = str(path or os.environ.get("NSECAST_HOME") or "nsecast-data")
    url = _url(root)
    return locate(root) if url is None else _mirror(url).root


def mirror_of(path: Path) -> Mirror | None:
    """Return the mirror that contains ``path``; None in a plain folder."""
    if not _MIRRORS:
        return None
    return next((mirror for root, mirror in tuple(_MIRRORS.items()) if path.is_relative_to(root)), None)


def register_mirror(mirror: Mirror) -> Path:
    """Register a mirror in this process; returns its folder."""
    mirror.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    (mirror.root / MARK).write_text(json.dumps({"url": mirror.store.url}))
    return _MIRRORS.setdefault(mirror.root, mirror).root


def address_of(path: Path) -> str:
    """Return an address of ``path`` from which `locate` finds it on any machine."""
    return _name(path, "#")


def locate(address: str | Path) -> Path:
    """Return the path of an `address_of`, or of a plain path, also in another process's mirror."""
    root, _, inside = str(address).partition("#")
    if (url := _url(root)) is not None:
        return _mirror(url).root / inside
    path = Path(address).absolute()
    if mirror_of(path) is None:
        for folder in (path, *path.parents):
            if (folder / MARK).is_file():
                _mirror(json.loads((folder / MARK).read_bytes())["url"], folder)
                break
    return path


def display_path(path: Path) -> str:
    """Return ``path`` for display: below the store's URL in a mirror."""
    return _name(path, "/")


def _name(path: Path, separator: str) -> str:
    mirror = mirror_of(path)
    if mirror is None:
        return str(path)
    key = mirror.object_key(path)
    return f"{mirror.store.url}{separator}{key}" if key else mirror.store.url


def _url(text: str) -> str | None:
    """Normalize a URL, which may have lost a slash as a path; None for a plain path."""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(.*)", text)
    if not match:
        return None
    scheme, rest = match[1].lower(), match[2].strip("/")
    if scheme not in SCHEMES:
        kinds = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ConfigError(f"storage root: got {scheme}://, need a folder or a URL with {kinds}.")
    if not rest or any(sign in rest for sign in "@?#"):
        raise ConfigError(
            f"storage root: got {scheme}:// with {'no bucket' if not rest else 'signs other than a path'}, "
            f"need {scheme}://BUCKET/PREFIX. Credentials belong in the environment, never in a URL."
        )
    return f"{scheme}://{rest}"


def _mirror(url: str, folder: Path | None = None) -> Mirror:
    folder = folder or _folder_of(url)
    if folder not in _MIRRORS:
        register_mirror(Mirror(folder, ObjectStore(url)))
    return _MIRRORS[folder]


def _folder_of(url: str) -> Path:
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", url.partition("://")[2])[:48]
    return _cache() / f"{name}-{digest}"


def _cache() -> Path:
    given = os.environ.get("NSECAST_CACHE")
    if given:
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "nsecast"
