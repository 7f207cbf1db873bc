"""What is known of processes: births, names, ports, descendants, and of those that are gone meanwhile."""

import os
import socket
import sys
from pathlib import Path

import psutil
import pytest
from support.machine.processes import running
from support.machine.waiting import until

from cluster.connect.ports import beyond_loopback, descendants, listeners
from cluster.connect.processes import name_of, start_time
from serve.inference.memory import resident_mb

NOBODY = 2**22 + 1
"""Above the largest number that Linux gives."""


def test_a_birth_is_the_kernels_start_time_and_not_of_the_wall_clock(monkeypatch: pytest.MonkeyPatch):
    ticks = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    before = start_time(os.getpid())
    set_to = psutil.boot_time() + 86_400
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: set_to)
    assert before == start_time(os.getpid()) == f"{100 * int(ticks) / os.sysconf('SC_CLK_TCK'):.0f}"


def test_a_process_that_has_ended_but_was_not_waited_for_is_gone():
    with running(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert start_time(process.pid) == "" and listeners([process.pid]) == []


@pytest.mark.parametrize("error", [psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess])
def test_a_process_that_ends_or_belongs_to_another_user_is_left_out(monkeypatch, error):
    def gone(*_: object, **__: object) -> None:
        raise error(os.getpid())

    for name in ("create_time", "name", "net_connections", "children"):
        monkeypatch.setattr(psutil.Process, name, gone)
    assert start_time(os.getpid()) == name_of(os.getpid()) == ""
    assert listeners([os.getpid()]) == [] and descendants(os.getpid()) == [os.getpid()]


def test_an_unused_process_id_is_no_error():
    assert start_time(NOBODY) == name_of(NOBODY) == ""
    assert listeners([NOBODY]) == [] and descendants(NOBODY) == [NOBODY]


@pytest.mark.parametrize(
    ("family", "address", "on_loopback"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET6, "::1", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
    ],
)
def test_open_ports_are_found_with_their_process(family, address, on_loopback):
    with socket.socket(family) as server:
        server.bind((address, 0))
        port = server.getsockname()[1]
        assert port not in {listener.port for listener in listeners([os.getpid()])}, "not listening yet"
        server.listen()
        (result,) = [listener for listener in listeners([os.getpid()]) if listener.port == port]
    assert (result.address, result.pid, result.on_loopback) == (address, os.getpid(), on_loopback)
    assert result.process.startswith("python") and result not in beyond_loopback(os.getpid())


def test_descendants_are_children_of_children_too():
    with running([sys.executable, "-c", "import os; os.system('sleep 60; true')"]) as process:
        until(lambda: len(descendants(process.pid)) >= 3)
        names = [name_of(pid) for pid in descendants(process.pid)]
    assert descendants(os.getpid())[0] == os.getpid()
    assert names[0].startswith("python") and "sleep" in names


def test_resident_memory_is_what_the_system_counts():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert resident_mb() == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, rel=0.1)
