"""Whether every node has the packages, the code and the storage that the driver has."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.connect.source import ROOT, digest
from common import storage
from common.errors import RayUnavailable

TRAINING = ("ray", "keras", "tensorflow", "numpy")
SERVING = ("ray", "onnxruntime", "numpy")
ANSWER_S = 120.0
"""A node's first worker has to start, and to unpack our code."""
SHOWN = 6


def look(probe: tuple[str, str] | None, packages: tuple[str, ...] = TRAINING) -> dict[str, str]:
    """What this process has: versions, digest of our code, and how it sees the storage.

    Parameters
    ----------
    probe : a file that the driver wrote and its content
    """
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {"nsecast code": digest(), "code at": str(ROOT), "storage": _storage(probe)}


def check_nodes(shared: Path | None, packages: tuple[str, ...] = TRAINING) -> int:
    """Compare every node that is alive with this process; returns how many there are.

    Parameters
    ----------
    shared : folder that all nodes have to see and to write in, or None to check none

    Raises
    ------
    RayUnavailable
        Naming each node that differs, what it has and what is needed.
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
    """One line for each thing that a node has otherwise; ``got`` is by node, a text where it failed."""
    found = []
    for node, has in sorted(got.items()):
        if isinstance(has, str):
            found.append(f"node {node} cannot run our code: {has}")
            continue
        for name in need:
            if name not in ("code at", "storage") and has[name] != need[name]:
                place = f" (from {has['code at']})" if name == "nsecast code" else ""
                found.append(f"node {node}: {name} is {has[name]}{place}, need {need[name]}")
        if has["storage"] != "ok":
            found.append(f"node {node}: {has['storage']} {folder}")
    return found


def _compare(nodes: dict[str, str], packages: tuple[str, ...], probe: tuple[str, str] | None) -> int:
    need = look(probe, packages)
    task = ray.remote(num_cpus=0, max_retries=1)(look)
    asked = {}
    for node in nodes:
        there = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        # Ray's types leave out arguments that have a default.
        asked[there.remote(probe, packages)] = node  # type: ignore[call-arg]
    ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
    got = {f"{nodes[node]} ({node[:6]})": _answer(each) for each, node in asked.items()}
    folder = storage.shown(storage.locate(probe[0]).parent) if probe else ""
    problems = differences(need, got, folder)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise RayUnavailable(
            f"the cluster does not match this process: {'; '.join(problems[:SHOWN])}{more}. Use one image "
            "and one storage root (--home) on every node."
        )
    return len(nodes)


def _answer(asked: "ray.ObjectRef[dict[str, str]]") -> dict[str, str] | str:
    try:
        return ray.get(asked, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        return f"no answer in {ANSWER_S:.0f} s"
    except ray.exceptions.RayError as error:
        return str(error).strip().splitlines()[-1]


def _storage(probe: tuple[str, str] | None) -> str:
    if probe is None:
        return "ok"
    path, text = storage.locate(probe[0]), probe[1]
    try:
        if storage.current(path).read_text() != text:
            return "sees another folder as"
    except OSError:
        return "cannot see the storage root" if path.parent.exists() else "there is no folder"
    except storage.StorageError as error:
        return f"says {error.message} It cannot use"
    return "ok" if os.access(path.parent, os.W_OK) else "cannot write in"
