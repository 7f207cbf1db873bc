"""Where a run's prices come from: the user's archive, or the embedded synthetic market."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import storage
from common.archive.layouts import SYNTHETIC_FILE
from common.archive.mixed_dates import refuse_mixed
from common.archive.reader import Archive, read_archive
from common.errors import ArchiveError
from common.prices.panel import Panel
from common.synthetic.market import MarketConfig, write_market


def load_panel(
    archive: Path | None,
    home: Path,
    *,
    accept_mixed_dates: bool = False,
    progress: Callable[[int, int], None] | None = None,
    reader: Callable[[Path], Archive] = read_archive,
) -> Panel:
    """The prices of an archive folder, or of the synthetic market; arguments and errors as `load_archive`."""
    found, source = load_archive(
        archive, home, accept_mixed_dates=accept_mixed_dates, progress=progress, reader=reader
    )
    return Panel.from_archive(found, source)


def load_archive(
    archive: Path | None,
    home: Path,
    *,
    accept_mixed_dates: bool = False,
    progress: Callable[[int, int], None] | None = None,
    reader: Callable[[Path], Archive] = read_archive,
) -> tuple[Archive, str]:
    """Read an archive folder; without one, write the synthetic market below ``home`` and read that.

    Both take the same way through the reader, so the synthetic market's planted defects are mended
    exactly like real ones. The text says where the prices come from, see `Panel.source`.

    Raises
    ------
    ArchiveError
        If the folder is no archive, or a synthetic market whose writing was cut off; if its dates look mixed
        up and ``accept_mixed_dates`` is false.
    """
    if archive is not None:
        made = _made(archive)
        if made and not made.get("complete"):
            raise ArchiveError(f"{archive}: a synthetic market that was never finished. Write it again.")
        found = reader(archive)
        if not accept_mixed_dates:
            refuse_mixed(archive, found.mixed)
        return found, "synthetic archive" if made else "archive"
    config = MarketConfig()
    folder = home / "market" / f"seed-{config.seed}"
    with storage.exclusive(folder.with_suffix(".lock")):
        made = _made(folder)
        if not made.get("complete") or made.get("config") != config.model_dump(mode="json"):
            write_market(folder, config, progress)
        return read_archive(folder), f"synthetic seed={config.seed}"


def _made(folder: Path) -> dict[str, Any]:
    """What the synthetic market in a folder says of itself; empty if it holds none."""
    try:
        made: dict[str, Any] = json.loads((folder / SYNTHETIC_FILE).read_bytes())
        return made
    except OSError:
        return {}
    except ValueError:
        return {"complete": False}
