"""Extract the CSV files of a downloaded zip; all are checked before the first is replaced."""

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
    """Extract and check the zip's CSV files, then move them into ``folder``; returns their names."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as name:
        temporary = Path(name)
        try:
            with zipfile.ZipFile(part) as bundle:
                members = _csv_members(bundle, source)
                names = [_extract(bundle, member, temporary, source) for member in members]
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            raise FetchError(
                f"{source.id}: the download is not a complete zip ({error}) and was deleted. Run again, or "
                f"{source.by_hand(folder)}",
                dataset=source.id,
            ) from error
        except FetchError:
            part.unlink(missing_ok=True)
            raise
        for name in names:
            os.replace(temporary / name, folder / name)
    storage.sync_folder(folder)
    part.unlink()
    return names


def _csv_members(bundle: zipfile.ZipFile, source: Source) -> Iterable[zipfile.ZipInfo]:
    def refuse(content: str) -> FetchError:
        return FetchError(f"{source.id}: the zip contains {content}.", dataset=source.id)

    names = set()
    for member in bundle.infolist():
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            raise refuse(f"an unsafe path {member.filename!r}")
        if path.suffix.lower() != ".csv" or path.name.startswith(".") or member.is_dir():
            continue
        if path.name in names:
            raise refuse(f"{path.name} twice")
        names.add(path.name)
        if len(names) > MAX_FILES:
            raise refuse(f"more than {MAX_FILES} CSV files")
        yield member
    if not names:
        raise refuse("no CSV file")


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, source: Source) -> str:
    """Write one member under its bare name; its size and checksum are those of the extracted bytes."""
    name = PurePosixPath(member.filename).name
    digest, size = hashlib.sha256(), 0
    with bundle.open(member) as packed, (folder / name).open("wb") as stream:
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
            f"{name}: sha256 {got}, expected {expected}. The published file changed or the download is "
            f"damaged; nothing was replaced. Run again; if it persists, compare with {PAGE_URL}/{source.id}.",
            file=name,
            got=got,
            expected=expected,
        )
    return name
