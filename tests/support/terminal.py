"""A terminal to draw on."""

import io
import re

import pytest
from rich.console import Console


def render(view, *, width=120, height=40):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
    console.print(view)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def capable_terminal(monkeypatch):
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
