"""The versions of the libraries that decide what a run's networks come to."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import storage
from common.errors import ConfigError
from train.run.plan import Plan, finished, history

DECIDING = ("tensorflow", "keras", "numpy", "scipy", "onnx", "onnxruntime")
"""They compute, initialise, score or export networks. Ray only decides where, and pandas' work is in the
fingerprint of the data."""
FILE = "versions.json"


def installed() -> dict[str, str]:
    """By name, what this process has."""
    return {name: version(name) for name in DECIDING}


def trained_with(run_dir: Path) -> dict[str, str]:
    """What a run was begun with; empty for one that was begun before this was kept."""
    try:
        stored: dict[str, str] = json.loads(storage.current(run_dir / FILE).read_bytes())
        return stored
    except (FileNotFoundError, ValueError):
        return {}


def changes(then: dict[str, Any]) -> str:
    """What is installed in another version than ``then``, for people; empty if nothing is."""
    now = installed()
    return ", ".join(
        f"{name} {then[name]} (now {now.get(name, 'not installed')})"
        for name in then
        if then[name] != now.get(name)
    )


def begin(run_id: str, run_dir: Path, plan: Plan) -> None:
    """Note the versions of a run that has nothing yet; let another go on only with those it was begun with.

    Raises
    ------
    ConfigError
        If some of the run was done with other versions, or nobody knows which: nothing is changed.
    """
    with storage.looked(run_dir / "tasks", "result.json", "state.npz"):
        done = sum(
            1 for task in plan.tasks if finished(run_dir, task.id) is not None or history(run_dir, task.id)
        )
    if not done:
        storage.write_json(run_dir / FILE, installed())
        return
    then = trained_with(run_dir)
    differ = changes(then) if then else "unknown versions of the libraries (it was begun by an older nsecast)"
    if differ:
        wanted = " ".join(f"{name}=={then[name]}" for name in then)
        back = f"Install those versions (pip install {wanted}), or" if then else "Either keep it as it is, or"
        raise ConfigError(
            f"run {run_id}: {done} of {len(plan.tasks)} tasks were done with {differ}; going on would mix "
            f"networks of both. {back} start it again with --fresh.",
            run=run_id,
        )
