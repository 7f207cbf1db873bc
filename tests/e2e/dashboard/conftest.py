"""Fixtures of the page's tests: a real server and browser."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.serving.dashboard import DashboardServer, beside, made_home
from support.serving.server import serving


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[DashboardServer]:
    server = DashboardServer(home)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def in_process(home: Path) -> Iterator[str]:
    """The address of a server in this process, without Ray: for what needs no replicas and no restart."""
    with ThreadPoolExecutor(1) as other, beside(other, serving(home)) as url:
        yield url


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: below ``NSECAST_ARTIFACTS`` if that is set."""
    folder = Path(os.environ.get("NSECAST_ARTIFACTS") or tmp_path_factory.mktemp("artifacts")) / "dashboard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens a page with an empty cache; at the end it must have logged nothing but what was ``allowed``.

    The page is that of ``server`` if the test uses it, otherwise of the server in this process.
    """
    contexts, troubles = [], []

    def open_at(
        view: str, width: int = 1440, scheme: str = "light", url: str = "", allowed: str = "^$"
    ) -> Any:
        if not url and "server" in request.fixturenames:
            url = request.getfixturevalue("server").url
        url = url or request.getfixturevalue("in_process")
        phone = width < 500
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=phone, has_touch=phone
        )
        contexts.append(context)
        page = context.new_page()

        def heard(text: str) -> None:
            if not re.search(allowed, text):
                troubles.append(text)

        page.on(
            "console", lambda message: heard(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: heard(str(error)))
        page.on("request", lambda sent: None if sent.url.startswith((url, "data:")) else heard(sent.url))
        page.goto(f"{url}/#{view}")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert troubles == []
