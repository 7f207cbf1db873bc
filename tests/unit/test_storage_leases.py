"""Leases: one at a time across machines, and what becomes of those whose holder is gone."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from cluster.nightly_lock import held, is_held
from common import storage
from common.errors import ConfigError
from common.storage import leases

pytestmark = pytest.mark.usefixtures("no_mirrors")


def hurry(monkeypatch, *, lasts_s, renew_s):
    monkeypatch.setattr(leases, "LASTS_S", lasts_s)
    monkeypatch.setattr(leases, "RENEW_S", renew_s)


def test_a_second_machine_is_told_who_is_at_work_and_goes_on_once_that_is_over(two_machines):
    here, there = (home / "runs/r.lock" for home in two_machines)
    with storage.claim(here, "run r"):
        said = rf"run r is at work already, in process {os.getpid()} on "
        with pytest.raises(ConfigError, match=said), storage.claim(there, "run r"):
            pass
        with storage.claim(there.with_name("other.lock"), "another"):
            pass
    with storage.claim(there, "run r"):
        pass


def test_a_failed_block_lets_go_too(two_machines):
    here, there = (home / "runs/r.lock" for home in two_machines)
    with pytest.raises(ZeroDivisionError), storage.claim(here, "run r"):
        raise ZeroDivisionError
    with storage.claim(there, "run r"):
        pass


def test_who_waits_for_an_exclusive_lock_goes_on_when_the_other_machine_is_done(two_machines, monkeypatch):
    here, there = (home / "serve/.keys.lock" for home in two_machines)
    order = []

    def other():
        with storage.exclusive(there):
            order.append("other")

    with storage.exclusive(here):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "other"]


def test_a_lease_is_kept_while_its_holder_works(two_machines, monkeypatch):
    hurry(monkeypatch, lasts_s=0.5, renew_s=0.1)
    here, there = (storage.lease_of(home / "r.lock") for home in two_machines)
    assert here.take() is None
    with here.kept():
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            assert there.take() is not None
            time.sleep(0.05)
    assert there.holder() is None and there.take() is None


def test_a_lease_that_nobody_renews_is_taken_over_and_its_first_holder_notices(
    two_machines, monkeypatch, caplog
):
    hurry(monkeypatch, lasts_s=0.2, renew_s=0.4)
    here, there = (storage.lease_of(home / "r.lock") for home in two_machines)
    assert here.take() is None and there.take() is not None
    with here.kept():
        time.sleep(0.3)
        assert there.take() is None
        time.sleep(0.3)
        assert "another has taken over" in caplog.text
        monkeypatch.setattr(leases, "LASTS_S", 60)
    assert here.holder() is not None, "what the other took is not let go of"


def test_the_lease_of_a_process_that_ended_here_is_taken_at_once(two_machines):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, there = two_machines
    lease = storage.lease_of(here / "r.lock")
    said = json.loads(lease._mine) | {"pid": ended.pid}
    store = storage.mirror_of(here).store
    store.put("r.lock", json.dumps(said).encode())
    assert storage.lease_of(there / "r.lock").take() is None
    store.put("r.lock", json.dumps(said | {"machine": "another one"}).encode())
    assert storage.lease_of(there / "r.lock").take().pid == ended.pid, "that may live elsewhere"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pid": 1}', b"\xff"])
def test_what_is_no_lease_holds_nobody_up(two_machines, content):
    storage.mirror_of(two_machines[0]).store.put("r.lock", content)
    assert storage.lease_of(two_machines[1] / "r.lock").take() is None


def test_of_many_that_reach_for_a_free_lease_one_gets_it(two_machines):
    taken = [storage.lease_of(two_machines[n % 2] / "r.lock") for n in range(8)]
    start, got = threading.Barrier(len(taken)), []

    def reach(lease):
        start.wait()
        got.append(lease.take() is None)

    threads = [threading.Thread(target=reach, args=(lease,)) for lease in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_a_retraining_on_another_machine_is_named_and_waited_for(two_machines):
    here, there = (home / "retrains/.lock" for home in two_machines)
    said, order = [], []

    def wait():
        with held(there, wait_s=10, announce=said.append):
            order.append("second")

    with held(here):
        assert is_held(there)
        where = "s3://memory/home: a retraining is at work there already, process"
        with pytest.raises(ConfigError, match=where), held(there):
            pass
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        assert not order
        order.append("first")
    waiting.join(timeout=10)
    assert order == ["first", "second"] and not is_held(here)
    assert said == [said[0]] and said[0].startswith(f"waiting for process {os.getpid()} on ")


def test_what_only_this_machine_has_needs_no_lease(two_machines, tmp_path):
    assert storage.lease_of(two_machines[0] / "cluster/cluster.lock") is None
    assert storage.lease_of(tmp_path / "r.lock") is None
