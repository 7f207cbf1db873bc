"""Checks of production: a check whose caller is cancelled still completes, and its release serves."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from support.releases.loaded_release import SETTINGS
from support.releases.release import made_release

from common.errors import NothingServes
from common.release.registry import Registry
from serve.inference.loaded_release import LoadedRelease
from serve.inference.release_watcher import ReleaseWatcher
from serve.observability.metrics import Observer


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for release_id in ("one", "two"):
        made_release(tmp_path, release_id, **SETTINGS)
    Registry(tmp_path).promote("one")
    return tmp_path


class Rehearsal:
    """Waits until it is allowed to end."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.count = asyncio.Event(), asyncio.Event(), 0
        self.may_end.set()

    async def __call__(self, loaded: LoadedRelease) -> None:
        self.count += 1
        self.begun.set()
        await self.may_end.wait()


def watched(home: Path, scenario: Callable[[ReleaseWatcher, Rehearsal], Awaitable[None]]) -> None:
    """Run a scenario once ``one`` serves, ``two`` is in production and its rehearsal will have to wait."""

    async def run() -> None:
        rehearsal = Rehearsal()
        watcher = ReleaseWatcher(home, Observer("off"), rehearsal)
        assert (await watcher.check()).outcome == "taken"
        Registry(home).promote("two")
        rehearsal.begun.clear()
        rehearsal.may_end.clear()
        await scenario(watcher, rehearsal)

    asyncio.run(run())


async def cancelled(task: asyncio.Task) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_look_whose_caller_is_cancelled_still_takes_the_release(home):
    async def scenario(watcher, rehearsal):
        caller = asyncio.create_task(watcher.check(force=True))
        await rehearsal.begun.wait()
        await cancelled(caller)
        rehearsal.may_end.set()
        await watcher.check()
        assert watcher.loaded.release.id == "two" and rehearsal.count == 2

    watched(home, scenario)


def test_a_caller_that_is_cancelled_while_another_look_is_under_way_leaves_it_alone(home):
    async def scenario(watcher, rehearsal):
        first = asyncio.create_task(watcher.check())
        await rehearsal.begun.wait()
        second = asyncio.create_task(watcher.check(force=True))
        await asyncio.sleep(0)
        await cancelled(second)
        assert not first.done() and watcher.loaded.release.id == "one"
        rehearsal.may_end.set()
        assert (await first).outcome == "taken"
        assert (await watcher.check()).outcome == "unchanged"

    watched(home, scenario)


def test_a_cancelled_check_is_repeated_by_the_next(home):
    async def scenario(watcher, rehearsal):
        caller = asyncio.create_task(watcher.check())
        await rehearsal.begun.wait()
        watcher._looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        rehearsal.may_end.set()
        assert (await watcher.check()).outcome == "taken"
        assert watcher.loaded.release.id == "two"

    watched(home, scenario)


def test_a_cancelled_replica_call_refuses_the_release_and_the_watcher_continues(home):
    async def run() -> None:
        async def rehearse(loaded: LoadedRelease) -> None:
            raise asyncio.CancelledError  # as a handle raises it when a replica shuts down

        watcher = ReleaseWatcher(home, Observer("off"), rehearse)
        assert (await watcher.check()).outcome == "refused"
        assert "CancelledError" in watcher.problem

    asyncio.run(run())


def test_a_release_whose_models_do_not_answer_in_time_is_not_called_missing(home):
    async def run() -> None:
        async def rehearse(loaded: LoadedRelease) -> None:
            raise TimeoutError

        watcher = ReleaseWatcher(home, Observer("off"), rehearse)
        await watcher.check()
        with pytest.raises(NothingServes, match=r"yet: one .* refused: TimeoutError\. Loading it"):
            _ = watcher.loaded

    asyncio.run(run())


def test_a_check_does_not_run_in_the_context_of_the_request_that_started_it(home):
    """Ray Serve finds a request's calls by a context variable, and cancels them with the request."""
    import ray.serve.context as serve_context

    async def run() -> None:
        ids = []

        async def rehearse(loaded: LoadedRelease) -> None:
            ids.append(serve_context._get_serve_request_context()._internal_request_id)

        watcher = ReleaseWatcher(home, Observer("off"), rehearse)
        serve_context._serve_request_context.set(
            serve_context._RequestContext(_internal_request_id="of the request")
        )
        await watcher.check()
        assert ids == [""]

    asyncio.run(run())
