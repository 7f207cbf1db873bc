"""Releases and the alias in an object store: releases are complete or absent, and moves are atomic."""

import shutil

import pytest
from obstore.store import MemoryStore
from support.storage.shaky_store import FILES, Shaky, publish, store_of
from support.storage.store import machine, objects

from common import storage
from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.release import remote_copies as copies
from common.release.manifest import MANIFEST
from common.release.registry import Registry

pytestmark = pytest.mark.usefixtures("no_mirrors")


@pytest.fixture
def two(tmp_path):
    """The registries of two machines with one store."""
    store = MemoryStore()
    return tuple(Registry(machine(tmp_path / name, store, Shaky)) for name in ("a", "b"))


def test_a_release_published_on_one_machine_is_listed_and_opened_on_another_byte_for_byte(two):
    here, there = two
    published = publish(here, "r1", preset="residual")
    publish(here, "r2")
    assert [(release.id, release.state) for release in there.releases()] == [("r2", "ok"), ("r1", "ok")]
    opened = there.verify("r1")
    assert opened.info == {"preset": "residual"} and opened.created == published.created
    assert {name: opened.file(name).read_bytes() for name in opened.files} == FILES
    assert there.resolve("latest").id == "r2"


def test_the_manifest_is_the_last_object_of_a_release(two):
    publish(two[0], "r1")
    written = [key for key in store_of(two[0]).written if key.startswith("releases/r1/")]
    assert written[-1] == f"releases/r1/{MANIFEST}" and len(written) == len(FILES) + 1


@pytest.mark.parametrize("writes", range(len(FILES) + 1))
def test_a_publish_cut_off_at_any_write_shows_nothing_and_the_next_one_completes_it(two, writes):
    here, there = two
    publish(here, "r1")
    here.promote("r1")
    store_of(here).left = writes
    with pytest.raises(storage.StorageError):
        publish(here, "r2")
    assert [release.id for release in there.releases()] == ["r1"]
    assert there.production() == "r1" and there.resolve("latest").id == "r1"
    with pytest.raises(ReleaseNotFound, match="r2"):
        there.open("r2")
    store_of(here).left = float("inf")
    publish(here, "r2")
    assert there.verify("r2").files.keys() == FILES.keys()


def test_leftovers_of_an_upload_with_other_files_do_not_get_into_the_release(two):
    here, there = two
    store_of(here).left = 3
    with pytest.raises(storage.StorageError):
        publish(here, "r1", {"a.bin": b"1", "b.bin": b"2", "c.bin": b"3", "d.bin": b"4"})
    store_of(here).left = float("inf")
    publish(here, "r1")
    assert objects(here.folder) >= {"releases/r1/config.toml"}
    assert not {key for key in objects(here.folder) if key.endswith(".bin")}
    there.verify("r1")


def test_publishing_a_release_again_never_changes_it(two):
    here, there = two
    first = publish(here, "r1", preset="residual")
    again = publish(there, "r1", preset="residual")
    assert again.created == first.created
    for files, info in ((FILES | {"config.toml": b"seed = 8\n"}, {"preset": "residual"}), (FILES, {})):
        with pytest.raises(BundleError, match="a release never changes"):
            publish(there, "r1", files, **info)
    assert here.verify("r1").created == first.created


def test_one_of_two_promotions_judged_against_the_same_production_is_refused(two):
    here, there = two
    for name in ("r1", "r2", "r3"):
        publish(here, name)
    here.promote("r1")
    store_of(here).before_a_condition = lambda: there.promote("r3", instead_of="r1")
    with pytest.raises(GateClosed, match="r2 was judged against r1, but r3 has gone to production meanwhile"):
        here.promote("r2", instead_of="r1")
    assert [move["release"] for move in here.history()] == ["r1", "r3"]
    assert there.history() == here.history()


def test_unconditional_moves_are_applied_one_after_the_other(two):
    here, there = two
    for name in ("r1", "r2", "r3"):
        publish(here, name)
    store_of(here).before_a_condition = lambda: there.promote("r2")
    here.promote("r3")
    store_of(there).before_a_condition = lambda: here.promote("r1")
    assert there.rollback().id == "r3", "the release in production before the move is restored"
    assert [(move["action"], move["release"]) for move in there.history()] == [
        ("promote", "r2"),
        ("promote", "r3"),
        ("promote", "r1"),
        ("rollback", "r3"),
    ]


def test_a_promotion_fails_with_a_message_if_the_alias_changes_constantly(two):
    here, there = two
    publish(here, "r1")
    publish(here, "r2")
    here.promote("r1")
    here.promote("r2")

    def move():
        there.promote("r2" if there.production() != "r2" else "r1")
        store_of(here).before_a_condition = move

    store_of(here).before_a_condition = move
    with pytest.raises(GateClosed, match=r"production\.json: others moved production meanwhile"):
        here.rollback()


def test_every_move_changes_the_stamp_on_every_machine(two):
    here, there = two
    publish(here, "r1")
    publish(here, "r2")
    stamps = [there.stamp()]
    for name in ("r1", "r2"):
        here.promote(name)
        stamps.append(there.stamp())
    here.rollback()
    stamps.append(there.stamp())
    assert stamps[0] is None and len(set(stamps)) == 4 and there.stamp() == here.stamp() == stamps[-1]


def test_a_damaged_copy_is_replaced_and_a_damaged_object_is_refused_by_name(two):
    here, there = two
    publish(here, "r1")
    there.open("r1").file("config.toml").write_bytes(b"seed = 8\n")
    assert there.open("r1").file("config.toml").read_bytes() == FILES["config.toml"]

    store_of(here).put("releases/r1/config.toml", b"seed = 9\n")
    shutil.rmtree(there.folder / "r1")
    with pytest.raises(BundleError, match=r"r1: config\.toml: got other content"):
        there.open("r1")
    assert not (there.folder / "r1").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda store: store.delete(["releases/r1/config.toml"]), r"config\.toml: got no such file"),
        (lambda store: store.put("releases/r1/config.toml", b""), r"config\.toml: got 0 bytes, need 9"),
        (lambda store: store.put("releases/r1/x.bin", b""), r"x\.bin: got a file"),
        (lambda store: store.put(f"releases/r1/{MANIFEST}", b"{}"), "invalid manifest"),
    ],
)
def test_an_object_that_is_missing_cut_short_or_too_many_is_seen_without_downloading(two, change, message):
    here, there = two
    publish(here, "r1")
    publish(here, "r2")
    here.open("r1")
    change(store_of(here))
    states = {release.id: release for release in there.releases()}
    assert states["r1"].state == "damaged" and states["r2"].state == "ok"
    with pytest.raises(BundleError, match=message):
        here.verify("r1")
    with pytest.raises(BundleError, match="r1"):
        here.promote("r1")


def test_a_release_deleted_in_the_store_is_gone_and_may_be_published_again(two):
    here, there = two
    publish(here, "r1")
    there.open("r1")
    storage.remove_tree(here.folder / "r1")
    with pytest.raises(ReleaseNotFound, match="s3://memory/home/releases; none is published"):
        there.open("r1")
    other = FILES | {"config.toml": b"seed = 8\n"}
    publish(here, "r1", other)
    assert there.open("r1").file("config.toml").read_bytes() == other["config.toml"]


def test_a_server_continues_with_its_copies_while_the_store_is_unreachable(two, tmp_path):
    here, there = two
    publish(here, "r1")
    publish(here, "r2")
    here.promote("r1")
    server = Registry(there.folder.parent, offline_ok=True)
    server.open("production")
    store_of(there).left = 0
    assert server.production() == "r1" and server.open("production").id == "r1"
    with pytest.raises(storage.StorageError):
        server.open("r2")
    with pytest.raises(storage.StorageError):
        there.production()


def test_cleaning_deletes_what_an_upload_left_and_no_release(two):
    here, there = two
    publish(here, "r1")
    here.promote("r1")
    store_of(here).left = 2
    with pytest.raises(storage.StorageError):
        publish(here, "r2")
    store_of(here).left = float("inf")
    there.clean(older_than_s=3600)
    assert {key for key in objects(here.folder) if key.startswith("releases/r2/")}
    there.clean(older_than_s=0)
    assert not {key for key in objects(here.folder) if key.startswith("releases/r2/")}
    assert there.verify("production").id == "r1"


def test_a_machine_keeps_copies_of_the_newest_releases_only(two, monkeypatch):
    here, there = two
    monkeypatch.setattr(copies, "COPIES", 2)
    for number in range(4):
        publish(here, f"r{number}")
        there.open(f"r{number}")
    kept = sorted(path.name for path in there.folder.iterdir() if not path.name.startswith("."))
    assert kept == ["r2", "r3"] and there.open("r0").id == "r0"
