"""Small synthetic data that tests share, and the rules for all tests: signals, processes, skips."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from support.machine.processes import end_children, mark_children, signals_as_in_a_terminal
from support.once import share
from support.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

from common.archive.reader import read_archive
from common.prices.panel import Panel
from common.synthetic.market import MarketConfig, write_market

SMALL_MARKET = MarketConfig(symbols=8, first_day="2021-01-04", last_day="2023-12-29")


SLOW = (
    "test_retrain_command",
    "test_tune",
    "test_cluster_failures",
    "test_train_command",
    "test_serve_beyond_loopback",
    "test_serve_node_loss",
    "test_cluster",
    "test_chaos",
    "test_rivals",
    "test_live",
    "test_serve_http",
    "test_views",
    "test_serve_deploy",
    "test_served_log",
    "test_report_page",
    "test_fleet",
    "test_own_market",
    "test_object_storage",
    "test_object_storage_runs",
    "test_serve_schemathesis",
    "test_docs",
    "test_nightly",
    "test_nightly_stops",
    "test_nightly_refresh",
    "test_report_size",
    "test_gate_horizons",
    "test_gate_runs",
    "test_checklist",
    "test_gate",
    "test_graph",
    "test_baselines",
    "test_fit",
)
"""Files that take longest, so that processes that begin with them end at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Alternate files whose tests wait for servers with files whose tests compute, the slowest first."""
    files = sorted({item.path for item in items}, key=lambda path: (_place(path), path))
    waiting = [path for path in files if "unit" not in path.parts]
    computing = [path for path in files if "unit" in path.parts]
    order = {path: at / len(group) for group in (waiting, computing) for at, path in enumerate(group)}
    items.sort(key=lambda item: order[item.path])


def _place(path: Path) -> int:
    return SLOW.index(path.stem) if path.stem in SLOW else len(SLOW)


def pytest_configure() -> None:
    share()
    signals_as_in_a_terminal()
    mark_children()
    hypothesis.settings.register_profile("suite", deadline=None)  # machines are shared: seconds prove nothing
    hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="module", autouse=True)
def nothing_outlives_its_tests() -> Iterator[None]:
    """End the processes that a module's tests started and left behind, even if a test failed."""
    yield
    if left := end_children():
        warnings.warn(f"left over after the tests, and ended: {left}", stacklevel=1)


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
    """Forget all object stores before and after the test."""
    from support.storage.store import forget_mirrors

    forget_mirrors()
    yield
    forget_mirrors()


@pytest.fixture
def two_machines(tmp_path: Path, no_mirrors: None) -> tuple[Path, Path]:
    """The storage roots of two machines that share an in-memory store."""
    from obstore.store import MemoryStore
    from support.storage.store import machine

    store = MemoryStore()
    return machine(tmp_path / "a", store), machine(tmp_path / "b", store)
