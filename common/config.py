"""The base of every settings model, and reading settings from TOML."""

import re
import tomllib
from pathlib import Path
from typing import Any, Self, get_args

import pydantic

from common.errors import ConfigError


class Config(pydantic.BaseModel):
    """A frozen group of settings; an unknown name is an error, units are in the names."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def parse(cls, values: dict[str, Any], *, where: str = "settings") -> Self:
        """Validate ``values``; every problem is named in one ConfigError."""
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            problems = "; ".join(cls._problem(item) for item in error.errors())
            raise ConfigError(f"{where}: {problems}.") from None

    @classmethod
    def _problem(cls, item: Any) -> str:
        name = ".".join(map(str, item["loc"])) or cls.__name__
        if item["type"] != "extra_forbidden":
            return f"{name}: {item['msg']} (got {item['input']!r})"
        return f"{name}: no such setting; known there: {', '.join(cls._known(item['loc'][:-1]))}"

    @classmethod
    def _known(cls, path: tuple[str | int, ...]) -> list[str]:
        """Names of the settings in the table at ``path``."""
        table: Any = cls
        for name in path:
            kinds = [table.model_fields[name].annotation] if name in table.model_fields else []
            kinds += [part for kind in kinds for part in get_args(kind)]
            table = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Config)), cls)
        return list(table.model_fields)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raises ConfigError naming the file if it is missing or malformed."""
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.", path=str(path)) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.", path=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}{_line(path, error)}.", path=str(path)) from None


def _line(path: Path, error: ValueError) -> str:
    """The line that a TOML error speaks of, to be shown with it."""
    number = re.search(r"at line (\d+)", str(error))
    lines = path.read_text(errors="replace").splitlines()
    return f": {lines[int(number[1]) - 1].strip()}" if number and int(number[1]) <= len(lines) else ""
