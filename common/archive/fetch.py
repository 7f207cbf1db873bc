"""Download the real price archive; all files of a data set are checked before the first is replaced."""

import hashlib
import io
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
from pydantic import PositiveInt

from common import storage
from common.archive.layouts import SYNTHETIC_FILE
from common.config import Config, read_toml
from common.errors import FetchError

BASE_URL = "https://data.mendeley.com/public-api/zip"
PAGE_URL = "https://data.mendeley.com/datasets"
TIMEOUT = httpx.Timeout(60, connect=15)
ATTEMPTS = 4
"""Attempts per data set before a dropped connection or a server error is reported."""
BACKOFF_SECONDS = 1.0
"""Wait before the second attempt; doubled each time."""
MAX_BYTES = 256 * 2**20
"""Largest size of a data set, packed and unpacked; the largest has 11 MB unpacked."""
REASONS = {
    401: "the publisher refused (401)",
    403: "the publisher refused (403)",
    404: "no such data set or version (404)",
}


class Source(Config):
    """One published data set."""

    id: str
    """The publisher's identifier."""
    version: PositiveInt
    """The published version that the checksums belong to."""
    years: str
    """The years it covers, as text."""
    files: dict[str, str]
    """SHA-256 by file name; empty: any content is accepted."""

    def by_hand(self, folder: Path) -> str:
        """Return instructions for a manual download."""
        return (
            f'open {PAGE_URL}/{self.id}/{self.version}, use "Download all", unzip the CSV files of '
            f"{self.years} into {folder}, then run again."
        )


class _Sources(Config):
    dataset: tuple[Source, ...]


def load_sources() -> tuple[Source, ...]:
    """Load the data sets that are shipped with the package."""
    path = Path(__file__).with_name("sources.toml")
    return _Sources.parse(read_toml(path), where=str(path)).dataset


@dataclass(frozen=True)
class FetchReport:
    """Names of the files, by result."""

    written: tuple[str, ...]
    present: tuple[str, ...]
    unpinned: tuple[str, ...]
    """Those written or present for which no checksum is known."""
    missing: tuple[str, ...]
    """Expected files that the published zip does not contain."""


def fetch_archive(
    folder: Path,
    *,
    sources: Sequence[Source] | None = None,
    base_url: str = BASE_URL,
    sleep: Callable[[float], None] = time.sleep,
) -> FetchReport:
    """Download the CSV files of every data set into ``folder``, which is created if missing.

    Data sets whose files are present and valid are skipped.

    Parameters
    ----------
    sources : default: `load_sources`
    base_url : a zip is at ``<base_url>/<id>/download/<version>``

    Raises
    ------
    FetchError
        If the folder holds a synthetic market, the publisher refuses, the network or the disk fails, or
        a file does not match its checksum.
    """
    if (folder / SYNTHETIC_FILE).exists():
        raise FetchError(f"{folder}: holds a synthetic market. Choose another folder for the real archive.")
    report: dict[str, list[str]] = {"written": [], "present": [], "unpinned": [], "missing": []}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            for source in sources if sources is not None else load_sources():
                names = _present(folder, source)
                if names is not None:
                    report["present"] += names
                else:
                    url = f"{base_url.rstrip('/')}/{source.id}/download/{source.version}"
                    by_hand = source.by_hand(folder)
                    files = _unpack(_download(client, url, sleep, by_hand), source, by_hand)
                    for name, content in files.items():
                        storage.write_bytes(folder / name, content)
                    names = list(files)
                    report["written"] += names
                    report["missing"] += [name for name in source.files if name not in files]
                report["unpinned"] += [name for name in names if not source.files.get(name)]
    except OSError as error:
        raise FetchError(
            f"{error.filename or folder}: {error.strerror or error}. Free some space or choose a folder you "
            "may write to, then run again: complete data sets are kept.",
            path=str(folder),
        ) from error
    return FetchReport(**{kind: tuple(names) for kind, names in report.items()})


def _present(folder: Path, source: Source) -> list[str] | None:
    """Return the data set's files in ``folder``; None if any of them is missing or wrong.

    A later version may have a file of another period (``..._2024.csv`` for ``..._2024_jan_to_oct.csv``), so
    any CSV file with the same name up to the year is accepted.
    """
    names = []
    for name, checksum in source.files.items():
        if (folder / name).is_file():
            if checksum and storage.sha256(folder / name) != checksum:
                return None
            names.append(name)
            continue
        stem = re.match(r".*?\d{4}", name)
        others = sorted(path.name for path in folder.glob(f"{stem[0]}*.csv")) if stem else []
        if not others:
            return None
        names += [other for other in others if other not in source.files]
    return names or None


def _download(client: httpx.Client, url: str, sleep: Callable[[float], None], by_hand: str) -> bytes:
    """Return the zip at an address, in at most ``ATTEMPTS`` attempts."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        try:
            return _receive(client, url)
        except httpx.TimeoutException as error:
            trouble = f"no answer in time ({type(error).__name__})"
        except httpx.ConnectError as error:
            trouble = f"cannot connect ({error}); is there internet here?"
        except httpx.RequestError as error:
            trouble = f"the connection dropped ({error})"
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            trouble = REASONS.get(status, f"the server answered {status}")
            if status != 429 and status < 500:
                raise FetchError(
                    f"{url}: {trouble}. To get the files anyway, {by_hand}", url=url, status=status
                ) from None
    raise FetchError(f"{url}: {trouble}, {ATTEMPTS} tries. Run again, or {by_hand}", url=url)


def _receive(client: httpx.Client, url: str) -> bytes:
    content = bytearray()
    with client.stream("GET", url) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_BYTES:
                raise FetchError(f"{url}: more than {MAX_BYTES} bytes; this is not the archive.", url=url)
    return bytes(content)


def _unpack(content: bytes, source: Source, by_hand: str) -> dict[str, bytes]:
    """Return the CSV files of a zip by their bare names, after checking them."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            members = {PurePosixPath(member.filename).name: member for member in bundle.infolist()}
            chosen = {
                name: member
                for name, member in members.items()
                if name.lower().endswith(".csv") and not name.startswith(".") and not member.is_dir()
            }
            if sum(member.file_size for member in chosen.values()) > MAX_BYTES:
                raise FetchError(f"{source.id}: unpacks to more than {MAX_BYTES} bytes.", dataset=source.id)
            files = {name: bundle.read(member) for name, member in chosen.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FetchError(
            f"{source.id}: the download is not a complete zip ({error}). Run again, or {by_hand}",
            dataset=source.id,
        ) from error
    if not files:
        raise FetchError(f"{source.id}: the zip contains no CSV file.", dataset=source.id)
    for name, file in files.items():
        got, expected = hashlib.sha256(file).hexdigest(), source.files.get(name)
        if expected and got != expected:
            raise FetchError(
                f"{name}: sha256 {got}, expected {expected}. The published file changed or the download is "
                "damaged; nothing was replaced. Run again; if it persists, compare with "
                f"{PAGE_URL}/{source.id}.",
                file=name,
                got=got,
                expected=expected,
            )
    return files
