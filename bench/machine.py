"""What a benchmark ran on: the header line of its figures, a process of one core, and what others take."""

import contextlib
import datetime as dt
import hashlib
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # or bench/tune.py, beside the program that runs, would be imported as tune
CODE = ("common", "train", "cluster")
PACKAGES = ("tensorflow", "keras", "ray", "numpy")
MEMORY = ("private_mb", "uss_mb", "pss_mb", "mapped_mb", "peak_mb")
"""Anonymous memory; pages that no other process has; the same and a share of the others'; pages of the mapped
folder; the kernel's high-water mark."""
SAMPLED_S = 0.25
MAPPED_EVERY = 8
"""Samples between two looks at what is mapped, which take longer."""


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


def header(environment: dict[str, Any]) -> str:
    """The facts as one line above a table."""
    versions = ", ".join(f"{name} {environment[name]}" for name in ("python", *PACKAGES))
    cpus = f"{environment['cpus']} CPUs ({environment['cpu']}, load {environment['load']} at the start)"
    return f"{environment['date']}, {cpus}, {versions}, commit {environment['commit']}"


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


class Clock:
    """Seconds since its creation or the last call."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        before, self._since = self._since, time.perf_counter()
        return self._since - before


def apart(call: Callable[..., Any], *given: Any, limit: int) -> Any:
    """What a call returns in a fresh process, whose memory is its own; at most ``limit`` seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, call, given))
    process.start()
    there.close()
    try:
        if not here.poll(limit):
            raise TimeoutError(f"{call.__name__} took longer than {limit} s; raise --limit")
        return here.recv()
    except EOFError:
        raise SystemExit(f"{call.__name__} failed: see above") from None
    finally:
        process.join(20)
        process.kill()


def _answer(there: Any, call: Callable[..., Any], given: tuple[Any, ...]) -> None:
    there.send(call(*given))


def memory_of(pid: int | str, file: str, *, of: str | None = None) -> dict[str, float]:
    """The kB that ``/proc/PID/FILE`` counts, added up by name, as MB; ``of``: of files in that folder."""
    results: dict[str, float] = {}
    counted = of is None
    for line in Path(f"/proc/{pid}/{file}").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if not value.endswith(" kB"):
            counted = of is None or f" {of}/" in line
        elif counted:
            results[name] = results.get(name, 0.0) + int(value.split()[0]) * 1024 / 1e6
    return results


class MemoryOf(contextlib.AbstractContextManager[Any]):
    """Looks again and again at processes until the block ends.

    Parameters
    ----------
    named : what stands in their command line
    mark : an entry of the environment they were started with
    mapped : folder of the files whose mapped pages are counted separately
    """

    def __init__(self, named: str, mark: str, mapped: Path) -> None:
        self.largest: dict[int, dict[str, float]] = {}
        """By process, the largest of each of ``MEMORY`` so far, MB."""
        self._named, self._mark, self._mapped = named.encode(), mark.encode(), str(mapped)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="memory", daemon=True)

    def __enter__(self) -> "MemoryOf":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        turn = 0
        while not self._over.wait(SAMPLED_S):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, KeyError):  # it has ended
                    if self._is_meant(process):
                        self._look(int(process.name), mapped=turn % MAPPED_EVERY == 0)
            turn += 1

    def _is_meant(self, process: Path) -> bool:
        named = self._named in (process / "cmdline").read_bytes()
        return named and self._mark in (process / "environ").read_bytes().split(b"\0")

    def _look(self, pid: int, *, mapped: bool) -> None:
        rollup = memory_of(pid, "smaps_rollup")
        now = {
            "private_mb": rollup["Anonymous"],
            "uss_mb": rollup["Private_Clean"] + rollup["Private_Dirty"],
            "pss_mb": rollup["Pss"],
            "mapped_mb": memory_of(pid, "smaps", of=self._mapped).get("Rss", 0.0) if mapped else 0.0,
            "peak_mb": memory_of(pid, "status")["VmHWM"],
        }
        largest = self.largest.setdefault(pid, dict.fromkeys(MEMORY, 0.0))
        largest.update({name: max(value, largest[name]) for name, value in now.items()})


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Short hash, with ``+`` if files differ from it; ``unknown`` outside a checkout."""

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
