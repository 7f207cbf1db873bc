"""What is left on disk when publishing and training are ended at any point, or the disk is full."""

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from bench.chaos import work
from bench.chaos.home import FIRST, copied
from bench.chaos.result import Row, note
from common.errors import NsecastError
from common.release.bundle import load_bundle
from common.release.manifest import Release
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.run.dataset import RunSpec, bundles_dir

LATER = 1.3
"""Some are ended after their last word."""
KEPT = 3
SPARE_BYTES = 1_000_000


def publish_killed(release: Release, home: Path, times: int) -> Row:
    """SIGKILL while a release is published and promoted, ``times`` over; what is on disk has to load."""
    rng, problems, done = random.Random(13), [], 0  # nosec B311 # no secret
    registry = Registry(home)
    copied(release, home, FIRST)
    registry.promote(FIRST)
    words = ("publish", str(home), str(release.path))
    whole_s = work.run(*words, "whole")
    for number in range(times):
        name, before = f"killed-{number}", registry.production()
        killed = work.killed(rng.uniform(0, LATER * whole_s), *words, name)
        done += not killed
        reason = unsound(home) or ("" if registry.production() in (before, name) else "another in production")
        problems += [f"after {number}: {reason}"] if reason else []
        _drop_old(registry)
        note(f"publish: {number + 1} of {times} ended, {len(problems)} problems")
    left_behind = len(registry.clean(older_than_s=0))
    work.run(*words, "last")
    problems += [f"at the end: {unsound(home)}"] if unsound(home) or registry.production() != "last" else []
    text = f"{done} had finished; {left_behind} staging folders left and removed; the last is complete"
    return Row(
        "publish", f"SIGKILL x {times} within {whole_s:.2f} s", not problems, "; ".join([text, *problems[:3]])
    )


def train_killed(times: int, folder: Path) -> Row:
    """SIGKILL at random points of a small training and its publishing, continued each time.

    What is on disk has to load after each, and the release in the end has the errors of a run that nobody
    ended.
    """
    rng, problems = random.Random(17), []  # nosec B311 # no secret
    whole_s = work.run("train", str(folder / "whole"))
    expected = _errors(folder / "whole")
    kills, rounds = 0, 0
    while kills < times:
        home = folder / f"round-{rounds}"
        rounds += 1
        while kills < times and work.killed(rng.uniform(0, 0.6 * whole_s), "train", str(home)):
            kills += 1
            reason = unsound(home, need_production=False) or unreadable(home)
            problems += [f"after {kills}: {reason}"] if reason else []
            note(f"train: {kills} of {times} ended, {len(problems)} problems")
        work.run("train", str(home))
        got = _errors(home)
        other = "" if got == expected else f"errors {got}, need {expected}"
        if reason := unsound(home, need_production=False) or other:
            problems.append(f"round {rounds}: {reason}")
        shutil.rmtree(home, ignore_errors=True)
    text = f"{rounds} runs continued to the end, with the test errors of a run that was left alone"
    return Row(
        "train", f"SIGKILL x {times} within {whole_s:.0f} s", not problems, "; ".join([text, *problems[:3]])
    )


def disk_full(release: Release) -> Row:
    """Publish and promote where there is no room (a small tmpfs): refused, nothing is half."""
    did = "publishing and promoting on a full tmpfs"
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        return Row("disk full", did, None, "needs root, to mount a small tmpfs")
    size = sum(entry["bytes"] for entry in release.files.values())
    with _small_disk(mount, size + size // 2 + SPARE_BYTES) as home:
        if home is None:
            return Row("disk full", did, None, "a tmpfs cannot be mounted here")
        registry, messages = Registry(home), []
        copied(release, home, FIRST)
        registry.promote(FIRST)
        messages.append(_refused(lambda: copied(release, home, "second")))
        problems = [unsound(home), "" if registry.production() == FIRST else "production moved"]
        problems += [
            ""
            if [candidate.id for candidate in registry.releases()] == [FIRST]
            else "half a release is there"
        ]
        problems += ["" if not list(registry.folder.glob(".staging-*")) else "a staging folder is left"]
        with _filled(home):
            messages.append(_refused(lambda: _move(registry)))
            problems += [unsound(home), "" if registry.production() == FIRST else "production moved"]
    problems += ["" if all(messages) else "no error was raised"]
    problems_left = [problem for problem in problems if problem]
    return Row("disk full", did, not problems_left, "; ".join([*filter(None, messages), *problems_left]))


def unsound(home: Path, *, need_production: bool = True) -> str:
    """Why what is published below ``home`` cannot be used; empty if all of it can.

    Every release is hashed, and the one in production makes a forecast.
    """
    registry = Registry(home)
    try:
        for release in registry.releases():
            if release.state != "ok":
                return f"{release.id} is {release.state}: {release.reason}"
            registry.verify(release.id)
        if registry.production() is None:
            return "nothing is in production" if need_production else ""
        models = ReleasedModels(registry.open("production"))
        symbol = next(symbol for symbol in models.universe.symbols if _forecasts(models, symbol))
        return "" if symbol else "no forecast"
    except (NsecastError, OSError, StopIteration) as error:
        return f"{type(error).__name__}: {error}"


def unreadable(home: Path) -> str:
    """The first file below ``runs`` that was given its name and cannot be read, with the reason."""
    for run in sorted((home / "runs").glob("*/")):
        for path in sorted(entry for entry in run.rglob("*") if not entry.name.startswith(".")):
            try:
                if path.suffix == ".json":
                    json.loads(path.read_bytes())
                elif path.suffix == ".npz":
                    with np.load(path, allow_pickle=False) as arrays:
                        all(arrays[name].size for name in arrays.files)
            except Exception as error:
                return f"{path.relative_to(home)}: {type(error).__name__}: {error}"
        for result in run.glob("tasks/*/bundle/result.json"):
            job = result.parents[1].name
            try:
                load_bundle(bundles_dir(run), RunSpec.load(run).config.preset, job)
            except NsecastError as error:
                return f"bundle of {job}: {error.message}"
    return ""


def _errors(home: Path) -> object:
    return Registry(home).open("latest").info["test"]


def _forecasts(models: ReleasedModels, symbol: str) -> bool:
    try:
        return all(
            np.isfinite([forecast.published, forecast.raw]).all() for forecast in models.forecast(symbol)
        )
    except NsecastError:
        return False  # too few closes


def _drop_old(registry: Registry) -> None:
    there = registry.production()
    for release in registry.releases()[KEPT:]:
        if release.id not in (there, FIRST):
            shutil.rmtree(registry.folder / release.id)


def _refused(work: Callable[[], object]) -> str:
    """The problems; empty if there are none."""
    try:
        work()
    except (OSError, NsecastError) as error:
        return f"refused: {str(error).splitlines()[0][:80]}"
    return ""


def _move(registry: Registry) -> None:
    """Move production, with evidence that is longer than what is free."""
    registry.promote(FIRST)
    registry._alias.change(lambda history: ("promote", FIRST, {"why": "x" * 100_000}))


@contextmanager
def _small_disk(mount: str, size: int) -> Iterator[Path | None]:
    with tempfile.TemporaryDirectory(prefix="nse-full-") as name:
        command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name]
        if subprocess.run(command, capture_output=True, check=False).returncode:  # nosec B603 # no shell
            yield None
            return
        try:
            yield Path(name)
        finally:
            umount = mount.replace("mount", "umount")
            subprocess.run([umount, name], check=False)  # nosec B603 # what was mounted above


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Run a block while there is no byte free on the disk of ``folder``."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as stream:
        while stream.write(b"\0" * 4_096):
            pass
    yield
    filler.unlink()
