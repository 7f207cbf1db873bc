"""What a benchmark ran on: the header line of its figures, and a process of one core."""

import datetime as dt
import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CODE = ("common", "train", "cluster")
PACKAGES = ("tensorflow", "keras", "ray", "numpy")


def facts() -> dict[str, Any]:
    """Date, CPUs, load, versions and commit, for JSON; call before `use_one_core`."""
    return {
        "date": f"{dt.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def header(found: dict[str, Any]) -> str:
    """The facts as one line above a table."""
    versions = ", ".join(f"{name} {found[name]}" for name in ("python", *PACKAGES))
    cpus = f"{found['cpus']} CPUs ({found['cpu']}, load {found['load']} at the start)"
    return f"{found['date']}, {cpus}, {versions}, commit {found['commit']}"


def use_one_core() -> int:
    """Pin this process to its last core, maths libraries to one thread; call before importing them."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return core


def sources() -> str:
    """Digest of the project's code: two runs compare only if it is the same before and after."""
    files = sorted(path for name in CODE for path in (ROOT / name).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def busy_cpu_seconds() -> float:
    """CPU seconds the whole machine has spent on anything, since it started."""
    user, nice, system, _idle, _wait, interrupts, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Short hash, with ``+`` if files differ from it; ``unknown`` outside a checkout."""

    def git(*arguments: str) -> str:
        found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return found.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
