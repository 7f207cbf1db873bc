"""Storage roots and services that several integration tests share."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.releases.release import made_release
from support.serving.server import client_of, model_client_of
from support.storage.store import environment, make_bucket, moto, rclone

from common import storage
from common.release.registry import Registry


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root with two releases, ``one`` in production."""
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one")
    made_release(home, "two", shift=0.3)
    Registry(home).promote("one")
    return home


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "home"))


@pytest.fixture(scope="module")
def served(original: Path) -> Iterator[Any]:
    """Runs a scenario (client) that changes nothing with one service that all of them share."""
    with asyncio.Runner() as runner:
        model_client = model_client_of(original)
        runner.run(model_client.watcher.check())

        async def run(scenario: Any) -> Any:
            async with client_of(model_client) as client:
                return await scenario(client)

        yield lambda scenario: runner.run(run(scenario))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses by name; both have a bucket."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "bucket").mkdir()
    with moto() as careful, rclone(folder) as careless:
        make_bucket(careful, "bucket")
        yield {"moto": careful, "rclone": careless}


@pytest.fixture
def place(servers, tmp_path, monkeypatch, request, no_mirrors) -> SimpleNamespace:
    """A storage root of the test's own; `machine` is its path on a machine that has seen nothing of it."""
    name = getattr(request, "param", "moto")
    url = f"s3://bucket/{tmp_path.name}"

    def use(server: str) -> None:
        for key, value in environment(server).items():
            monkeypatch.setenv(key, value)

    def machine(cache: str, *, through: str | None = None) -> Path:
        use(through or servers[name])
        monkeypatch.setenv("NSECAST_CACHE", str(tmp_path / cache))
        return storage.home(url)

    return SimpleNamespace(name=name, server=servers[name], url=url, machine=machine, folder=tmp_path)
