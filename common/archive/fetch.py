"""Download the real price archive: resumed where it broke off, checked file by file, put in place whole."""

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
"""Called with the data set's id, bytes held so far and bytes in all (None if the server does not say)."""


@dataclass(frozen=True)
class FetchReport:
    """File names by what became of them; one that came without a checksum is in ``unpinned`` as well."""

    written: tuple[str, ...]
    present: tuple[str, ...]
    unpinned: tuple[str, ...]
    missing: tuple[str, ...]
    """Expected names the published zip no longer holds."""


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
                report_size = functools.partial(progress or (lambda *_: None), source.id)
                download(client, url, part, progress=report_size, sleep=sleep, by_hand=source.by_hand(folder))
                written = unpack(part, folder, source)
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
