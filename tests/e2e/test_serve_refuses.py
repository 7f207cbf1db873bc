"""When `nsecast serve` refuses to start, and what it says then."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.connect.ports import free_port

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


def test_without_a_release_it_says_what_to_do_and_exits_with_1(tmp_path: Path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nsecast",
            "serve",
            "--port",
            str(free_port()),
            "--no-train",
            "--home",
            tmp_path,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "nsecast train" in done.stderr


def test_beyond_loopback_it_refuses_to_start_without_keys(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "nsecast", "serve", "--host", "0.0.0.0", "--home", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "nsecast serve keys --add" in done.stderr
