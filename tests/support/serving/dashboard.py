"""A server over a built release that can be stopped and restarted, and a browser for its page."""

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import nsecast
from cluster.connect.ports import free_port
from cluster.monitor.cli import BREACH
from common.release.registry import Registry
from serve.views.accuracy import LATEST
from support.machine.hosts import network
from support.machine.processes import end_all
from support.releases.release import made_exchange
from support.serving.serve_command import ROOT, serve_command, stop, wait_until_serving

ALL = 66
NOW, BEFORE = "20231229-made", "20231229-before"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
ARGUMENTS += ("--disable-background-networking", "--disable-component-update")

READY = """name => document.querySelector(`.view.${name} h2`)
    && !document.querySelector("main [aria-busy], main .loading, main .chart:not([hidden]) .chart-wait")"""


def browser_of() -> Iterator[Any]:
    """Debian's chromium, for as long as a fixture lives."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with network(fcntl.LOCK_SH), sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        try:
            yield started
        finally:
            started.close()


def made_home(home: Path) -> Path:
    """A storage root with the exchange's 66 stocks in production, and another release before it."""
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
        settings = {"specific_max": 1, "reload_every_s": 0.5}
        command = serve_command(self.home, port=self.port, settings=settings)
        with self._log.open("w") as out:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
            )
        wait_until_serving(self._process, self._log)

    def stop(self) -> None:
        """Stop as by Ctrl-C."""
        assert self._process is not None
        stop(self._process)

    def kill(self) -> None:
        """End everything, whatever failed."""
        if self._process is not None:
            end_all(self._process)

    def looked(self) -> None:
        """Run `nsecast monitor` once."""
        if not (self.home / LATEST).exists():
            result = CliRunner().invoke(nsecast.app, ["monitor", "--home", str(self.home)])
            assert result.exit_code in (0, BREACH), result.output


def ready(page: Any, view: str) -> Any:
    """The page once that view is drawn, charts and all."""
    page.wait_for_function(READY, arg=view.split("/")[0])
    return page


def go(page: Any, view: str) -> Any:
    page.evaluate("view => { location.hash = view; }", view)
    return ready(page, view)


@contextmanager
def beside(other: ThreadPoolExecutor, manager: Any) -> Iterator[str]:
    """A context of another thread: the browser's events have this one."""
    result = other.submit(manager.__enter__).result()
    try:
        yield result
    finally:
        other.submit(manager.__exit__, None, None, None).result()


def column(page: Any, heading: str) -> list[str]:
    heads = page.locator(".tall thead th").all_inner_texts()
    place = next(number for number, text in enumerate(heads, 1) if text.startswith(heading))
    return page.locator(f".tall tbody tr > :nth-child({place})").all_inner_texts()
