"""A forecaster over a small release."""

from pathlib import Path

import pytest
from support.releases.loaded_release import SETTINGS
from support.releases.release import made_release

from common.release.registry import Registry
from serve.forecaster import Forecaster


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    home: Path = tmp_path_factory.mktemp("home")
    made_release(home, **SETTINGS)
    Registry(home).promote("made")
    return Forecaster.from_release(home=home)
