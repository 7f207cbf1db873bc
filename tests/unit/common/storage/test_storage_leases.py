"""Leases: one at a time across machines, and what becomes of those whose holder is gone."""

import json
import os
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from support.machine.waiting import until

from common import storage
from common.errors import ConfigError
from common.release.lock import hold_lock
from common.storage import leases

pytestmark = pytest.mark.usefixtures("no_mirrors")


def refused(monkeypatch):
    """Set when a lease was requested while another process held it."""
    event, take = threading.Event(), leases.Lease.take

    def taken(self):
        holder = take(self)
        if holder is not None:
            event.set()
        return holder

    monkeypatch.setattr(leases.Lease, "take", taken)
    return event


def test_a_second_machine_learns_who_holds_the_lease_and_continues_once_it_is_released(two_machines):
    here, there = (home / "runs/r.lock" for home in two_machines)
    with storage.lock_or_fail(here, "run r"):
        message = rf"run r is at work already, in process {os.getpid()} on "
        with pytest.raises(ConfigError, match=message), storage.lock_or_fail(there, "run r"):
            pass
        with storage.lock_or_fail(there.with_name("other.lock"), "another"):
            pass
    with storage.lock_or_fail(there, "run r"):
        pass


def test_a_lock_is_released_after_a_failure(two_machines):
    here, there = (home / "runs/r.lock" for home in two_machines)
    with pytest.raises(ZeroDivisionError), storage.lock_or_fail(here, "run r"):
        raise ZeroDivisionError
    with storage.lock_or_fail(there, "run r"):
        pass


def test_a_process_waiting_for_a_lock_continues_when_the_other_machine_releases_it(two_machines, monkeypatch):
    here, there = (home / "serve/.keys.lock" for home in two_machines)
    order, waits = [], refused(monkeypatch)

    def other():
        with storage.exclusive(there):
            order.append("other")

    with storage.exclusive(here):
        thread = threading.Thread(target=other)
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join(timeout=60)
    assert order == ["first", "other"]


def test_a_lease_is_kept_while_its_holder_works(two_machines, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    here, there = (storage.lease_of(home / "r.lock") for home in two_machines)
    store = storage.mirror_of(two_machines[1]).store
    assert here.take() is None
    with here.kept():
        for _ in range(3):
            before = store.read("r.lock")[1].version
            until(lambda before=before: store.read("r.lock")[1].version != before)
            assert there.take() is not None
    assert there.holder() is None and there.take() is None


def test_an_expired_lease_is_taken_over_and_its_first_holder_notices(two_machines, monkeypatch, caplog):
    here, there = (storage.lease_of(home / "r.lock") for home in two_machines)
    store = storage.mirror_of(two_machines[1]).store
    assert here.take() is None
    taken = store.read("r.lock")[1].modified
    monkeypatch.setattr(store, "now", lambda: taken + timedelta(seconds=leases.LASTS_S))
    assert there.take() is not None
    monkeypatch.setattr(store, "now", lambda: taken + timedelta(seconds=leases.LASTS_S + 1))
    assert there.take() is None
    monkeypatch.setattr(leases, "RENEW_S", 0.0)
    with here.kept():
        until(lambda: "another has taken over" in caplog.text)
    assert here.holder() is not None, "what the other took is not let go of"


def test_the_lease_of_a_process_that_ended_here_is_taken_at_once(two_machines):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, there = two_machines
    lease = storage.lease_of(here / "r.lock")
    content = json.loads(lease._mine) | {"pid": ended.pid}
    store = storage.mirror_of(here).store
    store.put("r.lock", json.dumps(content).encode())
    assert storage.lease_of(there / "r.lock").take() is None
    store.put("r.lock", json.dumps(content | {"machine": "another one"}).encode())
    assert storage.lease_of(there / "r.lock").take().pid == ended.pid, "that may live elsewhere"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pid": 1}', b"\xff"])
def test_a_damaged_lease_blocks_no_process(two_machines, content):
    storage.mirror_of(two_machines[0]).store.put("r.lock", content)
    assert storage.lease_of(two_machines[1] / "r.lock").take() is None


def test_exactly_one_of_many_processes_gets_a_free_lease(two_machines):
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
    results, order, waits = [], [], threading.Event()

    def announce(text):
        results.append(text)
        waits.set()

    def wait():
        with hold_lock(there, wait_s=300, announce=announce):
            order.append("second")

    with hold_lock(here):
        assert storage.is_locked(there)
        where = "s3://memory/home: another refresh or retraining is at work already, in process"
        with pytest.raises(ConfigError, match=where), hold_lock(there):
            pass
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert waits.wait(60) and not order
        order.append("first")
    waiting.join(timeout=60)
    assert order == ["first", "second"] and not storage.is_locked(here)
    assert results == [results[0]] and results[0].startswith(f"waiting for process {os.getpid()} on ")


def test_local_storage_needs_no_lease(two_machines, tmp_path):
    assert storage.lease_of(two_machines[0] / "cluster/cluster.lock") is None
    assert storage.lease_of(tmp_path / "r.lock") is None
