"""Calls to every replica: one that hangs, fails or is gone costs neither the others nor their answers."""

import asyncio
import inspect
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from support.releases.loaded_release import loaded_release

from common.errors import BundleError
from serve.model_client import rehearsal
from serve.model_client.broadcast import EVERY, BroadcastResult, call_every
from serve.model_client.messages import ModelResponse
from serve.model_client.rehearsal import rehearse
from serve.observability.metrics import Observer
from serve.views import releases
from serve.views.releases import Deployments

GENERAL, SPECIFIC = "general", "stock_specific"
WITHIN_S = 0.2


class Result:
    """What Ray Serve gives for one replica that was called."""

    def __init__(self, name: str, answer: Any) -> None:
        self._actor_id, self._answer = SimpleNamespace(hex=lambda: name), answer
        self.cancelled = False

    async def get_async(self) -> Any:
        if self._answer is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


class Handle:
    """Of a deployment with these replicas; an answer of None hangs."""

    empty: list[Result] | None = None
    """What Ray returns if all replicas have just died."""

    def __init__(self, **answers: Any) -> None:
        self.results = [Result(name, answer) for name, answer in answers.items()]
        self.calls: list[tuple[Any, ...]] = []

    def broadcast(self, *call: Any) -> "Handle":
        self.calls.append(call)
        return self

    async def _fetch_replica_results_async(self) -> list[Result]:
        if self.empty is not None:
            return self.empty
        if not self.results:
            raise RuntimeError("no replica is running")
        return self.results


def called(handle: Handle) -> BroadcastResult:
    return asyncio.run(call_every(handle, "stats", within_s=WITHIN_S))


def test_replicas_that_have_all_just_died_are_reported_as_silent():
    handle = Handle()
    handle.empty = []
    assert asyncio.run(call_every(handle, "stats", within_s=WITHIN_S)) == BroadcastResult({}, (EVERY,))


def test_a_replica_that_hangs_is_named_and_left_out_and_the_others_answer(caplog):
    handle = Handle(a=1, b=None, c=3)
    assert called(handle) == BroadcastResult({"a": 1, "c": 3}, ("b",))
    assert handle.results[1].cancelled and "actor=b" in caplog.text


def test_a_replica_that_fails_or_whose_call_is_cancelled_is_named_and_left_out(caplog):
    handle = Handle(a=ConnectionError("gone"), b=asyncio.CancelledError(), c=3)
    assert called(handle) == BroadcastResult({"c": 3}, ("a", "b"))
    assert "gone" in caplog.text


def test_a_deployment_without_replicas_is_reported_as_silent():
    assert called(Handle()) == BroadcastResult({}, (EVERY,))


def test_a_caller_that_is_cancelled_leaves_no_call_behind():
    async def run() -> None:
        handle = Handle(a=None)
        caller = asyncio.create_task(call_every(handle, "stats", within_s=60))
        await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0)
        assert handle.results[0].cancelled

    asyncio.run(run())


def rehearsed(
    forecasts: BroadcastResult, loads: BroadcastResult, responses: list[ModelResponse] | None = None
) -> Any:
    """The result of a rehearsal with these replies, and its calls."""
    calls = []

    async def broadcast(tier: str, method: str, *arguments: Any, within_s: float) -> BroadcastResult:
        calls.append((tier, method))
        return forecasts if tier == GENERAL else loads

    async def ask(prepared: Any) -> list[ModelResponse]:
        calls.append((GENERAL, "ask"))
        assert responses is not None, "no further call was expected"
        return responses

    return asyncio.run(rehearse(loaded_release(), broadcast, ask)), calls


def reply(response: ModelResponse) -> Any:
    return SimpleNamespace(singles=lambda: [response])


GOOD, BAD = ModelResponse(None), ModelResponse(None, error=BundleError("model general: not usable."))


def test_a_rehearsal_names_the_replicas_of_both_tiers_that_it_did_not_reach(caplog):
    replies = BroadcastResult({"a": reply(GOOD)}, ("b",)), BroadcastResult({"c": {}}, ("d", "e"))
    silent, calls = rehearsed(*replies)
    assert silent == {GENERAL: ("b",), SPECIFIC: ("d", "e")}
    assert calls == [(GENERAL, "forecast"), (SPECIFIC, "load")]
    logged = [record for record in caplog.records if record.name == "serve.model_client.rehearsal"]
    assert [record.levelno for record in logged] == [logging.ERROR] * 2


def test_a_rehearsal_fails_if_any_general_replica_cannot_use_the_model():
    with pytest.raises(BundleError, match="not usable"):
        rehearsed(BroadcastResult({"a": reply(GOOD), "b": reply(BAD)}, ()), BroadcastResult({"c": {}}, ()))


def test_a_rehearsal_that_no_general_replica_answers_waits_for_one():
    silent, calls = rehearsed(BroadcastResult({}, (EVERY,)), BroadcastResult({}, (EVERY,)), [GOOD])
    assert calls[-1] == (GENERAL, "ask") and silent[GENERAL] == (EVERY,)
    with pytest.raises(BundleError):
        rehearsed(BroadcastResult({}, (EVERY,)), BroadcastResult({}, ()), [BAD])


def test_a_model_that_a_replica_cannot_load_is_logged(caplog):
    rehearsed(BroadcastResult({"a": reply(GOOD)}, ()), BroadcastResult({"c": {"MOVES@made": "damaged"}}, ()))
    assert "MOVES@made: damaged" in caplog.text


def test_incomplete_rehearsals_are_counted_and_belong_to_no_tier():
    observer = Observer("off")
    observer.not_rehearsed("made", SPECIFIC, 2)
    seen = observer.snapshot()
    assert seen["rehearsals_incomplete"] == 1 and seen["tiers"] == {}


def test_a_controller_that_hangs_holds_up_one_thread_and_no_answer(monkeypatch):
    calls, go_on = [], threading.Event()

    def hang() -> tuple[()]:
        calls.append(threading.get_ident())
        go_on.wait(10)
        return ()

    monkeypatch.setattr(releases, "_deployments", hang)

    async def run() -> None:
        deployments = Deployments()
        try:
            assert await deployments.look_within(0.05) == ()
            assert await deployments.look_within(5) == () and len(calls) == 1
        finally:
            go_on.set()

    asyncio.run(run())


def test_the_time_limits_of_replicas_leave_room_within_a_request_and_a_rehearsal():
    from serve.ingress.service_routes import REPLY_S as controller_s
    from serve.model_client.client import REHEARSAL_S, REPLY_S
    from serve.settings import Limits

    assert max(REPLY_S, controller_s) < Limits().timeout_s / 2
    assert 2 * rehearsal.LOAD_S < REHEARSAL_S


def test_the_private_parts_of_ray_serve_that_are_used_are_there():
    from ray.serve._private.replica_result import ActorReplicaResult, gRPCReplicaResult
    from ray.serve.handle import DeploymentBroadcastResponse

    assert inspect.iscoroutinefunction(DeploymentBroadcastResponse._fetch_replica_results_async)
    for kind, name in ((ActorReplicaResult, "_obj_ref"), (gRPCReplicaResult, "_actor_id")):
        assert inspect.iscoroutinefunction(kind.get_async)
        assert f"self.{name}" in inspect.getsource(kind.__init__)
