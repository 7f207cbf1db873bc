"""Where a run's prices come from: the user's archive, or the embedded synthetic market."""

from collections.abc import Callable
from pathlib import Path

from common.data.archive import read_archive
from common.data.market import MarketConfig, write_market
from common.data.market_files import SYNTHETIC_FILE
from common.data.panel import Panel


def load_panel(
    archive: Path | None, home: Path, *, progress: Callable[[int, int], None] | None = None
) -> Panel:
    """Read an archive folder; without one, write the synthetic market below ``home`` and read that.

    Both take the same way through the reader, so the synthetic market's planted defects are mended
    exactly like real ones.
    """
    if archive is not None:
        invented = (archive / SYNTHETIC_FILE).exists()
        return Panel.from_archive(
            read_archive(archive), source="synthetic archive" if invented else "archive"
        )
    config = MarketConfig()
    folder = home / "market" / f"seed-{config.seed}"
    write_market(folder, config, progress)
    return Panel.from_archive(read_archive(folder), source=f"synthetic seed={config.seed}")
