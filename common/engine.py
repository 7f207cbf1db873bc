"""The engine that works on the blocks of a large job: this process, or one that is passed in."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol


class Engine(Protocol):
    """Calls functions on blocks of data.

    ``submit`` returns a reference to a result, which other calls accept as an argument; only ``values``
    fetches results. Functions must be importable and safe to call again.
    """

    @property
    def slots(self) -> int:
        """Number of calls that run at the same time."""

    def submit(self, function: Callable[..., Any], *arguments: Any, returns: int = 1) -> Any:
        """Call a function; with ``returns`` above 1, return one reference for each item of its result."""

    def share(self, value: Any) -> Any:
        """Return a reference to a value that many calls take as an argument."""

    def values(self, results: Iterable[Any]) -> Iterator[Any]:
        """Fetch results in the order given; raises the error of a call."""


class InProcess:
    """Calls every function immediately in this process."""

    slots = 1

    def submit(self, function: Callable[..., Any], *arguments: Any, returns: int = 1) -> Any:
        result = function(*arguments)
        return list(result) if returns > 1 else result

    def share(self, value: Any) -> Any:
        return value

    def values(self, results: Iterable[Any]) -> Iterator[Any]:
        yield from results


IN_PROCESS: Engine = InProcess()


def even_blocks(count: int, max_size: int) -> Sequence[slice]:
    """Split ``count`` items into the fewest blocks of at most ``max_size``, of nearly equal size."""
    blocks = max(1, -(-count // max_size))
    edges = [count * block // blocks for block in range(blocks + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]
