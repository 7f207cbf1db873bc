"""Room for workers on a cluster, and a call beside the main thread: what an elastic Ray Train run needs."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import ray

ANSWER_S = 3.0
"""A node that accepts no connection within this time has no room for a worker."""


def room() -> int:
    """Count the CPUs of the nodes that answer: a run never gets more workers than that.

    Ray Train's view of the cluster is up to 20 s old, and Ray takes a lost node for alive until its health
    checks have failed for as long. It would replace a lost worker on the lost node, and the GCS would search
    for that node without a pause until another one joins, at one and a half CPUs of the head (Ray 2.60). With
    fewer workers the group restarts, and each worker continues from its last epoch.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    with ThreadPoolExecutor(max_workers=32) as pool:
        answers = list(pool.map(_answers, nodes))
    return int(sum(node["Resources"].get("CPU", 0) for node, ok in zip(nodes, answers, strict=True) if ok))


def _answers(node: dict[str, Any]) -> bool:
    with suppress(OSError):
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), ANSWER_S).close()
        return True
    return False


def in_thread(call: Callable[[], Any], *, enough: Callable[[], bool] = lambda: False) -> bool:
    """Run ``call`` in a thread, so that Ctrl-C reaches this process and not Ray's own handler.

    Returns true when the call has ended, and false once ``enough()`` is true; raises what the call raised.
    """
    failures: list[BaseException] = []

    def target() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=target, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(1.0)
        if thread.is_alive() and enough():
            return False
    if failures:
        raise failures[0]
    return True
