"""Taking the CSV files out of a downloaded zip: checked first, then put in place whole."""

import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from common import storage
from common.archive.sources import PAGE_URL, Source
from common.errors import FetchError

MAX_CSV_BYTES = 64 * 2**20
"""Far above any real file (1.6 MB); stops a zip bomb."""
MAX_FILES = 64
CHUNK = 2**18


def unpack(part: Path, folder: Path, source: Source) -> list[str]:
    """Extract the zip's CSV files next to ``folder``'s, check them all, then move them in; names moved."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as place:
        try:
            with zipfile.ZipFile(part) as bundle:
                names = [
                    _extract(bundle, member, Path(place), source) for member in _csv_members(bundle, source)
                ]
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            raise FetchError(
                f"{source.id}: what arrived is not a whole zip ({error}); it was thrown away. Run again, or "
                f"{source.by_hand(folder)}",
                dataset=source.id,
            ) from error
        except FetchError:
            part.unlink(missing_ok=True)
            raise
        for name in names:
            os.replace(Path(place) / name, folder / name)
    storage.sync_folder(folder)
    part.unlink()
    return names


def _csv_members(bundle: zipfile.ZipFile, source: Source) -> Iterable[zipfile.ZipInfo]:
    seen = set()
    for member in bundle.infolist():
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            raise FetchError(
                f"{source.id}: the zip holds an unsafe path {member.filename!r}.", dataset=source.id
            )
        if path.suffix.lower() != ".csv" or path.name.startswith(".") or member.is_dir():
            continue
        if path.name in seen:
            raise FetchError(f"{source.id}: the zip holds {path.name} twice.", dataset=source.id)
        seen.add(path.name)
        if len(seen) > MAX_FILES:
            raise FetchError(
                f"{source.id}: the zip holds more than {MAX_FILES} CSV files.", dataset=source.id
            )
        yield member
    if not seen:
        raise FetchError(f"{source.id}: the zip holds no CSV file.", dataset=source.id)


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, source: Source) -> str:
    """Write one member under its bare name, counting and hashing what really comes out of it."""
    name = PurePosixPath(member.filename).name
    digest, size = hashlib.sha256(), 0
    with bundle.open(member) as packed, (place / name).open("wb") as stream:
        while chunk := packed.read(CHUNK):
            size += len(chunk)
            if size > MAX_CSV_BYTES:
                raise FetchError(
                    f"{source.id}: {name} unpacks to more than {MAX_CSV_BYTES} bytes.", file=name
                )
            digest.update(chunk)
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    got, expected = digest.hexdigest(), source.files.get(name)
    if expected and got != expected:
        raise FetchError(
            f"{name}: sha256 {got}, expected {expected}. The published file changed or was damaged on the "
            f"way; nothing was replaced. Run again; if it stays so, compare with {PAGE_URL}/{source.id}.",
            file=name,
            got=got,
            expected=expected,
        )
    return name
