"""The page's files, read once: each packed, and all of them named by a digest of their contents."""

import functools
import gzip
import hashlib
import importlib.metadata
import importlib.util
import mimetypes
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from common.errors import ConfigError

FOLDER = Path(__file__).parent / "static"
PAGE = "index.html"
FIRST = ("app.js", "views/market.js")
"""Scripts of the view that an address without a choice shows."""
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """One file."""

    content: bytes
    packed: bytes
    """The same by gzip."""
    media_type: str

    @property
    def tag(self) -> str:
        """A weak entity tag, the same packed or not."""
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:24]}"'


class Assets:
    """Everything in ``static`` but the page itself, by path below it, and the page that names it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != PAGE)
        contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.version = digest.hexdigest()[:12]
        """Part of every address, so that a browser may keep a file for ever."""
        self.files = {name: asset(name, content) for name, content in contents.items()}
        self.page = asset(PAGE, self._page(folder / PAGE).encode())

    def needed(self, *names: str) -> list[str]:
        """These scripts and all that they import, sorted."""
        found, open_ = set(names), list(names)
        while open_:
            name = open_.pop()
            content = self.files[name].content.decode()
            for source in re.findall(r'^import .* from "(\..+)";$', content, re.M):
                target = posixpath.normpath(posixpath.join(posixpath.dirname(name), source))
                open_ += [] if target in found else [target]
                found.add(target)
        return sorted(found)

    def _page(self, path: Path) -> str:
        """The page; it names the scripts of its first view, so that a browser asks for them at once."""
        scripts = self.needed(*FIRST)
        preload = "\n".join(
            f'<link rel="modulepreload" href="static/{self.version}/{name}">' for name in scripts
        )
        taken = "\n".join(f'<template id="{each}"></template>' for each in plotly_styles())
        values = {"version": self.version, "preload": preload, "plotly": plotly_version(), "taken": taken}
        return Template(path.read_text(encoding="utf-8")).substitute(values)


def plotly_version() -> str:
    return importlib.metadata.version("plotly")


@functools.cache
def plotly_asset() -> Asset:
    """plotly.js as installed, packed; takes half a second the first time. Raises as `plotly_file`."""
    path = plotly_file()
    return asset(path.name, path.read_bytes(), level=6)


def plotly_styles() -> list[str]:
    """Ids of the style sheets that plotly.js writes into a page (for maps, which ours has not), unless there
    is an element of that id. Raises as `plotly_file`."""
    return [
        each.decode()
        for each in re.findall(rb'getElementById\("([0-9a-f]{64})"\)', plotly_file().read_bytes())
    ]


def plotly_file() -> Path:
    """plotly.js in the installed package, which is not imported for it.

    Raises
    ------
    ConfigError
        If the package does not hold it.
    """
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise ConfigError(
        "plotly: the installed package holds no plotly.min.js. Install it again: pip install plotly."
    )


def asset(name: str, content: bytes, level: int = 9) -> Asset:
    """A file by its name, which says its type."""
    kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return Asset(content, gzip.compress(content, level, mtime=0), kind + charset)
