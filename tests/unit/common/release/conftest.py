"""Fixtures of the releases' tests: a release in production, and what hostile releases must not read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.releases.refresh import in_production


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    in_production(home)
    return home


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "home"))


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of weights in it, above it, and behind a link."""
    here = tmp_path / "here"
    here.mkdir()
    for path in (tmp_path / "canary.bin", here / "canary.bin"):
        path.write_bytes(np.full(1_024, 7, "float32").tobytes())
    (here / "link.bin").symlink_to(tmp_path / "canary.bin")
    monkeypatch.chdir(here)
    return here
