"""The versions of the libraries that decide a run's networks."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import storage
from common.errors import ConfigError
from train.run.plan import Plan, stored_epochs, stored_result

DECIDING = ("tensorflow", "keras", "numpy", "scipy", "onnx", "onnxruntime")
"""Libraries that compute, initialise, score or export networks; those that make the data are covered by its
fingerprint."""
FILE = "versions.json"


def installed() -> dict[str, str]:
    """Return the versions that this process uses, by library."""
    return {name: version(name) for name in DECIDING}


def trained_with(run_dir: Path) -> dict[str, str]:
    """Return the versions that a run was started with; empty if they were not recorded."""
    try:
        stored: dict[str, str] = json.loads(storage.up_to_date(run_dir / FILE).read_bytes())
        return stored
    except (FileNotFoundError, ValueError):
        return {}


def describe_changes(then: dict[str, Any]) -> str:
    """Describe the libraries whose versions differ from ``then``; empty if all are the same."""
    now = installed()
    return ", ".join(
        f"{name} {then[name]} (now {now.get(name, 'not installed')})"
        for name in then
        if then[name] != now.get(name)
    )


def record_or_check_versions(run_id: str, run_dir: Path, plan: Plan) -> None:
    """Record the versions of a new run, or check those of a run that continues.

    Raises
    ------
    ConfigError
        If tasks of the run were done with other or unknown versions: nothing is changed.
    """
    with storage.listed_once(run_dir / "tasks", "result.json", "state.npz"):
        done = sum(
            1
            for task in plan.tasks
            if stored_result(run_dir, task.id) is not None or stored_epochs(run_dir, task.id)
        )
    if not done:
        storage.write_json(run_dir / FILE, installed())
        return
    then = trained_with(run_dir)
    differ = (
        describe_changes(then) if then else "unknown versions of the libraries (an older nsecast started it)"
    )
    if differ:
        wanted = " ".join(f"{name}=={then[name]}" for name in then)
        back = f"Install those versions (pip install {wanted}), or" if then else "Either keep it as it is, or"
        raise ConfigError(
            f"run {run_id}: {done} of {len(plan.tasks)} tasks were done with {differ}; continuing would mix "
            f"networks of both. {back} restart it with --fresh.",
            run=run_id,
        )
