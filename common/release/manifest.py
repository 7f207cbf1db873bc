"""One published release: its manifest, and whether its files are still as published."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from common import storage
from common.errors import BundleError

MANIFEST = "manifest.json"
FORMAT = 1
"""Raised when an earlier nsecast would misread what is published; a manifest that names none has format 1."""
STAGING = ".staging-"
RESERVED = ("aliases", "production", "latest")
State = Literal["ok", "incomplete", "damaged"]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_id(name: Any) -> bool:
    """Whether ``name`` may be a release's."""
    return isinstance(name, str) and bool(_ID.fullmatch(name)) and name not in RESERVED


@dataclass(frozen=True)
class ReleaseInfo:
    """One line of the list of releases; ``state`` comes from names and sizes, not from hashes."""

    id: str
    state: State
    created: datetime | None = None
    info: dict[str, Any] = field(default_factory=dict, hash=False)
    reason: str = ""


@dataclass(frozen=True)
class Release:
    """One published release, as its manifest describes it."""

    id: str
    path: Path
    info: dict[str, Any] = field(hash=False)
    """What the publisher said of it: ``preset``, ``source``, ``data_sha256``, ``models`` (a count),
    ``test_relMAE`` and whatever else it chose."""
    created: datetime
    files: dict[str, dict[str, Any]] = field(hash=False, repr=False)
    """``{"sha256": hex, "bytes": count}`` by path, relative and with forward slashes."""

    def file(self, relative: str | Path) -> Path:
        """The absolute path of one published file; BundleError if the manifest does not list it."""
        name = PurePosixPath(relative).as_posix()
        if name not in self.files and name != MANIFEST:
            raise damaged(self.id, name, got="no such file in the manifest", need="a published file")
        return self.path / name

    def check_sizes(self) -> None:
        """Compare names and sizes with the manifest, without reading a file; raises as `check` does."""
        names = list(walk(self.path, self.id))
        self.compare({name: (self.path / name).stat().st_size for name in names})

    def compare(self, found: dict[str, int]) -> None:
        """Compare sizes in bytes by name with the manifest; raises as `check` does."""
        for name, need in self.files.items():
            if name not in found:
                raise damaged(self.id, name, got="no such file", need=f"{need['bytes']} bytes")
            if (got := found[name]) != need["bytes"]:
                raise damaged(self.id, name, got=f"{got} bytes", need=f"{need['bytes']}")
        if extra := sorted(found.keys() - self.files.keys()):
            raise damaged(self.id, extra[0], got="a file", need="none, the manifest does not list it")

    def check(self) -> None:
        """Hash every file and compare with the manifest.

        Raises
        ------
        BundleError
            Naming the first file that is missing, extra, altered, cut short or not a regular file.
        """
        self.check_sizes()
        for name, need in self.files.items():
            if (got := fingerprint(self.path / name)) != need:
                raise damaged(self.id, name, got=f"sha256 {got['sha256']}", need=f"{need['sha256']}")


def damaged(release_id: str, file: str, *, got: str, need: str) -> BundleError:
    """The error for a release that is not, or cannot become, whole."""
    return BundleError(
        f"release {release_id}: {file}: got {got}, need {need}. `nsecast models` lists the releases.",
        release=release_id,
        file=file,
        got=got,
        need=need,
    )


def walk(folder: Path, release_id: str, prefix: str = "") -> Iterator[str]:
    """Relative names of a release's files, without its manifest; BundleError for links and devices."""
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
    """A published JSON file; BundleError, naming it, if it is not one."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: {type(error).__name__}: {error}. Publish the release again.", path=str(path)
        ) from None


def write_manifest(folder: Path, release_id: str, info: dict[str, Any]) -> Release:
    """Describe the files in ``folder``, which survive a power cut before the manifest appears.

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
    described = {"release": release_id, "created": created.isoformat(), "info": info, "files": files}
    manifest: dict[str, Any] = {"format": FORMAT, **described}
    storage.write_json(folder / MANIFEST, manifest | {"digest": _digest(manifest)})
    return Release(release_id, folder, info, created, files)


def read_manifest(folder: Path) -> Release:
    """The release in ``folder``; BundleError if the manifest is missing, invalid or another's."""
    name = folder.name
    if folder.is_symlink() or not folder.is_dir():
        raise damaged(name, str(folder), got="no folder of its own", need="a release folder")
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise damaged(name, MANIFEST, got="no such file", need="the manifest, which is written last")
    return parse_manifest(folder, path.read_bytes())


def parse_manifest(folder: Path, content: bytes) -> Release:
    """The release whose place is ``folder``, by its manifest; BundleError if that is invalid or another's."""
    name = folder.name
    try:
        manifest = json.loads(content)
        _require(manifest["digest"] == _digest(manifest), "its own digest differs")
        _require(manifest["release"] == name, f"it describes release {manifest['release']!r}")
        written = manifest.get("format", 1)
        _require(isinstance(written, int) and written > 0, f"its format is {written!r}")
        if written > FORMAT:
            raise BundleError(
                f"release {name}: {MANIFEST}: got format {written}, this nsecast reads formats up to "
                f"{FORMAT}. A newer nsecast published it: update this one, or use another release.",
                release=name,
                got=written,
                need=FORMAT,
            )
        info, files = manifest["info"], manifest["files"]
        _require(isinstance(info, dict), "its info is no object")
        for relative, entry in files.items():
            _require(_is_inside(relative), f"it lists {relative!r}, outside the release")
            _require(isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str), relative)
        created = datetime.fromisoformat(manifest["created"])
        _require(created.tzinfo is not None, "its time has no zone")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        got = f"an invalid manifest ({type(error).__name__}: {error})"
        raise damaged(name, MANIFEST, got=got, need="it as published") from None
    return Release(name, folder, info, created, files)


def inspect(folder: Path) -> ReleaseInfo:
    """What a list of releases says of the one in ``folder``."""
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
    """Sha256 of the manifest without its own digest, so that an altered description shows too."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
