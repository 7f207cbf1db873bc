"""Check that every node has the driver's packages, code and storage."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.connect.code_package import ROOT, digest
from common import storage
from common.errors import RayUnavailable

TRAINING = ("ray", "keras", "tensorflow", "numpy")
SERVING = ("ray", "onnxruntime", "numpy")
RESPONSE_S = 120.0
"""A node's first worker has to start and unpack our code."""
MAX_PROBLEMS = 6


def describe_process(probe: tuple[str, str] | None, packages: tuple[str, ...] = TRAINING) -> dict[str, str]:
    """Return this process's package versions, code digest, and its access to the storage.

    ``probe`` is a file that the driver wrote, and its content.
    """
    facts = {"python": platform.python_version()}
    for name in packages:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts | {"nsecast code": digest(), "code at": str(ROOT), "storage": _storage(probe)}


def check_nodes(shared: Path | None, packages: tuple[str, ...] = TRAINING) -> int:
    """Compare every node that is alive with this process; returns the number of nodes.

    Parameters
    ----------
    shared : folder that all nodes must be able to read and write; None: no check

    Raises
    ------
    RayUnavailable
        Names each node that differs, what it has and what is needed.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if shared is None:
        return _compare(nodes, packages, None)
    probe = shared / f"probe-{uuid4().hex}"
    text = uuid4().hex
    storage.write_bytes(probe, text.encode())
    try:
        return _compare(nodes, packages, (storage.address_of(probe), text))
    finally:
        storage.remove(probe)


def differences(need: dict[str, str], got: dict[str, dict[str, str] | str], folder: str) -> list[str]:
    """Return one line for each difference; ``got`` is by node, a string if the node failed."""
    lines = []
    for node, has in sorted(got.items()):
        if isinstance(has, str):
            lines.append(f"node {node} cannot run our code: {has}")
            continue
        for name in need:
            if name not in ("code at", "storage") and has[name] != need[name]:
                source = f" (from {has['code at']})" if name == "nsecast code" else ""
                lines.append(f"node {node}: {name} is {has[name]}{source}, need {need[name]}")
        if has["storage"] != "ok":
            lines.append(f"node {node}: {has['storage']} {folder}")
    return lines


def _compare(nodes: dict[str, str], packages: tuple[str, ...], probe: tuple[str, str] | None) -> int:
    need = describe_process(probe, packages)
    task = ray.remote(num_cpus=0, max_retries=1)(describe_process)
    pending = {}
    for node in nodes:
        task_on_node = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        # Ray's types omit arguments with a default.
        pending[task_on_node.remote(probe, packages)] = node  # type: ignore[call-arg]
    ray.wait(list(pending), num_returns=len(pending), timeout=RESPONSE_S)
    got = {f"{nodes[node]} ({node[:6]})": _response(reference) for reference, node in pending.items()}
    folder = storage.display_path(storage.locate(probe[0]).parent) if probe else ""
    problems = differences(need, got, folder)
    if problems:
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise RayUnavailable(
            f"the cluster does not match this process: {'; '.join(problems[:MAX_PROBLEMS])}{more}. Use one "
            "image and one storage root (--home) on every node."
        )
    return len(nodes)


def _response(reference: "ray.ObjectRef[dict[str, str]]") -> dict[str, str] | str:
    try:
        return ray.get(reference, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        return f"no response in {RESPONSE_S:.0f} s"
    except ray.exceptions.RayError as error:
        return str(error).strip().splitlines()[-1]


def _storage(probe: tuple[str, str] | None) -> str:
    if probe is None:
        return "ok"
    path, text = storage.locate(probe[0]), probe[1]
    try:
        if storage.up_to_date(path).read_text() != text:
            return "sees another folder as"
    except OSError:
        return "cannot see the storage root" if path.parent.exists() else "there is no folder"
    except storage.StorageError as error:
        return f"reports {error.message} It cannot use"
    return "ok" if os.access(path.parent, os.W_OK) else "cannot write in"
