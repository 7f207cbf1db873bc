"""A storage root for fault tests: the release in production twice, with different forecasts."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import ReleaseNotFound, TrainingError
from common.release.manifest import MANIFEST, Release
from common.release.registry import Registry

if TYPE_CHECKING:
    from common.prices.panel import Panel

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND = "first", "second"
"""The same release, and the same without its last day of prices."""


def source(home: Path) -> Release:
    """What is in production below ``home``; where nothing was ever published, a quick synthetic release.

    Raises
    ------
    ReleaseNotFound
        If there are releases and none is in production.
    TrainingError
        If the quick training gives none.
    """
    registry = Registry(home)
    try:
        return registry.open("production")
    except ReleaseNotFound:
        if registry.releases():
            raise
    command = [sys.executable, "-m", "nsecast", "train", "--quick", "--home", str(home.resolve())]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:  # nosec B603 # our own command, no shell
        raise TrainingError("chaos: the quick training failed. See above, then `nsecast train`.")
    return registry.open("production")


def prepared(release: Release, home: Path) -> tuple[str, str]:
    """Publish a release twice below ``home``, the first of them in production; their ids."""
    from common.prices.panel import Panel

    panel = Panel.load(release.file("panel.parquet"))
    copied(release, home, FIRST)
    copied(release, home, SECOND, panel.as_of(panel.dates[-2].date()))
    Registry(home).promote(FIRST)
    return FIRST, SECOND


def copied(release: Release, home: Path, name: str, panel: "Panel | None" = None) -> Release:
    """Publish a copy, if need be with other prices; it is not promoted."""
    registry = Registry(home)
    staging = registry.stage(name)
    try:
        shutil.copytree(release.path, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        if panel is not None:
            panel.save(staging / "panel.parquet")
        return registry.publish(staging, name, info=release.info)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
