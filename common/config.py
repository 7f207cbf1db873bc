"""The base class of settings, and functions that read settings from TOML."""

import re
import tomllib
from pathlib import Path
from typing import Any, Self, get_args

import pydantic

from common.errors import ConfigError

LONGEST_LINE = 100
"""Characters of a malformed line shown in its error."""


class Config(pydantic.BaseModel):
    """A frozen group of settings. Unknown names are errors; units are part of the names."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def parse(cls, values: dict[str, Any], *, where: str = "settings") -> Self:
        """Validate ``values``; a ConfigError names every problem."""
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            problems = "; ".join(cls._problem(item) for item in error.errors())
            raise ConfigError(f"{where}: {problems}.") from None

    @classmethod
    def _problem(cls, item: Any) -> str:
        name, message = ".".join(map(str, item["loc"])), str(item["msg"]).removeprefix("Value error, ")
        if not name:  # about several settings, which the message names
            return message
        if item["type"] != "extra_forbidden":
            return f"{name}: {message} (got {item['input']!r})"
        return f"{name}: no such setting; known there: {', '.join(cls._known(item['loc'][:-1]))}"

    @classmethod
    def _known(cls, path: tuple[str | int, ...]) -> list[str]:
        """Return the names of the settings in the table at ``path``."""
        table: Any = cls
        for name in path:
            kinds = [table.model_fields[name].annotation] if name in table.model_fields else []
            kinds += [part for kind in kinds for part in get_args(kind)]
            table = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Config)), cls)
        return list(table.model_fields)


def read_file(path: Path) -> bytes:
    """Read a file named by the user; raises ConfigError naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Check the path.", path=str(path)) from None
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}. Check the path and its permissions."
        raise ConfigError(message, path=str(path)) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raises ConfigError naming the file if it is missing or malformed."""
    content = read_file(path)
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path}: not valid TOML: {error}{_line(content, error)}. Correct the file."
        raise ConfigError(message, path=str(path)) from None


def _line(content: bytes, error: Exception) -> str:
    """Return the line named by a TOML error, to show with it."""
    number = re.search(r"at line (\d+)", str(error))
    lines = content.decode(errors="replace").splitlines()
    if not number or int(number[1]) > len(lines):
        return ""
    shown = "".join(char if char.isprintable() else "?" for char in lines[int(number[1]) - 1].strip())
    return f": {shown[:LONGEST_LINE]}"
