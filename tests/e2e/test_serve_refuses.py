"""When `nsecast serve` refuses to start, and its messages."""

import subprocess
from pathlib import Path

import pytest
from support.serving.serve_command import ROOT, serve_command

from cluster.connect.ports import free_port

pytestmark = pytest.mark.e2e


def refusal(command: list[str]) -> str:
    """Return what the command writes to stderr before it ends with exit code 1."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    return done.stderr


def test_without_a_release_it_says_what_to_do_and_exits_with_1(tmp_path: Path):
    assert "nsecast train" in refusal(serve_command(tmp_path, "--no-train", port=free_port()))


def test_beyond_loopback_it_refuses_to_start_without_keys(tmp_path: Path):
    assert "nsecast serve keys --add" in refusal(serve_command(tmp_path, "--host", "0.0.0.0"))
