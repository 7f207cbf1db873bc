"""``ray start`` for one node of a cluster on this machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cluster.connect.processes import MARK
from common.errors import RayUnavailable

START_S = 300.0
"""Starting takes minutes on a loaded machine."""
OBJECT_STORE_BYTES = 500_000_000
DOWN_AFTER_MS = 1_000
"""Period of Ray's health checks; a node is dead after five failed ones."""
JOB_STOP_S = 20
"""How long a stopped job may take to save its state."""
FOREIGN = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""Environment variables that name another cluster."""


def ray_start(options: list[str], cpus: int, mark: str, *, through: Sequence[str] = ()) -> None:
    """Start one node and return when its processes run.

    Parameters
    ----------
    options : of ``ray start``: head or its address, ports, address of the node
    mark : in the environment of all processes of the node, see `cluster.connect.processes`
    through : a command prefix, such as ``ip netns exec NAME``

    Raises
    ------
    RayUnavailable
        If ``ray start`` fails; contains the end of its output.
    """
    command = [*through, sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    command += ["--num-cpus", str(cpus)]
    command += ["--object-store-memory", str(OBJECT_STORE_BYTES), "--disable-usage-stats"]
    settings = {
        MARK: mark,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "RAY_AUTH_MODE": "token",
        "RAY_health_check_period_ms": str(DOWN_AFTER_MS),
        "RAY_JOB_STOP_WAIT_TIME_S": str(JOB_STOP_S),
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(int(START_S)),
        "RAY_agent_register_timeout_ms": str(int(START_S * 1000)),
    }
    environment = {name: text for name, text in os.environ.items() if name not in FOREIGN}
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the node's processes may hold it open
        try:
            finished = subprocess.run(  # nosec B603 # `ray start` with our own arguments, no shell
                command,
                env=environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=START_S,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise RayUnavailable(
                f"ray start: not done after {START_S:.0f} s. Check memory and load."
            ) from None
        if finished.returncode:
            output.seek(0)
            tail = " ".join(output.read().split()[-60:])
            raise RayUnavailable(f"ray start: exit code {finished.returncode}: {tail}")
