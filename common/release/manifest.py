"""The manifest of a release, and checks of the files that it lists."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeGuard

from common import storage
from common.errors import BundleError, ConfigError

MANIFEST = "manifest.json"
FORMAT = 1
"""Version of the format, raised when an earlier nsecast would misread a release. Default in manifests: 1."""
RESERVED = ("aliases", "production", "latest")
State = Literal["ok", "incomplete", "damaged"]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_id(name: Any) -> TypeGuard[str]:
    """Return whether ``name`` is a valid release id."""
    return isinstance(name, str) and bool(_ID.fullmatch(name)) and name not in RESERVED


def require_id(name: str) -> None:
    """Raise ConfigError if ``name`` is not a valid release id."""
    if not is_id(name):
        raise ConfigError(
            f"release id: got {name!r}, need at most 128 letters, digits, '.', '_' or '-', the first a "
            f"letter or digit, and none of {', '.join(RESERVED)}."
        )


@dataclass(frozen=True)
class ReleaseInfo:
    """An entry in the list of releases; its ``state`` is judged by names and sizes, not by hashes."""

    id: str
    state: State
    created: datetime | None = None
    info: dict[str, Any] = field(default_factory=dict, hash=False)
    reason: str = ""


@dataclass(frozen=True)
class Release:
    """A published release, as described by its manifest."""

    id: str
    path: Path
    info: dict[str, Any] = field(hash=False)
    """What the publisher recorded: ``preset``, ``source``, ``data_sha256``, ``models`` (a count),
    ``test_relMAE`` and others."""
    created: datetime
    files: dict[str, dict[str, Any]] = field(hash=False, repr=False)
    """``{"sha256": hex, "bytes": count}`` by path, relative and with forward slashes."""

    def file(self, relative: str | Path) -> Path:
        """Return the absolute path of a published file; BundleError if the manifest does not list it."""
        name = PurePosixPath(relative).as_posix()
        if name not in self.files and name != MANIFEST:
            raise damaged(self.id, name, got="no such file in the manifest", need="a published file")
        return self.path / name

    def check_sizes(self) -> None:
        """Compare names and sizes with the manifest, without reading files; raises as `check` does."""
        names = walk(self.path, self.id)
        self.compare({name: (self.path / name).stat().st_size for name in names})

    def compare(self, sizes: dict[str, int]) -> None:
        """Compare sizes in bytes by name with the manifest; raises as `check` does."""
        for name, need in self.files.items():
            if name not in sizes:
                raise damaged(self.id, name, got="no such file", need=f"{need['bytes']} bytes")
            if (got := sizes[name]) != need["bytes"]:
                raise damaged(self.id, name, got=f"{got} bytes", need=f"{need['bytes']}")
        if extra := sorted(sizes.keys() - self.files.keys()):
            raise damaged(self.id, extra[0], got="a file", need="none, the manifest does not list it")

    def check(self) -> None:
        """Hash every file; BundleError names the first one that differs from the manifest."""
        self.check_sizes()
        for name, need in self.files.items():
            if (got := fingerprint(self.path / name)) != need:
                raise damaged(self.id, name, got=f"sha256 {got['sha256']}", need=f"{need['sha256']}")


def require_same(release: Release, existing: Release) -> None:
    """Raise BundleError if two releases of one id differ in their files or info."""
    names = sorted(release.files.keys() | existing.files.keys())
    different = [name for name in names if release.files.get(name) != existing.files.get(name)]
    if different or release.info != existing.info:
        raise damaged(
            release.id,
            different[0] if different else "info",
            got="other content than the release of that id already published",
            need="a new release id, because a release never changes",
        )


def damaged(release_id: str, file: str, *, got: str, need: str) -> BundleError:
    """Build the error for a release that is incomplete, altered or cannot be published."""
    return BundleError(
        f"release {release_id}: {file}: got {got}, need {need}. `nsecast models` lists the releases.",
        release=release_id,
        file=file,
        got=got,
        need=need,
    )


def walk(folder: Path, release_id: str, prefix: str = "") -> Iterator[str]:
    """Yield relative names of a release's files, without the manifest; BundleError for links and devices."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name, mode = prefix + entry.name, entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from walk(folder / entry.name, release_id, f"{name}/")
        elif not stat.S_ISREG(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
            raise damaged(release_id, name, got=kind, need="a regular file")
        elif name != MANIFEST:
            yield name


def fingerprint(path: Path) -> dict[str, Any]:
    return {"sha256": storage.sha256(path), "bytes": path.stat().st_size}


def read_json(path: Path) -> Any:
    """Read a published JSON file; BundleError, naming it, if it is not valid."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: {type(error).__name__}: {error}. Publish the release again.", path=str(path)
        ) from None


def write_manifest(folder: Path, release_id: str, info: dict[str, Any]) -> Release:
    """Write the manifest of the files in ``folder``, after syncing them to disk.

    Raises
    ------
    BundleError
        If there are no files, one is a link or a special file, or ``info`` is not plain JSON.
    """
    files = {name: fingerprint(folder / name) for name in walk(folder, release_id)}
    if not files:
        raise damaged(release_id, str(folder), got="an empty folder", need="at least one file")
    created = datetime.now(UTC)
    try:
        info = json.loads(json.dumps(info, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise damaged(release_id, "info", got=str(error), need="plain JSON values") from None
    for name in files:
        storage.sync_file(folder / name)
    for parent in {parent for name in files for parent in PurePosixPath(name).parents}:
        storage.sync_folder(folder / parent)
    manifest = {"format": FORMAT, "release": release_id, "created": created.isoformat(), "info": info}
    manifest["files"] = files
    storage.write_json(folder / MANIFEST, manifest | {"digest": _digest(manifest)})
    return Release(release_id, folder, info, created, files)


def read_manifest(folder: Path) -> Release:
    """Read the release in ``folder``; BundleError if its manifest is missing, invalid or another's."""
    name = folder.name
    if folder.is_symlink() or not folder.is_dir():
        raise damaged(name, str(folder), got="a link or no folder", need="a release folder")
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise damaged(name, MANIFEST, got="no such file", need="the manifest, which is written last")
    return parse_manifest(folder, path.read_bytes())


def parse_manifest(folder: Path, content: bytes) -> Release:
    """Parse the manifest of the release at ``folder``; BundleError if it is invalid or another's."""
    name = folder.name
    try:
        manifest = json.loads(content)
        _require(manifest["digest"] == _digest(manifest), "its own digest differs")
        _require(manifest["release"] == name, f"it describes release {manifest['release']!r}")
        version = manifest.get("format", 1)
        _require(isinstance(version, int) and version > 0, f"its format is {version!r}")
        if version > FORMAT:
            raise BundleError(
                f"release {name}: {MANIFEST}: got format {version}, this nsecast reads formats up to "
                f"{FORMAT}. A newer nsecast published it: update this one, or use another release.",
                release=name,
                got=version,
                need=FORMAT,
            )
        info, files = manifest["info"], manifest["files"]
        _require(isinstance(info, dict), "its info is not an object")
        for relative, entry in files.items():
            _require(_is_inside(relative), f"it lists {relative!r}, outside the release")
            _require(isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str), relative)
        created = datetime.fromisoformat(manifest["created"])
        _require(created.tzinfo is not None, "its time has no time zone")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        got = f"an invalid manifest ({type(error).__name__}: {error})"
        raise damaged(name, MANIFEST, got=got, need="it as published") from None
    return Release(name, folder, info, created, files)


def inspect(folder: Path) -> ReleaseInfo:
    """Summarize the release in ``folder`` for a list of releases."""
    try:
        release = read_manifest(folder)
        release.check_sizes()
    except (BundleError, OSError) as error:
        state: State = "damaged" if os.path.lexists(folder / MANIFEST) else "incomplete"
        return ReleaseInfo(folder.name, state, reason=str(error))
    return ReleaseInfo(release.id, "ok", release.created, release.info)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _is_inside(relative: str) -> bool:
    path = PurePosixPath(relative)
    plain = path.as_posix() == relative and not path.is_absolute() and ".." not in path.parts
    return plain and relative not in (".", MANIFEST)


def _digest(manifest: dict[str, Any]) -> str:
    """Hash the manifest without its own digest, so that any change to it is detected."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
