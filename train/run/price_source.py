"""Load a run's prices: from the user's archive, or from the embedded synthetic market."""

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
    reader: Callable[[Path], Archive] = read_archive,
) -> Panel:
    """Load an archive folder or the synthetic market as a panel; arguments and errors as `load_archive`."""
    rows, source = load_archive(archive, home, accept_mixed_dates=accept_mixed_dates, reader=reader)
    return Panel.from_archive(rows, source)


def load_archive(
    archive: Path | None,
    home: Path,
    *,
    accept_mixed_dates: bool = False,
    reader: Callable[[Path], Archive] = read_archive,
) -> tuple[Archive, str]:
    """Read an archive folder; without one, write the synthetic market below ``home`` and read that.

    Returns the archive and the name of its source, see `Panel.source`. The same reader reads both, so the
    synthetic market's defects are repaired exactly like real ones.

    Raises
    ------
    ArchiveError
        If the folder is not an archive, or an unfinished synthetic market; if its dates look mixed up and
        ``accept_mixed_dates`` is false.
    """
    if archive is not None:
        market = _market(archive)
        if market and not market.get("complete"):
            raise ArchiveError(f"{archive}: a synthetic market that was never finished. Write it again.")
        rows = reader(archive)
        if not accept_mixed_dates:
            refuse_mixed(archive, rows.mixed)
        return rows, "synthetic archive" if market else "archive"
    config = MarketConfig()
    folder = home / "market" / f"seed-{config.seed}"
    with storage.exclusive(folder.with_suffix(".lock")):
        market = _market(folder)
        if not market.get("complete") or market.get("config") != config.model_dump(mode="json"):
            write_market(folder, config)
        return read_archive(folder), f"synthetic seed={config.seed}"


def _market(folder: Path) -> dict[str, Any]:
    """The description of the synthetic market in a folder; empty if the folder holds none."""
    try:
        market: dict[str, Any] = json.loads((folder / SYNTHETIC_FILE).read_bytes())
        return market
    except OSError:
        return {}
    except ValueError:
        return {"complete": False}
