import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.errors import BundleError, ConfigError, GateClosed, NsecastError, ReleaseNotFound
from common.release.manifest import MANIFEST, _digest, read_json
from common.release.registry import Registry
from train.cli.models import app

FILES = {
    "general/model.onnx": b"weights" * 50,
    "specific/SCOM/model.onnx": b"more weights" * 50,
    "config.toml": b"seed = 7\n",
}


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


def publish(registry, release_id, files=FILES, **info):
    staging = registry.stage(release_id)
    for name, content in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    return registry.publish(staging, release_id, info=info)


def rewrite_manifest(published, **changes):
    """Alter a manifest the way a careful forger would, its own digest included."""
    manifest = json.loads(published.file(MANIFEST).read_text()) | changes
    manifest["digest"] = _digest(manifest)
    published.file(MANIFEST).write_text(json.dumps(manifest))


def staging_folders(registry):
    return list(registry.folder.glob(".staging-*"))


def test_a_published_release_reads_back_as_it_was_written(registry):
    published = publish(registry, "r1", preset="residual", source="synthetic")
    opened = registry.open("r1")
    assert opened == published and len({opened, published}) == 1
    assert len(set(registry.releases())) == 1
    assert opened.info == {"preset": "residual", "source": "synthetic"}
    assert opened.created.utcoffset().total_seconds() == 0
    assert {name: opened.file(name).read_bytes() for name in opened.files} == FILES
    assert not staging_folders(registry)


names = st.text("abcXYZ019_-. é", min_size=1, max_size=8).filter(
    lambda name: name.strip(".") and name != MANIFEST
)
trees = st.dictionaries(st.tuples(names, names).map("/".join), st.binary(max_size=64), min_size=1, max_size=5)
infos = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    max_size=3,
).filter(lambda info: all(abs(value) != float("inf") for value in info.values() if isinstance(value, float)))


@settings(max_examples=25, deadline=None)
@given(trees, infos)
def test_any_tree_and_info_make_the_round_trip(files, info):
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        staging = registry.stage("r1")
        for name, content in files.items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_bytes(content)
        registry.publish(staging, "r1", info=info)
        assert registry.promote("r1") == registry.open("production")
        release = registry.open("production")
        assert release.info == info
        assert {name: release.file(name).read_bytes() for name in release.files} == files


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_flip_of_any_bit_of_any_file_is_refused_by_name(data):
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        release = publish(registry, "r1", preset="residual")
        name = data.draw(st.sampled_from([*FILES, MANIFEST]))
        content = bytearray(release.file(name).read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
        release.file(name).write_bytes(content)
        with pytest.raises(BundleError) as caught:
            registry.open("r1")
        assert "r1" in str(caught.value) and name in str(caught.value)


def test_a_truncated_file_is_refused_with_both_sizes(registry):
    path = publish(registry, "r1").file("config.toml")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"r1.*config\.toml.*got 8 bytes, need 9"):
        registry.open("r1")


def test_a_missing_file_is_refused(registry):
    publish(registry, "r1").file("config.toml").unlink()
    with pytest.raises(BundleError, match=r"config\.toml: got no such file"):
        registry.verify("r1")


def test_an_extra_file_is_refused(registry):
    (publish(registry, "r1").path / "general" / "extra.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"general/extra\.bin"):
        registry.verify("r1")
    (registry.folder / "r1" / "also.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"also\.bin"):
        registry.verify("r1")


def test_a_release_without_a_manifest_is_incomplete_and_refused(registry):
    publish(registry, "r1").file(MANIFEST).unlink()
    with pytest.raises(BundleError, match=r"r1: manifest\.json"):
        registry.resolve("r1")
    assert [(release.id, release.state) for release in registry.releases()] == [("r1", "incomplete")]


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "a/../../b", "./a", "", "a//b"])
def test_a_manifest_that_points_outside_its_release_is_refused(registry, path):
    release = publish(registry, "r1")
    rewrite_manifest(release, files=release.files | {path: {"sha256": "0", "bytes": 1}})
    with pytest.raises(BundleError, match="outside the release"):
        registry.resolve("r1")


@pytest.mark.parametrize(
    "changes",
    [
        *({"release": "r2"}, {"created": "today"}, {"files": []}, {"info": 3}, {"files": {"a": 1}}),
        {"files": {"a": {"bytes": 1, "sha256": 5}}},
        {"files": {"a": {"bytes": "1", "sha256": "0"}}},
    ],
)
def test_a_manifest_of_the_wrong_shape_is_refused(registry, changes):
    rewrite_manifest(publish(registry, "r1"), **changes)
    with pytest.raises(BundleError, match="invalid manifest"):
        registry.resolve("r1")


def test_a_symlink_in_a_release_is_refused_even_if_its_target_has_the_right_bytes(registry, tmp_path):
    path = publish(registry, "r1").file("config.toml")
    path.rename(tmp_path / "elsewhere.toml")
    path.symlink_to(tmp_path / "elsewhere.toml")
    with pytest.raises(BundleError, match=r"config\.toml: got a symbolic link"):
        registry.open("r1")


@pytest.mark.parametrize("complete", [True, False])
def test_a_release_s_folder_that_is_a_link_or_no_folder_is_refused_though_all_files_are_there(
    registry, tmp_path, complete
):
    path = publish(registry, "r1").path
    path.rename(tmp_path / "elsewhere")
    if complete:
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(b"")
    with pytest.raises(BundleError, match="release r1: "):
        registry.open("r1")
    with pytest.raises(BundleError, match="release r1: "):
        registry.resolve("r1")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc"), os.mkfifo])
def test_links_and_special_files_are_not_published(registry, make):
    staging = registry.stage("r1")
    make(staging / "odd")
    with pytest.raises(BundleError, match="r1: odd: got a"):
        registry.publish(staging, "r1", info={})
    assert registry.releases() == [] and registry.production() is None


def test_an_empty_folder_a_foreign_folder_and_nan_are_not_published(registry, tmp_path):
    with pytest.raises(BundleError, match="empty folder"):
        registry.publish(registry.stage("r1"), "r1", info={})
    with pytest.raises(BundleError, match="not a staging folder"):
        registry.publish(tmp_path, "r1", info={})
    with pytest.raises(BundleError, match="info"):
        publish(registry, "r1", test_relMAE=float("nan"))


def test_only_a_folder_that_was_staged_in_this_registry_is_published(registry, tmp_path):
    elsewhere = Registry(tmp_path / "other").stage("r2")
    link, file = registry.stage("r2"), registry.stage("r3")
    link.rmdir()
    link.symlink_to(elsewhere)
    file.rmdir()
    file.write_bytes(b"seed = 7\n")
    (elsewhere / "config.toml").write_bytes(b"seed = 7\n")
    for folder in (elsewhere, link, file, registry.folder / ".staging-r2-none", publish(registry, "r1").path):
        with pytest.raises(BundleError, match="not a staging folder"):
            registry.publish(folder, "r2", info={})
    assert [release.id for release in registry.releases()] == ["r1"] and registry.verify("r1")


def test_the_latest_release_is_the_newest_complete_one_and_releases_without_a_time_are_listed_last(registry):
    for release_id in ("r5", "r3", "r4", "r9"):
        publish(registry, release_id)
    registry.open("r9").file(MANIFEST).unlink()
    registry.open("r4").file("config.toml").write_bytes(b"")
    assert [(release.id, release.state) for release in registry.releases()] == [
        ("r3", "ok"),
        ("r5", "ok"),
        ("r9", "incomplete"),
        ("r4", "damaged"),
    ]
    assert registry.resolve("latest").id == registry.open("latest").id == "r3"


def test_releases_of_one_moment_are_listed_by_their_names(registry):
    for release_id in ("r2", "r3", "r1"):
        rewrite_manifest(publish(registry, release_id), created="2026-11-24T20:51:15+00:00")
    assert [release.id for release in registry.releases()] == ["r3", "r2", "r1"]


def test_a_production_that_was_deleted_is_named_together_with_the_alias(registry):
    published = publish(registry, "r1")
    publish(registry, "r2")
    registry.promote("r1")
    published.path.rename(registry.folder.parent / "away")
    with pytest.raises(
        ReleaseNotFound, match=r"release production \(r1\): not in .*; there are r2\."
    ) as caught:
        registry.open("production")
    assert caught.value.context == {"release": "production", "known": ["r2"]}
    with pytest.raises(ReleaseNotFound, match=r"release r1: not in"):
        registry.promote("r1")


def test_a_promotion_judged_against_something_else_than_what_is_there_is_refused(registry):
    for release_id in ("r1", "r2", "r3"):
        publish(registry, release_id)
    registry.promote("r1", instead_of=None)
    for judged, item in ((None, "nothing"), ("r3", "r3")):
        with pytest.raises(GateClosed, match=f"release r2 was judged against {item}, but r1 has gone"):
            registry.promote("r2", instead_of=judged)
    assert registry.production() == "r1"
    assert registry.promote("r2", instead_of="r1").id == registry.production() == "r2"


@pytest.mark.parametrize(
    "content", [None, b"{", b"\xff", b"[" * 100_000], ids=["none", "cut", "bytes", "deep"]
)
def test_a_published_file_that_is_no_json_is_refused_by_name(tmp_path, content):
    path = tmp_path / "universe.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"universe\.json: \w+Error") as caught:
        read_json(path)
    assert caught.value.context == {"path": str(path)}


def test_only_files_of_the_manifest_are_handed_out(registry):
    release = publish(registry, "r1")
    for name in ("../r1/config.toml", "/etc/passwd", "absent"):
        with pytest.raises(BundleError, match="r1"):
            release.file(name)


@pytest.mark.parametrize("release_id", ["..", "a/b", "", ".hidden", "aliases", "production", "latest", "a@b"])
def test_release_ids_are_plain_names(registry, release_id):
    with pytest.raises(ConfigError, match="release id"):
        registry.stage(release_id)
    assert not registry.folder.exists()


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


def test_of_many_publishers_of_one_id_exactly_one_wins(registry):
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


def test_publishing_moves_nothing_to_production(registry):
    for release_id in ("r1", "r2"):
        publish(registry, release_id)
        assert registry.production() is None and registry.history() == []
    with pytest.raises(ReleaseNotFound, match=r"there are r2, r1.*nsecast models promote"):
        registry.open("production")
    registry.promote("r1")
    assert registry.production() == registry.open("production").id == "r1"
    assert registry.open("latest").id == "r2"
    assert [release.id for release in registry.releases()] == ["r2", "r1"]


def test_a_promotion_keeps_its_evidence_which_cannot_replace_what_the_move_says(registry):
    publish(registry, "r1")
    publish(registry, "r2")
    registry.promote("r1", evidence={"gate": {"rel_mae": 0.98}, "release": "r9", "action": "rollback"})
    registry.promote("r2")
    registry.rollback()
    first, second, third = registry.history()
    assert (first["release"], first["action"], first["gate"]) == ("r1", "promote", {"rel_mae": 0.98})
    assert second.keys() == third.keys() == {"release", "action", "at"}


@pytest.mark.parametrize("value", [float("nan"), {1}])
def test_evidence_that_is_not_plain_json_is_refused_and_production_stays(registry, value):
    publish(registry, "r1")
    registry.promote("r1")
    publish(registry, "r2")
    with pytest.raises(BundleError, match="r2: evidence"):
        registry.promote("r2", evidence={"gate": value})
    assert registry.production() == "r1" and len(registry.history()) == 1


def test_an_alias_file_from_when_publishing_moved_it_is_still_understood(registry):
    for release_id in ("r1", "r2"):
        publish(registry, release_id)
    moves = [{"release": "r1", "action": "publish", "at": "2026-11-24T20:51:15+00:00"}]
    alias = registry.folder / "aliases" / "production.json"
    alias.parent.mkdir()
    alias.write_text(json.dumps({"production": "r1", "history": moves}))
    registry.promote("r2")
    assert registry.rollback().id == registry.production() == "r1"


def test_rollback_goes_back_one_promotion_at_a_time_and_keeps_the_history(registry):
    for release_id in ("r1", "r2", "r3"):
        publish(registry, release_id)
    registry.promote("r1")
    registry.promote("r2")
    registry.promote("r2")
    registry.promote("latest")
    assert [registry.rollback().id, registry.rollback().id] == ["r2", "r1"]
    with pytest.raises(ReleaseNotFound, match="before r1"):
        registry.rollback()
    registry.promote("r3")
    assert registry.rollback().id == registry.production() == "r1"
    moves = [(move["action"], move["release"]) for move in registry.history()]
    assert moves[:5] == [
        ("promote", "r1"),
        ("promote", "r2"),
        ("promote", "r3"),
        ("rollback", "r2"),
        ("rollback", "r1"),
    ]


def test_every_move_changes_the_stamp_and_no_move_has_none(registry):
    stamps = [registry.stamp()]
    for release_id in ("r1", "r2"):
        publish(registry, release_id)
        assert registry.stamp() == stamps[-1]
        registry.promote(release_id)
        stamps.append(registry.stamp())
    registry.rollback()
    stamps.append(registry.stamp())
    assert stamps[0] is None and len(set(stamps)) == 4


def test_a_damaged_release_is_not_promoted_and_can_be_rolled_back_from(registry):
    publish(registry, "r1")
    release = publish(registry, "r2")
    registry.promote("r1")
    registry.promote("r2")
    release.file(MANIFEST).unlink()
    with pytest.raises(BundleError, match="r2"):
        registry.open("production")
    assert registry.rollback().id == "r1"
    with pytest.raises(BundleError, match="r2"):
        registry.promote("r2")
    assert registry.production() == "r1"


def test_concurrent_promotions_leave_a_valid_alias_with_every_move(registry):
    for number in range(4):
        publish(registry, f"r{number}")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(registry.promote, [f"r{number % 4}" for number in range(20)]))
    moves = [move["release"] for move in registry.history()]
    assert registry.production() == moves[-1]
    assert all(before != after for before, after in pairwise(moves))


def moved_to(production, *releases):
    moves = [{"release": release_id, "action": "promote"} for release_id in releases]
    return json.dumps({"production": production, "history": moves})


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", '{"production": "r2", "history": []}', '{"history": 3}'),
        *(
            moved_to("r2", "r1"),
            moved_to("../r1", "../r1"),
            moved_to("r1", "../r1", "r1"),
            moved_to("r1", 1, "r1"),
        ),
    ],
)
def test_an_alias_file_edited_by_hand_is_refused_by_name(registry, content):
    publish(registry, "r1")
    registry.promote("r1")
    alias = registry.folder / "aliases" / "production.json"
    alias.write_text(content)
    with pytest.raises(BundleError, match=r"production\.json.*nsecast models promote"):
        registry.open("production")
    alias.unlink()
    assert registry.promote("r1").id == registry.production() == "r1"


def test_an_unknown_release_names_those_there_are(registry):
    with pytest.raises(ReleaseNotFound, match=r"none is published yet.*nsecast train"):
        registry.resolve("production")
    publish(registry, "r1")
    with pytest.raises(ReleaseNotFound, match="there are r1"):
        registry.resolve("r9")
    for reference in ("../r1", "aliases", "", "/etc"):
        with pytest.raises(ReleaseNotFound):
            registry.resolve(reference)


def test_reading_an_empty_registry_creates_nothing(registry, tmp_path):
    assert registry.releases() == [] and registry.clean() == []
    with pytest.raises(NsecastError):
        registry.rollback()
    assert list(tmp_path.iterdir()) == []


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


def command(registry, *arguments):
    return CliRunner().invoke(app, [*arguments, "--home", str(registry.folder.parent)])


def test_the_models_command_lists_promotes_and_rolls_back(registry):
    assert "nsecast train" in command(registry).stderr
    publish(registry, "r1", source="synthetic", models=16, test_relMAE=0.987)
    publish(registry, "r2", source="archive")
    listing = command(registry)
    assert listing.exit_code == 0 and "SYNTHETIC" in listing.stdout and "0.987" in listing.stdout
    registry.promote("r1")
    refused = command(registry, "promote", "latest")
    assert refused.exit_code == 1 and "--force" in refused.stderr and registry.production() == "r1"
    forced = command(registry, "promote", "latest", "--force").stdout
    assert forced.endswith("production: r2 (was r1)\n")
    rows = json.loads(command(registry, "--json").stdout)
    assert [(row["id"], row["production"], row["state"]) for row in rows] == [
        ("r2", True, "ok"),
        ("r1", False, "ok"),
    ]
    assert re.fullmatch(r"production: r1 \(was r2\), 0\.\d\d s\n", command(registry, "rollback").stdout)
    again = command(registry, "rollback")
    assert again.exit_code == 1 and "before r1" in again.stderr


def test_the_models_command_verifies_one_release_or_all(registry):
    publish(registry, "r1")
    publish(registry, "r2").file("config.toml").write_bytes(b"seed = 8\n")
    assert command(registry, "verify", "r1").exit_code == 0
    every = command(registry, "verify")
    assert every.exit_code == 1 and "r1: ok, 3 files" in every.stdout and "r2: config.toml" in every.stderr
    assert command(registry, "verify", "r9").exit_code == 1
