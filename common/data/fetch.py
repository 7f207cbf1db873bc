"""Download the real price archive: resumed where it broke off, checked file by file, put in place whole."""

import hashlib
import os
import re
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
from pydantic import PositiveInt

from common import storage
from common.config import Config, read_toml
from common.data.market_files import SYNTHETIC_FILE
from common.errors import FetchError

BASE_URL = "https://data.mendeley.com/public-api/zip"
PAGE_URL = "https://data.mendeley.com/datasets"
ATTEMPTS = 4
"""Tries per data set before a dropped connection or a server error is reported."""
BACKOFF_SECONDS = 1.0
"""Wait before the second try; doubled each time."""
TIMEOUT = httpx.Timeout(60, connect=15)
MAX_ZIP_BYTES = 512 * 2**20
MAX_CSV_BYTES = 64 * 2**20
"""Far above any real file (1.6 MB); stops a zip bomb."""
MAX_FILES = 64
CHUNK = 2**18

Progress = Callable[[str, int, int | None], None]
"""Called with the data set's id, bytes held so far and bytes in all (None if the server does not say)."""


class Source(Config):
    """One published data set."""

    id: str
    """The publisher's identifier."""
    version: PositiveInt
    """The published version the checksums belong to."""
    years: str
    """What it covers, in words."""
    files: dict[str, str]
    """File name to sha256; empty accepts any content."""


class _Sources(Config):
    dataset: tuple[Source, ...]


@dataclass(frozen=True)
class FetchReport:
    """File names by what became of them; one that came without a checksum is in ``unpinned`` as well."""

    written: tuple[str, ...]
    present: tuple[str, ...]
    unpinned: tuple[str, ...]
    missing: tuple[str, ...]
    """Expected names the published zip no longer holds."""


class _Retry(Exception):
    """Worth another try."""


def load_sources(path: Path | None = None) -> tuple[Source, ...]:
    """The data sets of ``path``, by default those shipped with the package."""
    path = path or Path(__file__).with_name("sources.toml")
    return _Sources.parse(read_toml(path), where=str(path)).dataset


def fetch_archive(
    folder: Path,
    *,
    sources: Sequence[Source] | None = None,
    base_url: str = BASE_URL,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> FetchReport:
    """Make ``folder`` hold every data set's CSV files.

    A data set whose files are there and right is not asked for. A download that broke off is kept as a
    hidden ``.part`` and continued by the next call. All of a zip's files are checked before the first is
    put in place, so a wrong one replaces nothing.

    Parameters
    ----------
    folder : Path
        Made if missing.
    sources : sequence of Source, optional
        Default: `load_sources`.
    base_url : str
        A zip is at ``<base_url>/<id>/download/<version>``.

    Raises
    ------
    FetchError
        If the folder holds a synthetic market, the publisher refuses, the network or the disk fails, or
        a file is not what its checksum says.
    """
    if (folder / SYNTHETIC_FILE).exists():
        raise FetchError(f"{folder}: holds a synthetic market. Choose another folder for the real archive.")
    report: dict[str, list[str]] = {"written": [], "present": [], "unpinned": [], "missing": []}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            for source in sources if sources is not None else load_sources():
                held = _held(folder, source)
                if held is not None:
                    report["present"] += held
                    report["unpinned"] += [name for name in held if not source.files.get(name)]
                    continue
                url = f"{base_url.rstrip('/')}/{source.id}/download/{source.version}"
                part = folder / f".{source.id}-{source.version}.zip.part"
                _download(client, url, part, source, folder, progress or (lambda *_: None), sleep)
                written = _unpack(part, folder, source)
                report["written"] += written
                report["unpinned"] += [name for name in written if not source.files.get(name)]
                report["missing"] += [name for name in source.files if name not in written]
    except OSError as error:
        raise FetchError(
            f"{error.filename or folder}: {error.strerror or error}. Free some space or choose a folder you "
            "may write to, then run again: what has arrived is kept.",
            path=str(folder),
        ) from error
    return FetchReport(**{kind: tuple(names) for kind, names in report.items()})


def _held(folder: Path, source: Source) -> list[str] | None:
    """The names under which ``folder`` already holds the data set; None if any is missing or wrong.

    A later version may bring a file under a longer name (``..._2024.csv`` for ``..._2024_jan_to_oct.csv``):
    a CSV file that starts alike up to the year counts for it.
    """
    names = []
    for name, pin in source.files.items():
        if (folder / name).is_file():
            if pin and storage.sha256(folder / name) != pin:
                return None
            names.append(name)
            continue
        stem = re.match(r".*?\d{4}", name)
        others = sorted(path.name for path in folder.glob(f"{stem[0]}*.csv")) if stem else []
        if not others:
            return None
        names += [other for other in others if other not in source.files]
    return names or None


def _download(
    client: httpx.Client,
    url: str,
    part: Path,
    source: Source,
    folder: Path,
    progress: Progress,
    sleep: Callable[[float], None],
) -> None:
    """Bring ``part`` to the whole zip, in at most ``ATTEMPTS`` tries."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        try:
            return _receive(client, url, part, source, folder, progress)
        except httpx.TimeoutException as error:
            trouble = f"no answer in time ({type(error).__name__})"
        except httpx.ConnectError as error:
            trouble = f"cannot connect ({error}); is there internet here?"
        except httpx.RequestError as error:
            trouble = f"the connection dropped ({error})"
        except _Retry as error:
            trouble = str(error)
    kept = part.stat().st_size if part.exists() else 0
    raise FetchError(
        f"{url}: {trouble}, {ATTEMPTS} tries; {kept} bytes kept. Run again to continue, or "
        f"{_by_hand(source, folder)}",
        url=url,
        kept=kept,
    )


def _receive(
    client: httpx.Client, url: str, part: Path, source: Source, folder: Path, progress: Progress
) -> None:
    """One request: continue ``part`` if the server still has the very same bytes, else start over."""
    tag = part.with_suffix(".etag")
    done = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text("ascii")}
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:
            part.unlink(missing_ok=True)
            raise _Retry("the server has no such range")
        _refuse(answer, url, source, folder)
        span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if answer.status_code == 206 and (not span or int(span[1]) != done):
            part.unlink(missing_ok=True)
            raise _Retry("the server answered another range than asked for")
        if answer.status_code != 206:
            done = 0
            tag.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab" if done else "wb") as stream:
            validator = answer.headers.get("ETag", "")
            plain = "Content-Encoding" not in answer.headers
            if (
                plain and validator.startswith('"') and validator.isascii()
            ):  # weak ones promise no equal bytes
                tag.write_text(validator, "ascii")
            for chunk in answer.iter_bytes():
                stream.write(chunk)
                done += len(chunk)
                if done > MAX_ZIP_BYTES:
                    raise FetchError(
                        f"{url}: more than {MAX_ZIP_BYTES} bytes; this is not the archive.", url=url
                    )
                progress(source.id, done, total)
    tag.unlink(missing_ok=True)


def _refuse(answer: httpx.Response, url: str, source: Source, folder: Path) -> None:
    """Turn a bad status into words, or into another try where that can help."""
    status = answer.status_code
    if status in (200, 206):
        return
    if status == 429 or status >= 500:
        raise _Retry(f"the server answered {status}")
    if status in (401, 403):
        reason = f"the publisher refused ({status})"
    elif status == 404:
        reason = "no such data set or version (404)"
    else:
        reason = f"the server answered {status}"
    raise FetchError(
        f"{url}: {reason}. To get the {source.years} files anyway, {_by_hand(source, folder)}",
        url=url,
        status=status,
    )


def _by_hand(source: Source, folder: Path) -> str:
    return (
        f'open {PAGE_URL}/{source.id}/{source.version}, use "Download all", unzip the CSV files '
        f"into {folder}, then run again."
    )


def _unpack(part: Path, folder: Path, source: Source) -> list[str]:
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
                f"{_by_hand(source, folder)}",
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
