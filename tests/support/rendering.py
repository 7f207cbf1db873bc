"""What a user sees: a terminal to draw on, and a page of HTML as a reader and a browser see it."""

import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

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


LOADING = {"src", "srcset", "href", "action", "data", "poster", "formaction", "background"}
PAIRED = {
    "table",
    "thead",
    "tbody",
    "tr",
    "td",
    "th",
    "section",
    "div",
    "ul",
    "dl",
    "details",
    "figure",
    "select",
}


@dataclass
class Seen(HTMLParser):
    """What stands in a page: tags with attributes, cells by table, text outside programs."""

    tags: list[tuple[str, dict]] = field(default_factory=list)
    tables: dict[str, list[list[dict]]] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)
    text: str = ""
    open_tags: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.place, self.rows, self.inside = "", [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else ""
        if tag in PAIRED:
            self.open_tags.append(tag)
        if tag == "script":
            self.scripts.append("")
        if tag == "table":
            self.rows = self.tables.setdefault(dict(attrs).get("id", f"table-{len(self.tables)}"), [])
        if tag == "tr":
            self.rows.append([dict(attrs)])
        if tag in ("td", "th"):
            self.rows[-1].append(dict(attrs) | {"text": ""})

    def handle_endtag(self, tag):
        self.inside = ""
        if tag in PAIRED and self.open_tags.pop() != tag:
            self.mismatched.append(tag)

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif not self.inside:
            self.text += data
            if self.rows and self.rows[-1][1:] and self.open_tags[-1:] in (["td"], ["th"]):
                self.rows[-1][-1]["text"] += data
