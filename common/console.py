"""The terminal on which commands print their results."""

import sys

from rich.console import Console

LEAST = 80
"""Columns of the narrowest tables; on a narrower terminal their lines wrap, and nothing is cut off."""


def console(*, stderr: bool = False, highlight: bool = True) -> Console:
    """Return a console as wide as the terminal, or 160 columns wide if the output is not a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    terminal = Console(stderr=stderr, highlight=highlight, width=None if stream.isatty() else 160)
    terminal.width = max(terminal.width, LEAST)
    return terminal
