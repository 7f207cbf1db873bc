"""Sources of the real price archive, with the checksums of their files."""

from pathlib import Path

from pydantic import PositiveInt

from common.config import Config, read_toml

PAGE_URL = "https://data.mendeley.com/datasets"


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


def load_sources(path: Path | None = None) -> tuple[Source, ...]:
    """Load the data sets of ``path``, by default those shipped with the package."""
    path = path or Path(__file__).with_name("sources.toml")
    return _Sources.parse(read_toml(path), where=str(path)).dataset
