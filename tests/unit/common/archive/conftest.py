"""A clean synthetic market, and how to read what a test made of one."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.prices.archive import market, write
from support.prices.archive_rows import DAYS

from common.archive.reader import Archive, read_archive


@pytest.fixture
def frame() -> pd.DataFrame:
    return market(DAYS)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[pd.DataFrame], Archive]:
    """Write a synthetic market and read it back."""
    return lambda frame: read_archive(write(tmp_path / "archive", frame))
