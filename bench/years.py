"""Link the newest years of an archive into their own folder."""

from pathlib import Path

PRICES = "NSE_data_all_stocks_*.csv"


def price_files(archive: Path) -> list[Path]:
    """One a year, oldest first."""
    return sorted(archive.glob(PRICES))


def newest(archive: Path, years: int, folder: Path) -> Path:
    """Link the newest price files, and all that are none, into a new folder; returns it.

    Raises
    ------
    SystemExit
        If the archive has fewer years.
    """
    prices = price_files(archive)
    if len(prices) < years:
        raise SystemExit(f"{archive}: {len(prices)} price files ({PRICES}), need {years}: one a year.")
    folder.mkdir(parents=True)
    for path in [*prices[-years:], *(path for path in archive.iterdir() if path not in prices)]:
        if path.is_file():
            (folder / path.name).symlink_to(path.absolute())
    return folder
