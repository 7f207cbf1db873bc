"""Symbols that changed: renamed shares, delisted shares and rights of the Nairobi exchange."""

import functools
from pathlib import Path
from typing import Any, Literal

from common.config import read_toml

SYMBOLS_FILE = Path(__file__).with_name("symbols.toml")
RIGHTS = "-R"
"""Ending of the symbols of rights issues, which are not shares."""


def renamed(symbol: str) -> str | None:
    """Return the present symbol of a renamed share, None if it was not renamed; case does not matter."""
    return renamed_symbols().get(symbol.upper())


def no_share(symbol: str) -> Literal["delisted", "rights"] | None:
    """Return why a symbol has no share that is listed today; None if nothing is known about it."""
    if symbol.upper() in delisted_symbols():
        return "delisted"
    return "rights" if symbol.upper().endswith(RIGHTS) else None


def renamed_symbols() -> dict[str, str]:
    """Return the present symbol by former symbol."""
    return dict(_symbols()["renamed"])


def delisted_symbols() -> dict[str, str]:
    """Return the name of each delisted share by symbol."""
    return dict(_symbols()["delisted"])


def unlisted_companies() -> dict[str, list[str]]:
    """Return the symbols that people may mean by the upper-case name of a company that is not listed."""
    return dict(_symbols()["unlisted"])


@functools.cache
def _symbols() -> dict[str, dict[str, Any]]:
    return read_toml(SYMBOLS_FILE)
