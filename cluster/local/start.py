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
"""A loaded machine takes minutes over it."""
OBJECT_STORE_BYTES = 500_000_000
DOWN_AFTER_MS = 1_000
"""How often a node is asked whether it lives; after five questions without an answer it counts as dead."""
JOB_STOP_S = 20
"""How long a job that is stopped may take to write what it has."""
ELSEWHERE = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""Variables that point at another cluster."""


def ray_start(where: list[str], cpus: int, mark: str, *, through: Sequence[str] = ()) -> None:
    """Start one node and return once its processes run.

    Parameters
    ----------
    where : of ``ray start``: head or address of one, ports, address of the node
    mark : written into the environment of everything that the node runs, see `cluster.connect.processes`
    through : a program that starts the node, as ``ip netns exec NAME`` does on a network of its own

    Raises
    ------
    RayUnavailable
        With the last words of ``ray start``, if it fails.
    """
    command = [*through, sys.executable, "-m", "ray.scripts.scripts", "start", *where]
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
    kept = {name: text for name, text in os.environ.items() if name not in ELSEWHERE}
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the node's processes may hold it open
        try:
            done = subprocess.run(  # nosec B603 # `ray start` with our own arguments, no shell
                command,
                env=kept | settings,
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
        if done.returncode:
            output.seek(0)
            tail = " ".join(output.read().split()[-60:])
            raise RayUnavailable(f"ray start: exit code {done.returncode}: {tail}")
