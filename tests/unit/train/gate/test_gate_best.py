"""Comparison with the best earlier release, by horizon and by intervals."""

from pathlib import Path

import numpy as np
import pytest
from support.releases.release import REAL
from support.training.gate import ABSURD, SLIGHTLY, in_production, new_release, ratios, scored

from common.errors import GateClosed
from common.release.alias import anchor_of
from common.release.registry import Registry
from train.evaluation.backtest import backtest
from train.gate.comparison import MARGIN
from train.gate.promotion import judge, promote_through_gate


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_releases_that_each_lose_a_little_are_measured_against_the_best_that_was_in_production(registry):
    steps = [0.0, SLIGHTLY, 1.5 * SLIGHTLY]
    names = ["best", "second", "third"]
    far = [
        ratios(scored(new_release(registry, n, shift=s), 3))["rel_rmse"]
        for n, s in zip(names, steps, strict=True)
    ]
    assert all(0 < gap < MARGIN for gap in np.diff(far)) and far[2] - far[0] > MARGIN
    for name in names[:2]:
        promote_through_gate(registry, name)
    with pytest.raises(GateClosed) as closed:
        promote_through_gate(registry, "third")
    reasons = closed.value.context["reasons"]
    assert all("in the best release so far (best) it is" in reason for reason in reasons), reasons
    start = f"relRMSE of the raw price is {far[2]:.4f} 3 days ahead"
    (reason,) = [item for item in reasons if item.startswith(start)]
    assert f"in the best release so far (best) it is {far[0]:.4f} on the same" in reason
    assert [move["anchor"] for move in registry.history()] == ["best", "best"]


def test_the_best_release_is_still_known_after_a_rollback_and_after_a_forced_move(registry):
    for name, shift in (("fair", SLIGHTLY), ("best", 0.0), ("absurd", ABSURD)):
        new_release(registry, name, shift=shift)
        promote_through_gate(registry, name, force=name == "absurd")
    assert anchor_of(registry.history()) == "best"
    for _ in range(2):
        registry.rollback()
    assert registry.production() == "fair" and anchor_of(registry.history()) == "best"
    new_release(registry, "late", shift=1.5 * SLIGHTLY)
    verdict = judge(registry, "late")
    assert all("in the best release so far (best)" in reason for reason in verdict.reasons)
    assert not verdict.passed and verdict.comparison["against"] == "fair"
    assert (verdict.best["against"], verdict.best["comparable"], verdict.anchor) == ("best", True, "best")


def test_production_from_before_best_releases_were_recorded_counts_as_best_after_a_forced_move(registry):
    in_production(registry, "old")
    new_release(registry, "absurd", shift=ABSURD)
    promote_through_gate(registry, "absurd", force=True)
    assert anchor_of(registry.history()) == "old"


def test_a_better_release_becomes_the_best_and_an_equal_one_takes_its_place(registry):
    for name, shift, anchor in (("fair", SLIGHTLY, "fair"), ("good", 0.0, "good"), ("equal", 0.0, "equal")):
        new_release(registry, name, shift=shift)
        promote_through_gate(registry, name)
        assert anchor_of(registry.history()) == anchor


def test_a_missing_best_release_is_reported_as_incomparable_and_replaced(registry):
    for name, shift in (("best", 0.0), ("second", SLIGHTLY)):
        new_release(registry, name, shift=shift)
        promote_through_gate(registry, name)
    registry.resolve("best").path.rename(registry.folder / ".gone")
    new_release(registry, "third", shift=1.5 * SLIGHTLY)
    _, verdict = promote_through_gate(registry, "third")
    assert verdict.best == {"against": "best", "comparable": False, "reason": "it is missing or damaged"}
    assert registry.history()[-1]["gate"]["best"] == verdict.best
    assert anchor_of(registry.history()) == "third"


def test_a_best_release_of_synthetic_data_is_no_measure_for_real_ones(registry):
    new_release(registry, "invented")
    promote_through_gate(registry, "invented")
    new_release(registry, "real", source=REAL, shift=SLIGHTLY)
    promote_through_gate(registry, "real")
    assert anchor_of(registry.history()) == "real"


def test_a_release_that_is_worse_at_one_of_several_horizons_is_refused_for_that_one(registry, monkeypatch):
    in_production(registry, "old")
    new_release(registry, "new")

    def worse_three_days_ahead(models, *arguments, **named):
        table = backtest(models, *arguments, **named)
        rows = (table.table["horizon"] == 3) & (models.root.name == "new")
        table.table.loc[rows, "raw"] *= 1.01
        return table

    monkeypatch.setattr("train.gate.comparison.backtest", worse_three_days_ahead)
    (reason,) = judge(registry, "new").reasons
    assert reason.startswith("relRMSE of the raw price is") and "3 days ahead" in reason


def test_intervals_that_are_worse_than_those_in_production_are_refused(registry, monkeypatch):
    in_production(registry, "old")
    new_release(registry, "new")

    def wider(models, *arguments, **named):
        table = backtest(models, *arguments, **named)
        if models.root.name == "new":
            table.table["hi95"] *= 1.1
        return table

    monkeypatch.setattr("train.gate.comparison.backtest", wider)
    reasons = judge(registry, "new").reasons
    assert reasons and all("relPinball of the intervals" in reason for reason in reasons)


def test_a_release_without_intervals_does_not_replace_one_that_has_them(registry, monkeypatch):
    in_production(registry, "old")
    new_release(registry, "design", preset="v4_log")
    assert any(
        "the release has no intervals 1 day ahead" in reason for reason in judge(registry, "design").reasons
    )
