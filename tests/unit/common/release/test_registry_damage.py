"""Damaged releases are refused with the name of the file."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.releases.registry import FILES, publish, rewrite_manifest

from common.errors import BundleError
from common.release.manifest import MANIFEST, read_json
from common.release.registry import Registry


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


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
