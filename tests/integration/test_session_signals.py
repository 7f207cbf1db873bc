"""A command keeps its SIGTERM handler after Ray has ended."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration
STOPPED = 42
COMMAND = f"""
import os, signal, sys
from cluster.connect.session import shut_down, start
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit({STOPPED}))
start(1)
shut_down()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_sigterm_after_ray_has_ended_still_reaches_the_commands_handler():
    done = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, text=True, timeout=240)
    assert done.returncode == STOPPED, done.stderr
