"""Releases with dangerous content, and the check that they are refused everywhere."""

import asyncio
from pathlib import Path

from typer.testing import CliRunner

import nsecast
from common.errors import NsecastError
from common.release.bundle import GENERAL
from common.release.registry import Registry
from serve.deployments.model_server import BundleLoader
from serve.inference.release_watcher import CheckResult, ReleaseWatcher
from serve.observability.metrics import Observer


def call(home: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and what was said; anything but an error of ours would have been a traceback."""
    done = CliRunner().invoke(nsecast.app, [*arguments, "--home", str(home)])
    if isinstance(done.exception, NsecastError):
        return 1, done.exception.message
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.output


def served(home: Path) -> CheckResult:
    """Load production as a starting server does: the release, then the general model in a replica."""

    async def rehearse(loaded) -> None:
        BundleLoader(home)(f"{GENERAL}@{loaded.release.id}")

    return asyncio.run(ReleaseWatcher(home, Observer("off"), rehearse).check())


def assert_refused_everywhere(home: Path, message: str, *, hashes_fit: bool) -> None:
    """By every command, with the reason, and by a server even if it was promoted by force."""
    for command in (("predict", "MOVES", "THIN"), ("validate", "--json")):
        status, output = call(home, *command, "--release", "made")
        assert status == 1 and message in output, (command, output)
    status, output = call(home, "models", "promote", "made")
    assert status == 1 and Registry(home).production() is None, output
    status, output = call(home, "models", "verify", "made")
    assert (status == 0) == hashes_fit, output
    status, output = call(home, "models", "promote", "made", "--force")
    assert (status == 0) == hashes_fit, output
    result = served(home)
    assert result.release is None and (result.outcome == "refused") == hashes_fit, result
