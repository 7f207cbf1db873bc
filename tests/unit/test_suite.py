"""The test suite itself: nothing is skipped unseen, and what it starts can be stopped and ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.examples import ALL
from support.machine.processes import running
from support.skips import ALLOWED, NO_SKIPS

from cluster.connect.ports import descendants
from cluster.connect.processes import start_time, still_running

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

def test_passes():
    pass

def test_needs_a_program():
    pytest.skip("needs promtool")

def test_needs_a_missing_program():
    pytest.skip({allowed!r})

@pytest.mark.skipif(True, reason="needs a browser")
def test_is_marked():
    pass

@pytest.mark.xfail(reason="known")
def test_is_known_to_fail():
    assert False
"""
MODULE = 'import pytest\npytest.importorskip("no_such_module")\n'
IGNORED = """
import signal, subprocess, sys
from support.machine.processes import signals_as_in_a_terminal
{call}
child = subprocess.Popen(["sleep", "60"])
child.send_signal(signal.SIGINT)
try:
    child.wait({wait_s})
except subprocess.TimeoutExpired:
    child.kill()
print(child.wait(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""

LEFT = """
import subprocess, time
from pathlib import Path
from support.machine.processes import children_left, end_children, mark_children
mark_children()
subprocess.run(["sh", "-c", "sleep 61 &"], stdout=subprocess.DEVNULL)
(left,) = children_left(patience_s=0)
while b"sh" in Path(f"/proc/{left}/cmdline").read_bytes():  # the shell's fork is not yet sleep
    time.sleep(0.01)
print(end_children(patience_s=0), end_children(patience_s=0))
"""


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, *words, *(["-c", code] if code else [])],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )


@pytest.mark.parametrize(
    ("wanted", "outcome"),
    [("1", "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors"), ("", "1 passed, 4 skipped, 1 xfailed")],
)
def test_where_nothing_may_be_skipped_a_skip_is_a_failure(tmp_path, monkeypatch, wanted, outcome):
    monkeypatch.setenv(NO_SKIPS, wanted)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (tmp_path / "test_made.py").write_text(TESTS.format(allowed=f"{next(iter(ALLOWED))}link add: refused"))
    (tmp_path / "test_module.py").write_text(MODULE)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    options = [
        "-p",
        "xdist",
        "-p",
        "support.skips",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
    ]
    options += ["--numprocesses", "1", "--continue-on-collection-errors"]
    done = python("", "-m", "pytest", *options, str(tmp_path))
    assert done.stdout.strip().splitlines()[-1].strip("= ").rpartition(" in ")[0] == outcome, done.stdout
    assert done.returncode == (1 if wanted else 0)


@pytest.mark.parametrize(
    ("call", "wait_s", "printed"),
    [("signals_as_in_a_terminal()", 30, "-2 False"), ("", 0.2, "-9 True")],
    ids=["mended", "as it was"],
)
def test_processes_of_tests_can_be_interrupted_even_if_the_suite_ignores_interrupts(call, wait_s, printed):
    done = python(IGNORED.format(call=call, wait_s=wait_s))
    assert done.stdout.strip() == printed, done.stderr


def test_a_program_and_what_it_started_are_gone_after_a_block_that_failed():
    with pytest.raises(ZeroDivisionError), running(["sh", "-c", "sleep 60 & sleep 60"]) as process:
        while len(ours := {pid: start_time(pid) for pid in descendants(process.pid)}) < 3:
            assert process.poll() is None
        raise ZeroDivisionError
    assert still_running(ours) == []


def test_processes_that_a_module_left_behind_are_ended():
    done = python(LEFT)
    assert done.stdout.strip() == "['sleep 61'] []", done.stderr


PROGRAMS = {
    "chromium": "chromium",
    "ip": "iproute2",
    "promtool": "prometheus",
}
"""What the CI script installs where it is missing, and by which package."""


def ci(folder: Path, *there: str, user: int = 0, apt_get: str = "exit 100") -> tuple[list[str], str]:
    """Run the CI script with only some programs installed; returns its calls and output."""
    (folder / "archive").mkdir()
    (folder / "archive" / "NSE_data_all_stocks_2024.csv").touch()
    for name in ("bash", "dirname", "grep", "ls", "touch", "chmod"):
        (folder / name).symlink_to(shutil.which(name))
    ran = folder / "ran"
    scripts = dict.fromkeys(there, "exit 0") | {
        "id": f"echo {user}",
        "make": f'echo "make $* {NO_SKIPS}=${{{NO_SKIPS}:-}}" >> {ran}',
        "apt-get": f'echo "apt-get $*" >> {ran}\n{apt_get}',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!{folder / 'bash'}\n{text}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [folder / "bash", ROOT / ".ci" / "run"],
        env={"PATH": str(folder), "NSECAST_ARCHIVE": str(folder / "archive")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return ran.read_text().splitlines(), done.stderr


def test_every_test_is_in_one_of_the_two_commands_and_ci_runs_both():
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"^\t(.*)\$\(PYTEST\) -m \"([^\"]*)\"(.*)$", makefile, re.MULTILINE)
    assert [(before, chosen) for before, chosen, _ in commands] == [
        ("", "not long"),
        (f"{ALL}=1 ", "long or fuzz"),
    ]
    assert all("tests/" not in rest and "--ignore" not in rest for *_, rest in commands)
    assert re.search(r"^test-all: test ", makefile, re.MULTILINE)


def test_ci_with_everything_there_installs_nothing_and_allows_no_skip(tmp_path):
    assert ci(tmp_path, *PROGRAMS) == ([f"make test-all {NO_SKIPS}=1"], "")


def test_ci_as_root_installs_what_is_missing_and_allows_no_skip(tmp_path):
    installed = "".join(
        f'case "$*" in *install*{package}*) touch {tmp_path / name}; chmod +x {tmp_path / name};; esac\n'
        for name, package in PROGRAMS.items()
    )
    ran, output = ci(tmp_path, "ip", apt_get=installed)
    assert ran[0] == "apt-get update -qq" and ran[-1] == f"make test-all {NO_SKIPS}=1" and output == ""
    assert ran[1].split()[-2:] == ["chromium", "prometheus"]


@pytest.mark.parametrize("user", [0, 1000], ids=["nothing can be installed", "not root"])
def test_ci_that_cannot_install_says_what_is_missing_and_tests_without(tmp_path, user):
    ran, output = ci(tmp_path, "chromium", "ip", user=user)
    assert ran[-1] == f"make test-all {NO_SKIPS}=" and ("apt-get update -qq" in ran) == (user == 0)
    assert "missing, and not to be had here: prometheus." in output
