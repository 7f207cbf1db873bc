"""Where the blocks of a large job are worked on: in this process, or by an engine that is passed in."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol


class Engine(Protocol):
    """Calls functions on blocks of data.

    What ``submit`` returns stands for a result: it is passed on to other calls as it is, and only ``values``
    brings a result to the caller. The functions are importable, and calling one again does no harm.
    """

    @property
    def slots(self) -> int:
        """How many calls run at the same time."""

    def submit(self, function: Callable[..., Any], *arguments: Any, returns: int = 1) -> Any:
        """Call a function; with ``returns`` above 1 its result is a sequence of so many, each on its own."""

    def share(self, value: Any) -> Any:
        """A value that many calls are given: what is returned is passed on to them."""

    def values(self, results: Iterable[Any]) -> Iterator[Any]:
        """Results in the order given; raises what a call raised."""


class InProcess:
    """Calls every function at once in this process."""

    slots = 1

    def submit(self, function: Callable[..., Any], *arguments: Any, returns: int = 1) -> Any:
        result = function(*arguments)
        return list(result) if returns > 1 else result

    def share(self, value: Any) -> Any:
        return value

    def values(self, results: Iterable[Any]) -> Iterator[Any]:
        yield from results


IN_PROCESS: Engine = InProcess()


def even_blocks(count: int, most: int) -> Sequence[slice]:
    """``count`` things cut into as few blocks as possible of at most ``most``, of nearly the same size."""
    blocks = max(1, -(-count // most))
    edges = [count * place // blocks for place in range(blocks + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]
