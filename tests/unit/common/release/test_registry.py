"""The registry: publishing, listing and opening releases, and the models command."""

import json
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.releases.registry import FILES, publish, rewrite_manifest, staging_folders
from typer.testing import CliRunner

from common.errors import BundleError, ConfigError, NsecastError, ReleaseNotFound
from common.release.manifest import MANIFEST
from common.release.registry import Registry
from train.cli.models import app


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


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


@pytest.mark.parametrize("release_id", ["..", "a/b", "", ".hidden", "aliases", "production", "latest", "a@b"])
def test_release_ids_are_plain_names(registry, release_id):
    with pytest.raises(ConfigError, match="release id"):
        registry.stage(release_id)
    assert not registry.folder.exists()


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
