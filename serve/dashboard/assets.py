"""The files of the page, read and compressed once; their addresses contain a digest of their contents."""

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
"""Scripts of the view that is shown by default."""
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """One file."""

    content: bytes
    packed: bytes
    """Compressed by gzip."""
    media_type: str

    @property
    def tag(self) -> str:
        """A weak entity tag, the same for both encodings."""
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:24]}"'


class Assets:
    """The page, and all other files in ``static`` by their relative paths."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != PAGE)
        contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.version = digest.hexdigest()[:12]
        """Part of every address, so that a browser may cache a file forever."""
        self.files = {name: asset(name, content) for name, content in contents.items()}
        self.page = asset(PAGE, self._page(folder / PAGE).encode())

    def with_imports(self, *names: str) -> list[str]:
        """Return these scripts and all that they import, sorted."""
        scripts: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in scripts:
                scripts.add(name)
                content, folder = self.files[name].content.decode(), posixpath.dirname(name)
                imports = re.findall(r'^import .* from "(\..+)";$', content, re.M)
                pending += [posixpath.normpath(posixpath.join(folder, path)) for path in imports]
        return sorted(scripts)

    def _page(self, path: Path) -> str:
        """Render the page with links that preload the scripts of the default view."""
        scripts = self.with_imports(*FIRST)
        preload = "\n".join(
            f'<link rel="modulepreload" href="static/{self.version}/{name}">' for name in scripts
        )
        styles = "\n".join(f'<template id="{style}"></template>' for style in plotly_styles())
        values = {"version": self.version, "preload": preload, "plotly": plotly_version(), "styles": styles}
        return Template(path.read_text(encoding="utf-8")).substitute(values)


def plotly_version() -> str:
    return importlib.metadata.version("plotly")


@functools.cache
def plotly_asset() -> Asset:
    """Compress the installed plotly.js; takes half a second the first time. Raises as `plotly_file`."""
    path = plotly_file()
    return asset(path.name, path.read_bytes(), level=6)


def plotly_styles() -> list[str]:
    """Return the ids of the style sheets that plotly.js adds to a page without elements of these ids.

    The page does not need them, as it has no maps. Raises as `plotly_file`.
    """
    ids = re.findall(rb'getElementById\("([0-9a-f]{64})"\)', plotly_file().read_bytes())
    return [style.decode() for style in ids]


def plotly_file() -> Path:
    """Return the path of plotly.js in the installed package, without importing it.

    Raises
    ------
    ConfigError
        If the package does not contain it.
    """
    spec = importlib.util.find_spec("plotly")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise ConfigError(
        "plotly: the installed package has no plotly.min.js. Install it again: pip install plotly."
    )


def asset(name: str, content: bytes, level: int = 9) -> Asset:
    """Return an asset; the media type follows from the name."""
    kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return Asset(content, gzip.compress(content, level, mtime=0), kind + charset)
