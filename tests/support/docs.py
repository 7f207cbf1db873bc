"""The documentation as data: its fenced blocks, the commands in them, and whether one would be understood."""

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

import nsecast

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SEPARATORS = {"&&", "||", ";", "|", "&"}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    kind: str
    """``sh``, ``python``, ``toml``, ...; empty for plain text."""
    text: str
    before: str
    """The paragraph above it."""


def blocks(page: Path, *kinds: str) -> list[Block]:
    text = page.read_text()
    results = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        results.append(Block(match[1], match[2], before))
    return [block for block in results if block.kind in kinds]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every simple command of a shell block, without here-documents."""
    text = re.sub(r"<<'?(\w+)'?\n.*?\n *\1\n", "\n", text.replace("\\\n", " "), flags=re.DOTALL)
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split, lexer.commenters = True, "#"
        for last, words in itertools.groupby(lexer, SEPARATORS.__contains__):
            if not last:
                yield list(words)


def understood(arguments: list[str]) -> str:
    """Return the parser's error for a command line; empty if it is valid."""
    command = typer.main.get_command(nsecast.app)
    rest, context = arguments, None
    try:
        while True:
            context = command.make_context(command.name, list(rest), parent=context)
            rest = [*getattr(context, "_protected_args", ()), *context.args]
            if not (hasattr(command, "resolve_command") and rest):
                return ""
            _, command, rest = command.resolve_command(context, rest)
    except Exception as error:  # anything the parser raises for an invalid command line
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
