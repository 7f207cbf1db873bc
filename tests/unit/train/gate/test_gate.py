"""The gate to production: what it lets through, what it refuses and what is kept of it."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from support.releases.release import REAL, doctored
from support.training.gate import ABSURD, SLIGHTLY, WORSE, in_production, near, new_release, ratios, scored

from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.prices.panel import Panel
from common.release.registry import Registry
from train.gate import promotion
from train.gate.checklist import CHECKS
from train.gate.comparison import MARGIN, MINIMUM_CUTOFFS
from train.gate.promotion import judge, promote_through_gate


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_a_sound_release_goes_to_production_where_there_is_none_and_the_evidence_is_kept(registry):
    new_release(registry, "first")
    release, verdict = promote_through_gate(registry, "latest")
    assert registry.production() == release.id == "first"
    assert verdict.passed and verdict.comparison is None and verdict.reasons == ()
    assert [check.passed for check in verdict.checks] == [True] * len(CHECKS)
    (move,) = registry.history()
    assert move["action"] == "promote" and "forced" not in move
    assert move["gate"] == {"checks": f"{len(CHECKS)} of {len(CHECKS)}", "comparison": None}


def test_a_release_that_is_as_good_as_production_passes_with_the_figures_of_both(registry):
    old = in_production(registry, "old")
    new = new_release(registry, "new", shift=0.02)
    _, verdict = promote_through_gate(registry, "new")
    result = verdict.comparison
    assert registry.production() == "new" and result == registry.history()[-1]["gate"]["comparison"]
    assert (result["against"], result["comparable"], result["horizon"]) == ("old", True, 1)
    assert (
        result["n"] == len(near(new))
        and result["cutoffs"] == near(new)["cutoff"].nunique() >= MINIMUM_CUTOFFS
    )
    for name, release in (("release", new), ("production", old)):
        assert {key: result[name][key] for key in ("rel_mae", "rel_rmse")} == pytest.approx(
            ratios(near(release))
        )
    assert result["naive"]["mae"] == pytest.approx(
        (near(new)["last_price"] - near(new)["actual"]).abs().mean()
    )
    assert result["release"]["rel_rmse"] <= result["production"]["rel_rmse"] + MARGIN
    assert result["rel_rmse"] == pytest.approx(
        result["release"]["rel_rmse"] / result["production"]["rel_rmse"]
    )


def test_a_worse_release_is_refused_with_both_figures_and_production_stays(registry):
    in_production(registry, "old")
    worse = ratios(near(new_release(registry, "worse", shift=WORSE)))
    with pytest.raises(GateClosed) as closed:
        promote_through_gate(registry, "worse")
    message = closed.value.message
    for name in ("relMAE of the published price", "relRMSE of the raw price"):
        assert name in message
    assert f"{worse['rel_mae']:.4f}" in message and f"{worse['rel_rmse']:.4f}" in message
    assert "in production (old) it is 1.0000" in message and "need at most 0.005 more" in message
    assert "1 day ahead" in message and "3 days ahead" in message and "7 days ahead" in message
    assert "use --force to promote it anyway; that is recorded" in message
    assert closed.value.context["comparison"]["production"]["rel_mae"] == pytest.approx(1)
    assert registry.production() == "old" and len(registry.history()) == 1


def test_a_better_release_replaces_a_worse_one(registry):
    in_production(registry, "worse", shift=WORSE)
    new_release(registry, "better")
    _, verdict = promote_through_gate(registry, "better")
    assert registry.production() == "better" and verdict.comparison["rel_mae"] < 1


@pytest.mark.parametrize(("excess", "passes"), [(0.9, True), (1.1, False)])
def test_the_margin_is_half_a_percent_of_the_naive_error(registry, monkeypatch, excess, passes):
    assert MARGIN == 0.005
    in_production(registry, "old")
    worst = ratios(scored(new_release(registry, "new", shift=SLIGHTLY), 3))
    monkeypatch.setattr("train.gate.comparison.MARGIN", (max(worst.values()) - 1) / excess)
    assert judge(registry, "new").passed is passes


def test_a_release_judged_against_what_has_left_production_meanwhile_is_not_promoted(registry, monkeypatch):
    in_production(registry, "old", shift=0.05)
    better, late = new_release(registry, "better"), new_release(registry, "late", shift=0.05)

    compare = promotion.compare_releases

    def meanwhile(*releases):
        registry.promote(better.id)
        return compare(*releases)

    monkeypatch.setattr(promotion, "compare_releases", meanwhile)
    with pytest.raises(GateClosed, match=r"judged against old, but better has gone to production"):
        promote_through_gate(registry, late.id)
    assert registry.production() == better.id


def test_force_promotes_anyway_and_is_recorded_with_every_reason(registry):
    in_production(registry, "old")
    new_release(registry, "worse", shift=ABSURD)
    release, verdict = promote_through_gate(registry, "worse", force=True)
    assert registry.production() == release.id == "worse" and not verdict.passed
    move = registry.history()[-1]
    assert move["forced"] is True and move["reasons"] == list(verdict.reasons)
    assert move["gate"]["comparison"]["against"] == "old"
    assert any("no absurd value" in reason for reason in move["reasons"])


def test_force_that_was_not_needed_is_not_recorded_as_such(registry):
    new_release(registry, "sound")
    promote_through_gate(registry, "sound", force=True)
    assert "forced" not in registry.history()[-1]


@pytest.mark.parametrize("force", [False, True])
def test_a_damaged_release_is_never_promoted(registry, force):
    in_production(registry, "old")
    path = new_release(registry, "damaged").file("general_residual/model.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert not judge(registry, "damaged").passed
    with pytest.raises(BundleError, match=r"model\.onnx"):
        promote_through_gate(registry, "damaged", force=force)
    assert registry.production() == "old"


def test_a_release_that_fails_a_check_is_refused_by_the_name_of_the_check(registry):
    doctored(new_release(registry, "flattered"), test_MAPE=0.1)
    with pytest.raises(GateClosed, match=r"test MAPE: got .*manifest\.json says 0\.1; need at most 12 %"):
        promote_through_gate(registry, "flattered")
    assert registry.production() is None


def test_real_data_beat_synthetic_ones_and_synthetic_ones_never_replace_real_ones(registry):
    in_production(registry, "invented")
    new_release(registry, "real", source=REAL, shift=SLIGHTLY)
    _, verdict = promote_through_gate(registry, "real")
    assert registry.production() == "real" and not verdict.comparison["comparable"]
    with pytest.raises(GateClosed, match="synthetic data never replace real ones"):
        promote_through_gate(registry, "invented")
    assert registry.production() == "real"
    promote_through_gate(registry, "invented", force=True)
    assert registry.history()[-1]["forced"]


def test_without_enough_days_out_of_sample_for_both_the_gate_is_closed(registry):
    in_production(registry, "old")
    days = np.sort(near(new_release(registry, "new"))["cutoff"].unique())
    doctored(registry.resolve("new"), valid_end=str(days[-MINIMUM_CUTOFFS + 1])[:10])
    verdict = judge(registry, "new")
    assert verdict.reasons[-1].startswith(
        "not comparable with production (old): 19 days out of sample for both"
    )
    doctored(registry.resolve("new"), valid_end=str(days[-MINIMUM_CUTOFFS])[:10])
    assert judge(registry, "new").comparison["cutoffs"] == MINIMUM_CUTOFFS
    doctored(registry.resolve("new"), valid_end="2031-01-01")
    assert "no cutoff from 2031-01-01" in judge(registry, "new").reasons[-1]


def test_two_releases_are_compared_on_the_newer_of_their_panels(registry):
    old = in_production(registry, "old")
    panel = Panel.load(old.file("panel.parquet"))
    earlier = panel.dates[-60]
    doctored(old, lambda folder: panel.as_of(earlier).save(folder / "panel.parquet"))
    new = new_release(registry, "new")
    result = judge(registry, "new").comparison
    assert result["last"] == f"{near(new)['cutoff'].max():%Y-%m-%d}" > f"{earlier:%Y-%m-%d}"


def test_two_presets_are_compared_on_their_common_horizon(registry):
    in_production(registry, "old")
    new_release(registry, "design", preset="v4_log")
    result = judge(registry, "design").comparison
    assert result["comparable"] and result["horizon"] == 1 and result["release"]["rel_rmse"] > 1


def remove_calibration(folder: Path) -> None:
    (folder / "calibration.json").unlink()


def change_channels(folder: Path) -> None:
    """What a release looks like to a later version that cuts other windows."""
    path = folder / "general_residual" / "scalers.json"
    stored = json.loads(path.read_bytes())
    path.write_text(json.dumps(stored | {name: stored[name][:5] for name in ("mean", "spread")}))


@pytest.mark.parametrize("harm", ["altered", "gone", "unreadable", "of another version"])
def test_damaged_or_unreadable_production_does_not_block_a_promotion(registry, harm):
    old = in_production(registry, "old")
    if harm == "unreadable":
        doctored(old, remove_calibration)
    elif harm == "of another version":
        doctored(old, change_channels)
    else:
        old.file("universe.json").unlink()
    if harm == "gone":
        old.path.rename(old.path.with_name(".gone"))
    new_release(registry, "new", shift=2 * SLIGHTLY)
    _, verdict = promote_through_gate(registry, "new")
    assert registry.production() == "new" and verdict.passed
    if harm in ("unreadable", "of another version"):
        assert not verdict.comparison["comparable"] and "returns no forecasts" in verdict.comparison["reason"]
    else:
        assert verdict.comparison is None


def test_an_unknown_release_is_refused_by_name(registry):
    with pytest.raises(ReleaseNotFound, match="release nope"):
        promote_through_gate(registry, "nope", force=True)


def test_rolling_back_takes_less_than_a_second_and_judges_nothing(registry, monkeypatch):
    for release_id in ("first", "second"):
        in_production(registry, release_id)
    monkeypatch.setattr("train.gate.promotion.run_checklist", lambda release: pytest.fail("judged"))
    started = time.process_time()  # whatever else the machine does
    assert registry.rollback().id == registry.production() == "first"
    assert time.process_time() - started < 1
