"""Where the real price archive is published, and what its files must be."""

from pathlib import Path

from pydantic import PositiveInt

from common.config import Config, read_toml

PAGE_URL = "https://data.mendeley.com/datasets"


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

    def by_hand(self, folder: Path) -> str:
        """What a person can do where a program is refused."""
        return (
            f'open {PAGE_URL}/{self.id}/{self.version}, use "Download all", unzip the CSV files of '
            f"{self.years} into {folder}, then run again."
        )


class _Sources(Config):
    dataset: tuple[Source, ...]


def load_sources(path: Path | None = None) -> tuple[Source, ...]:
    """The data sets of ``path``, by default those shipped with the package."""
    path = path or Path(__file__).with_name("sources.toml")
    return _Sources.parse(read_toml(path), where=str(path)).dataset
