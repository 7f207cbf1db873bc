"""The cache of models: least recently used ones go, one load each, and no loaded one waits for a load."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BundleError
from serve.inference.model_cache import ModelCache, model_key, split_key


class Loader:
    """Counts loads; what is in ``broken`` cannot be loaded."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.broken: dict[str, Exception] = {}

    def __call__(self, key):
        self.loads.append(key)
        if key in self.broken:
            raise self.broken[key]
        return f"model of {key}"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_names_the_model_and_the_release():
    key = model_key("KPLC-P4", "20241031-residual-01d04261")
    assert key == "KPLC-P4@20241031-residual-01d04261"
    assert split_key(key) == ("KPLC-P4", "20241031-residual-01d04261")


def test_a_model_is_loaded_once_and_then_cached():
    load = Loader()
    cache = ModelCache(load, 3)
    assert cache.peek("A@1") is None
    assert cache.get("A@1") == ("model of A@1", False)
    assert cache.get("A@1") == ("model of A@1", True) and cache.peek("A@1") == "model of A@1"
    stats = cache.stats()
    assert (load.loads, stats.hits, stats.misses, stats.loaded) == (["A@1"], 2, 1, ("A@1",))


@settings(deadline=None)
@given(st.lists(st.sampled_from("ABCDE"), max_size=40), st.integers(1, 4))
def test_the_least_recently_used_model_is_evicted_as_in_a_plain_list(keys, size):
    load, order, loads = Loader(), [], []
    cache = ModelCache(load, size)
    for key in keys:
        if key not in order:
            loads.append(key)
        order = [*(item for item in order if item != key), key][-size:]
        cache.get(key)
        assert list(cache.stats().loaded) == order
    stats = cache.stats()
    assert load.loads == loads and stats.misses == len(loads) and stats.hits == len(keys) - len(loads)


def test_many_threads_asking_for_one_model_load_it_once():
    gate, begun = threading.Event(), threading.Barrier(9)
    load = Loader()

    def slow(key):
        gate.wait(60)
        return load(key)

    cache = ModelCache(slow, 2)

    def get():
        begun.wait(60)
        return cache.get("A@1")

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(get) for _ in range(8)]
        begun.wait(60)
        gate.set()
        results = [item.result(60) for item in waiting]
    assert load.loads == ["A@1"] and {model for model, _ in results} == {"model of A@1"}


def test_a_slow_load_keeps_no_loaded_model_waiting():
    gate, begun = threading.Event(), threading.Event()

    def load(key):
        if key == "SLOW@1":
            begun.set()
            assert gate.wait(60)
        return key

    cache = ModelCache(load, 4)
    cache.get("B@1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, "SLOW@1")
        assert begun.wait(60)
        assert cache.get("B@1") == ("B@1", True) and cache.bad() == frozenset()
        assert cache.peek("SLOW@1") is None and not waiting.done()
        gate.set()
        assert waiting.result(60) == ("SLOW@1", False)


@pytest.mark.parametrize("error", [BundleError("model.onnx: bad"), ValueError("odd"), MemoryError()])
def test_a_failed_model_is_not_loaded_again_for_a_while(error):
    load, clock = Loader(), Clock()
    load.broken["A@1"] = error
    cache = ModelCache(load, 3, remember_bad_s=60, clock=clock)
    for _ in range(3):
        with pytest.raises(BundleError):
            cache.get("A@1")
    assert load.loads == ["A@1"] and cache.bad() == {"A@1"}
    assert cache.stats().misses == 1 and cache.stats().bad == ("A@1",)
    clock.now = 61
    del load.broken["A@1"]
    assert "A@1" not in cache.bad() and cache.get("A@1") == ("model of A@1", False)


def test_a_bad_model_reports_its_error_and_the_time_of_the_next_attempt():
    load, clock = Loader(), Clock()
    load.broken["A@1"] = BundleError("model.onnx: not a usable network.")
    cache = ModelCache(load, 3, remember_bad_s=60, clock=clock)
    with pytest.raises(BundleError, match=r"^model\.onnx: not a usable network\.$"):
        cache.get("A@1")
    clock.now = 20
    with pytest.raises(BundleError, match=r"A@1: not usable: model\.onnx.* Tried again in 40 s"):
        cache.get("A@1")


def test_a_model_can_be_called_bad_after_it_was_loaded():
    cache = ModelCache(Loader(), 3, clock=Clock())
    cache.get("A@1")
    cache.mark_bad("A@1", "its numbers are not finite.")
    assert "A@1" in cache.bad() and cache.stats().loaded == ()


def test_every_waiting_request_gets_the_error_of_a_bad_model():
    gate, begun = threading.Event(), threading.Barrier(5)

    def load(key):
        gate.wait(60)
        raise BundleError("bad")

    cache = ModelCache(load, 3)

    def get():
        begun.wait(60)
        return cache.get("A@1")

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(get) for _ in range(4)]
        begun.wait(60)
        gate.set()
        assert all(isinstance(item.exception(60), BundleError) for item in waiting)


def test_clearing_drops_models_and_what_is_bad_but_what_is_kept():
    load = Loader()
    load.broken["C@1"] = BundleError("bad")
    cache = ModelCache(load, 5)
    for key in ("A@1", "A@2", "B@1"):
        cache.get(key)
    with pytest.raises(BundleError):
        cache.get("C@1")
    assert cache.clear(keep=lambda key: split_key(key)[1] == "2") == 2
    assert cache.stats().loaded == ("A@2",) and not cache.bad()
    assert cache.clear() == 1 and cache.stats().loaded == ()


def test_a_load_that_was_under_way_when_all_was_cleared_is_answered_but_not_kept():
    begun, gate = threading.Event(), threading.Event()

    def load(key):
        begun.set()
        gate.wait(60)
        return key

    cache = ModelCache(load, 3)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, "A@1")
        assert begun.wait(60)
        cache.clear()
        gate.set()
        assert waiting.result(60) == ("A@1", False)
    assert cache.stats().loaded == ()


def test_threads_hammering_a_small_cache_always_get_the_right_model():
    load = Loader()
    cache = ModelCache(load, 2)

    def ask(number):
        key = f"{'ABCD'[number % 4]}@1"
        return cache.get(key)[0] == f"model of {key}"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(2_000)))
    stats = cache.stats()
    assert len(stats.loaded) == 2 and stats.misses == len(load.loads) and stats.hits + stats.misses == 2_000
