"""Blocks of symbols as Ray tasks: an `Engine` that uses the current Ray session."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from cluster.connect.session import ray_session
from common.archive.reader import Archive, read_archive
from common.engine import IN_PROCESS, Engine

READ_ON_RAY = 100_000_000
"""Price files of this many bytes (about a million rows) or more are read on Ray."""
IN_FLIGHT = 3
"""Calls submitted to Ray per CPU; further calls wait in the driver, which keeps the object store small."""


class RayTasks:
    """Calls functions as Ray tasks of one CPU; results stay in Ray's object store until they are fetched.

    Ray runs a task again if its worker or node is lost, and the tasks that its arguments came from.
    """

    def __init__(self) -> None:
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._running: list[Any] = []

    def submit(self, function: Callable[..., Any], *arguments: Any, returns: int = 1) -> Any:
        """Start a call when fewer than `IN_FLIGHT` per CPU are running."""
        while len(self._running) >= IN_FLIGHT * self.slots:
            _, self._running = ray.wait(self._running, num_returns=1)
        task = _call.options(num_returns=returns, name=function.__name__)
        result = task.remote(function, *arguments)
        self._running.append(result[0] if returns > 1 else result)
        return result

    def share(self, value: Any) -> Any:
        """Put a value that many calls take into the object store, once."""
        return ray.put(value)

    def values(self, results: Iterable[Any]) -> Iterator[Any]:
        """Fetch results in the order given, one in memory at a time; raises the error of a call."""
        for result in results:
            try:
                yield ray.get(result)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None

    def cancel(self) -> None:
        """Cancel the calls that are running or waiting."""
        for result in self._running:
            with suppress(ray.exceptions.RayError):
                ray.cancel(result, force=True)


@contextmanager
def engine_for(
    size: int, minimum: int, cpus: int | None = None, address: str | None = None, shared: Path | None = None
) -> Iterator[Engine]:
    """Use Ray tasks for a job of at least the ``minimum`` size, else this process.

    Other arguments as in `ray_session`. The tasks are cancelled if the block raises, also on Ctrl-C.
    """
    if size < minimum:
        yield IN_PROCESS
        return
    with ray_session(cpus=cpus, address=address, shared=shared):
        tasks = RayTasks()
        try:
            yield tasks
        except BaseException:
            tasks.cancel()
            raise


def read_on(folder: Path, *, cpus: int | None = None, address: str | None = None) -> Archive:
    """Read an archive, on Ray if it is large; arguments as in `ray_session`, result as `read_archive`."""
    size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    with engine_for(size, READ_ON_RAY, cpus, address) as engine:
        return read_archive(folder, engine)


@ray.remote(num_cpus=1, max_retries=3)
def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # read by joblib.cpu_count: the other CPUs have tasks of their own
    return function(*arguments)
