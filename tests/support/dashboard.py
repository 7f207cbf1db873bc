"""A server over a built release that can be stopped and restarted, and a browser for its page."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import nsecast
from cluster.connect.ports import free_port
from cluster.monitor.cli import BREACH
from common.release.registry import Registry
from serve.views.accuracy import LATEST
from support.processes import end_all
from support.release import made_exchange

ROOT = Path(__file__).resolve().parents[2]
START_S, STOP_S = 180, 90
ALL = 66
NOW, BEFORE = "20231229-made", "20231229-before"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
ARGUMENTS += ("--disable-background-networking", "--disable-component-update")


def browser_of() -> Iterator[Any]:
    """Debian's chromium, for as long as a fixture lives."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        try:
            yield started
        finally:
            started.close()


def made_home(home: Path) -> Path:
    """A storage root with the exchange's 66 counters in production, and another release before it."""
    release, registry = made_exchange(home, NOW, shift=2.0), Registry(home)
    staging = registry.stage(BEFORE)
    shutil.copytree(release.path, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
    registry.publish(staging, BEFORE, info=release.info)
    registry.promote(BEFORE)
    registry.promote(NOW)
    return home


class DashboardServer:
    """``nsecast serve`` over a storage root, always on the same port."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = home / "log"

    def start(self) -> None:
        settings = self.home / "settings.json"
        settings.write_text(json.dumps({"specific_max": 1, "reload_every_s": 0.5}))
        command = [
            sys.executable,
            "-m",
            "nsecast",
            "serve",
            "--port",
            str(self.port),
            "--home",
            str(self.home),
        ]
        with self._log.open("w") as out:
            self._process = subprocess.Popen(
                [*command, "--settings", str(settings)],
                cwd=ROOT,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while "Ctrl-C stops" not in self._log.read_text():
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop as by Ctrl-C."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(STOP_S) == 0

    def kill(self) -> None:
        """End everything, whatever failed."""
        if self._process is not None:
            end_all(self._process)

    def looked(self) -> None:
        """Run `nsecast monitor` once."""
        if not (self.home / LATEST).exists():
            result = CliRunner().invoke(nsecast.app, ["monitor", "--home", str(self.home)])
            assert result.exit_code in (0, BREACH), result.output
