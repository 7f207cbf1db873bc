"""When a replica says that it is unhealthy, which makes Ray replace it, and when it does not."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.machine.manifests import deployments_of
from support.releases.release import made_release

from common.errors import BundleError
from common.release.registry import Registry
from serve.deployments import model_server as models
from serve.deployments.health import RouterHealth, Unhealthy
from serve.deployments.model_server import BundleLoader, ModelReplica
from serve.inference.model_cache import ModelCache, model_key
from serve.settings import ServeSettings

REFUSED = SimpleNamespace(serves=False, problem="one is in production and was refused: damaged")
NOTHING_IN_PRODUCTION = SimpleNamespace(serves=False, problem=None)
OLDER_SERVES = SimpleNamespace(serves=True, problem="two is in production and was refused: damaged")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("watcher", [NOTHING_IN_PRODUCTION, OLDER_SERVES])
def test_a_router_without_a_release_or_with_an_older_one_stays_healthy_for_ever(watcher):
    clock = Clock()
    health = RouterHealth(600, clock)
    for _ in range(100):
        health.check(watcher, None)
        clock.now += 3600


def test_a_router_is_unhealthy_once_it_could_not_load_production_for_long_enough():
    clock = Clock()
    health = RouterHealth(600, clock)
    health.check(REFUSED, None)
    clock.now += 599
    health.check(REFUSED, None)
    clock.now += 2
    with pytest.raises(Unhealthy, match=r"for 601 s.*was refused: damaged"):
        health.check(REFUSED, None)


@pytest.mark.parametrize("between", [NOTHING_IN_PRODUCTION, OLDER_SERVES])
def test_the_time_without_a_release_restarts_after_a_release_served(between):
    clock = Clock()
    health = RouterHealth(600, clock)
    for _ in range(10):
        health.check(REFUSED, None)
        clock.now += 500
        health.check(between, None)


async def fails() -> None:
    raise RuntimeError("no more")


@pytest.mark.parametrize("ending", ["raises", "cancelled"])
def test_a_router_whose_watching_task_ended_is_unhealthy_at_once(ending):
    async def run() -> None:
        task = asyncio.ensure_future(fails() if ending == "raises" else asyncio.sleep(60))
        if ending == "cancelled":
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        RouterHealth(600).check(OLDER_SERVES, task)

    with pytest.raises(Unhealthy, match=r"ended: (RuntimeError\('no more'\)|cancelled)"):
        asyncio.run(run())


def test_the_deployments_have_the_methods_that_ray_calls():
    from serve.deployments.router import Router

    for deployment in (Router, models.GeneralModel, models.SpecificModel):
        assert callable(deployment.func_or_class.check_health)
    assert callable(Router.func_or_class.reconfigure)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one")
    Registry(home).promote("one")
    return home


def test_a_replica_with_models_that_run_is_healthy_and_no_hit_is_counted(home):
    replica = ModelReplica(str(home), 4, tier="general")
    before = asyncio.run(replica.stats())
    assert len(before["loaded"]) == 1
    asyncio.run(replica.check_health())
    after = asyncio.run(replica.stats())
    assert after["cache_hits"] == before["cache_hits"]


def broken(self: object, x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
    raise BundleError("the network cannot be run: no memory.")


def test_a_replica_whose_models_stopped_working_is_unhealthy(home, monkeypatch):
    replica = ModelReplica(str(home), 4, tier="general")
    asyncio.run(replica.check_health())
    monkeypatch.setattr("common.forecast.forecaster.OnnxNetwork.__call__", broken)
    with pytest.raises(Unhealthy, match="no memory"):
        asyncio.run(replica.check_health())


def test_a_release_whose_models_never_ran_restarts_no_replica(home, monkeypatch):
    monkeypatch.setattr("common.forecast.forecaster.OnnxNetwork.__call__", broken)
    replica = ModelReplica(str(home), 4, tier="general")
    for _ in range(5):
        asyncio.run(replica.check_health())


def test_one_model_that_does_not_run_is_not_the_replicas_fault(home, monkeypatch):
    replica = ModelReplica(str(home), 4, tier="general")
    cache = ModelCache(BundleLoader(home), 4)
    (good,) = [bundle for _, bundle in replica._cache.newest(1)]
    broken = SimpleNamespace(window=good.window, forecaster=None)
    loads = {"general": good, "MOVES": broken}
    cache._load = lambda key: loads[key.partition("@")[0]]
    for job in loads:
        cache.get(model_key(job, "one"))
    replica._cache = cache
    assert [key for key, _ in cache.newest(9)] == ["MOVES@one", "general@one"]
    replica._ran = set(cache.stats().loaded)
    asyncio.run(replica.check_health())


def test_a_replica_without_a_release_is_healthy(tmp_path):
    asyncio.run(ModelReplica(str(tmp_path), 4, tier="general").check_health())


def test_a_replica_whose_cache_is_locked_for_ever_is_unhealthy(home, monkeypatch):
    monkeypatch.setattr(models, "CHECK_S", 0.05)
    replica = ModelReplica(str(home), 4, tier="general")
    with replica._cache._lock, pytest.raises(Unhealthy, match="did not answer"):
        asyncio.run(replica.check_health())


def test_a_check_does_not_wait_behind_the_replicas_work(home):
    """The threads that forecast may all be busy, for as long as that takes."""
    import threading

    replica, over = ModelReplica(str(home), 4, tier="general"), threading.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        busy = [loop.run_in_executor(None, over.wait) for _ in range(64)]
        await replica.check_health()
        over.set()
        await asyncio.gather(*busy)

    asyncio.run(run())


def test_a_start_that_fails_is_given_up_after_few_attempts_in_every_deployment():
    from serve.app import build_app

    deployments = deployments_of(build_app(ServeSettings(constructor_attempts=4)))
    assert len(deployments) == 3
    assert {
        deployment._deployment_config.max_constructor_retry_count for deployment in deployments.values()
    } == {4}
