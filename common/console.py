"""The terminal on which commands print their results."""

import sys

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, or 160 columns wide if the output is not a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 160)
