"""Publishing: repeated, concurrent, or killed at any step."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.releases.registry import FILES, publish, staging_folders

from common.errors import BundleError
from common.release.registry import Registry


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


def test_publishing_the_same_content_again_changes_nothing(registry):
    first = publish(registry, "r1", preset="residual")
    assert publish(registry, "r1", preset="residual") == first
    assert [release.id for release in registry.releases()] == ["r1"]
    assert not staging_folders(registry)


def test_publishing_other_content_under_a_used_id_is_refused(registry):
    publish(registry, "r1")
    with pytest.raises(BundleError, match=r"config\.toml: got other content"):
        publish(registry, "r1", FILES | {"config.toml": b"seed = 8\n"})
    with pytest.raises(BundleError, match="info: got other content"):
        publish(registry, "r1", source="synthetic")
    fewer = {name: content for name, content in FILES.items() if name != "config.toml"}
    for files in (fewer, fewer | {"specific/SCOM/model.onnx": b""}):
        with pytest.raises(BundleError, match=r"config\.toml: got other content"):
            publish(registry, "r1", files)
    with pytest.raises(BundleError, match=r"a\.bin: got other content"):
        publish(registry, "r1", FILES | {"a.bin": b""})
    assert registry.open("r1").file("config.toml").read_bytes() == FILES["config.toml"]


def test_exactly_one_of_many_publishers_of_an_id_wins(registry):
    def attempt(writer):
        try:
            return publish(registry, "r1", {"writer": bytes([writer])}).file("writer").read_bytes()[0]
        except BundleError:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = {(mine, got) for mine, got in enumerate(pool.map(attempt, range(8))) if got is not None}
    assert len(winners) == 1
    [(mine, got)] = winners
    assert mine == got == registry.open("r1").file("writer").read_bytes()[0]


def test_cleaning_removes_only_staging_folders_left_for_a_day(registry):
    publish(registry, "r1")
    old, new = registry.stage("r2"), registry.stage("r3")
    (old / "half.onnx").write_bytes(b"half")
    for path in (old / "half.onnx", old):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert registry.clean() == [old]
    assert staging_folders(registry) == [new]
    assert registry.open("r1").id == "r1"


CRASH_EVERYWHERE = """
import itertools, os, signal, sys
from pathlib import Path
from common.release.registry import Registry

def publish_two_and_promote(registry):
    for number in (1, 2):
        staging = registry.stage(f"r{number}")
        for part in ("a", "b"):
            (staging / part).write_bytes(bytes([number]) * 1000)
        registry.publish(staging, f"r{number}", info={"number": number})
        registry.promote(f"r{number}")

def kill_before(fatal):
    steps = itertools.count()
    def hook(event, _):
        if event.split(".")[0] in ("open", "os", "fcntl", "shutil") and next(steps) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

for fatal in itertools.count():
    registry = Registry(Path(sys.argv[1]) / str(fatal))
    child = os.fork()
    if child == 0:
        kill_before(fatal)
        publish_two_and_promote(registry)
        os._exit(0)
    finished = os.waitpid(child, 0)[1] == 0
    published = [registry.verify(release.id).id for release in registry.releases()]
    production = registry.production()
    print(fatal, "+".join(published), production)
    assert production is None or registry.open("production").info["number"]
    publish_two_and_promote(registry)
    assert registry.open("production").id == "r2"
    if finished:
        break
"""


def test_a_publisher_killed_before_any_step_leaves_complete_releases_and_can_run_again(tmp_path):
    command = [sys.executable, "-c", CRASH_EVERYWHERE, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[4])
    assert answer.returncode == 0, answer.stderr
    seen = [line.split(" ", 1)[1] for line in answer.stdout.splitlines()]
    assert len(seen) > 50
    assert set(seen) == {" None", "r1 None", "r1 r1", "r2+r1 r1", "r2+r1 r2"}
