"""Small made data shared by the tests."""

from collections.abc import Iterator
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


@pytest.fixture
def no_mirrors() -> Iterator[None]:
    """Afterwards this process knows of no object store, as before."""
    from made_store import forget_mirrors

    forget_mirrors()
    yield
    forget_mirrors()


@pytest.fixture
def two_machines(tmp_path: Path, no_mirrors: None) -> tuple[Path, Path]:
    """The storage roots of two machines with one store, in memory."""
    from made_store import machine
    from obstore.store import MemoryStore

    store = MemoryStore()
    return machine(tmp_path / "a", store), machine(tmp_path / "b", store)
