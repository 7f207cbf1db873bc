"""The production alias: promotion, rollback, evidence, damage."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from support.releases.registry import publish

from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.release.manifest import MANIFEST
from common.release.registry import Registry


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


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


def test_a_promotion_keeps_its_evidence_which_cannot_override_the_fields_of_the_move(registry):
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
