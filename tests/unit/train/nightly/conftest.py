"""A storage root with an archive, before and after the first night."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.training.night import FIRST_END, after_the_first_night, write_archive

from common.release.registry import Registry
from train.nightly.nightly_record import records


@pytest.fixture(autouse=True)
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases of nights have an empty report: a real one is a third of a night and has tests of its own."""
    monkeypatch.setattr("train.publish.publish.write_report", lambda path, *_: path.write_text("<html>"))


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    """A storage root and an archive up to ``FIRST_END``; nothing is trained yet."""
    archive = write_archive(tmp_path / "archive", FIRST_END)
    return SimpleNamespace(home=tmp_path / "home", archive=archive, registry=Registry(tmp_path / "home"))


@pytest.fixture
def begun(tmp_path: Path) -> SimpleNamespace:
    """The first night is over."""
    home, archive = after_the_first_night(tmp_path)
    return SimpleNamespace(home=home, archive=archive, registry=Registry(home), first=next(records(home)))
