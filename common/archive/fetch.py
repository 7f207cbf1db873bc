"""Download the real price archive: resumable, with all files checked before the first is replaced."""

import functools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from common import storage
from common.archive.download import download
from common.archive.layouts import SYNTHETIC_FILE
from common.archive.sources import Source, load_sources
from common.archive.unpack import unpack
from common.errors import FetchError

BASE_URL = "https://data.mendeley.com/public-api/zip"
TIMEOUT = httpx.Timeout(60, connect=15)
Progress = Callable[[str, int, int | None], None]
"""Called with the data set's id, the bytes so far and the total (None if unknown)."""


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
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> FetchReport:
    """Download the CSV files of every data set into ``folder``, which is created if missing.

    Data sets whose files are present and valid are skipped. An interrupted download is kept as a hidden
    ``.part`` file and continued by the next call. All files of a zip are checked before the first one is
    replaced.

    Parameters
    ----------
    sources : sequence of Source, optional
        Default: `load_sources`.
    base_url : str
        A zip is at ``<base_url>/<id>/download/<version>``.

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
                    part = folder / f".{source.id}-{source.version}.zip.part"
                    on_bytes = functools.partial(progress or (lambda *_: None), source.id)
                    by_hand = source.by_hand(folder)
                    download(client, url, part, progress=on_bytes, sleep=sleep, by_hand=by_hand)
                    names = unpack(part, folder, source)
                    report["written"] += names
                    report["missing"] += [name for name in source.files if name not in names]
                report["unpinned"] += [name for name in names if not source.files.get(name)]
    except OSError as error:
        raise FetchError(
            f"{error.filename or folder}: {error.strerror or error}. Free some space or choose a folder you "
            "may write to, then run again: downloaded data is kept.",
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
