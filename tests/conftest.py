"""Small made data shared by the tests."""

from pathlib import Path

import pytest

from common.data.archive import read_archive
from common.data.market import MarketConfig, write_market
from common.data.panel import Panel

SMALL_MARKET = MarketConfig(symbols=8, first_day="2021-01-04", last_day="2023-12-29")


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight synthetic symbols over three years, in the archive's format."""
    folder = tmp_path_factory.mktemp("market")
    write_market(folder, SMALL_MARKET)
    return folder


@pytest.fixture(scope="session")
def small_panel(small_archive: Path) -> Panel:
    return Panel.from_archive(read_archive(small_archive), source="synthetic small")
