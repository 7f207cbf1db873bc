"""The gate to production: what it lets through, what it refuses and what is kept of it."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.release import REAL, doctored, made_release, made_run
from typer.testing import CliRunner

from common.errors import BundleError, GateClosed, ReleaseNotFound
from common.prices.panel import Panel
from common.release.alias import anchor_of
from common.release.manifest import Release
from common.release.registry import Registry
from nsecast import app
from train.cli.train import _print_outcome
from train.evaluation.backtest import backtest
from train.gate.checklist import CHECKS
from train.gate.comparison import MARGIN, MINIMUM_CUTOFFS
from train.gate.promotion import gives_way, judge, promote_through_gate
from train.pipeline.training import execute

SLIGHTLY, WORSE, ABSURD = 0.06, 1.0, 50.0
"""Shifts of a made release's forecasts: a little worse than naive (relRMSE 1.004 three days ahead), clearly
worse, and beyond anything that ever happened."""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def new_release(registry: Registry, release_id: str, **choices) -> Release:
    return made_release(registry.folder.parent, release_id, **choices)


def in_production(registry: Registry, release_id: str, **choices) -> Release:
    return registry.promote(new_release(registry, release_id, **choices).id)


def scored(release: Release, horizon: int) -> pd.DataFrame:
    table = pd.read_parquet(release.file("test_forecasts.parquet"))
    return table[(table["horizon"] == horizon) & ~table["frozen"]]


def near(release: Release) -> pd.DataFrame:
    return scored(release, 1)


def ratios(rows: pd.DataFrame) -> dict[str, float]:
    """Errors over naive's, in percent of the last price."""
    last = rows["last_price"]
    absolute = [((rows[name] - rows["actual"]).abs() / last).mean() for name in ("published", "last_price")]
    square = [(((rows[name] - rows["actual"]) / last) ** 2).mean() for name in ("raw", "last_price")]
    return {"rel_mae": absolute[0] / absolute[1], "rel_rmse": np.sqrt(square[0] / square[1])}


def test_a_sound_release_goes_to_production_where_there_is_none_and_the_evidence_is_kept(registry):
    new_release(registry, "first")
    release, verdict = promote_through_gate(registry, "latest")
    assert registry.production() == release.id == "first"
    assert verdict.passed and verdict.comparison is None and verdict.reasons == ()
    assert [check.passed for check in verdict.checks] == [True] * len(CHECKS)
    (move,) = registry.history()
    assert move["action"] == "promote" and "forced" not in move
    assert move["gate"] == {"checks": f"{len(CHECKS)} of {len(CHECKS)}", "comparison": None, "best": None}


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


def test_a_release_judged_against_what_has_left_production_meanwhile_is_not_promoted(registry):
    in_production(registry, "old", shift=0.05)
    better, late = new_release(registry, "better"), new_release(registry, "late", shift=0.05)

    def meanwhile(*_):
        if registry.production() == "old":
            registry.promote(better.id)

    with pytest.raises(GateClosed, match=r"judged against old, but better has gone to production"):
        promote_through_gate(registry, late.id, progress=meanwhile)
    assert registry.production() == better.id


def test_force_promotes_all_the_same_and_is_recorded_with_every_reason(registry):
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
    with pytest.raises(GateClosed, match=r"test MAPE: got .*manifest\.json says 0\.1; need under 15 %"):
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


def test_the_two_meet_on_the_newer_of_their_panels(registry):
    old = in_production(registry, "old")
    panel = Panel.load(old.file("panel.parquet"))
    earlier = panel.dates[-60]
    doctored(old, lambda folder: panel.as_of(earlier).save(folder / "panel.parquet"))
    new = new_release(registry, "new")
    result = judge(registry, "new").comparison
    assert result["last"] == f"{near(new)['cutoff'].max():%Y-%m-%d}" > f"{earlier:%Y-%m-%d}"


def test_two_presets_meet_on_the_horizon_that_both_have(registry):
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
def test_damaged_or_unreadable_production_speaks_against_nothing(registry, harm):
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


@pytest.mark.parametrize(
    ("there", "new", "gives"),
    [
        ({}, {}, False),
        ({"quick": True}, {}, True),
        ({"quick": True}, {"quick": True}, False),
        ({"failed": {"SCOM": "broken"}}, {}, True),
        ({"failed": {"SCOM": "broken"}}, {"quick": True}, True),
        ({}, {"source": REAL}, True),
        ({"source": REAL}, {}, False),
        ({"source": REAL, "quick": True}, {}, False),
        ({"source": REAL, "quick": True}, {"source": REAL}, True),
    ],
)
def test_what_is_provisional_gives_way_by_itself(registry, there, new, gives):
    for release_id, info in (("there", there), ("new", new)):
        staging = registry.stage(release_id)
        (staging / "file").write_bytes(b"content")
        registry.publish(
            staging, release_id, info={"source": "synthetic", "failed": {}, "quick": False} | info
        )
    release = registry.resolve("new")
    assert gives_way(registry, release), "nothing is in production yet"
    registry.promote("there")
    assert gives_way(registry, release) is gives
    registry.resolve("there").file("file").unlink()
    assert gives_way(registry, release), "it is damaged"


def test_the_first_release_of_a_run_goes_through_the_gate(tmp_path):
    run, registry = made_run(tmp_path), Registry(tmp_path)
    outcome, before = execute(run, mode="silent", refit=False)
    assert (registry.production(), before, outcome.gate) == (outcome.release.id, False, None)
    assert registry.history()[-1]["gate"]["checks"] == f"{len(CHECKS)} of {len(CHECKS)}"
    assert execute(run, mode="silent", refit=False)[1] and len(registry.history()) == 1


def test_a_run_whose_release_fails_the_gate_is_published_and_prints_the_reasons(tmp_path, capsys):
    run, registry = made_run(tmp_path, shift=ABSURD), Registry(tmp_path)
    outcome, _ = execute(run, mode="silent", refit=False)
    assert registry.production() is None and registry.resolve("latest") == outcome.release
    assert "no absurd value" in outcome.gate
    _print_outcome(run, outcome, False, False)
    assert "Not promoted: release" in capsys.readouterr().out
    _print_outcome(run, outcome, False, True)
    assert json.loads(capsys.readouterr().out)["gate"] == outcome.gate
    again, before = execute(run, mode="silent", refit=False)
    assert before and again.gate == outcome.gate, "nothing is in production, so the gate is tried again"


def test_a_run_that_real_data_stand_above_or_that_is_partial_leaves_production_alone(tmp_path):
    registry = Registry(tmp_path)
    in_production(registry, "real", source=REAL)
    outcome, _ = execute(made_run(tmp_path), mode="silent", refit=False)
    assert registry.production() == "real" and outcome.gate is None


@pytest.mark.parametrize(("shift", "moves"), [(0.0, True), (WORSE, False)])
def test_a_complete_run_takes_the_place_of_a_quick_one_unless_it_is_worse(tmp_path, shift, moves):
    registry = Registry(tmp_path)
    doctored(new_release(registry, "tried"), quick=True, run="another")
    registry.promote("tried")
    outcome, _ = execute(made_run(tmp_path, shift=shift), mode="silent", refit=False)
    assert registry.production() == (outcome.release.id if moves else "tried")
    assert (outcome.gate is None) is moves
    assert moves or "relRMSE of the raw price" in outcome.gate


def test_a_first_release_without_skill_is_refused_with_figure_bound_and_horizon(registry):
    new_release(registry, "first", shift=WORSE)
    with pytest.raises(GateClosed) as closed:
        promote_through_gate(registry, "first")
    result = ratios(near(registry.resolve("first")))
    for name, label in (("rel_mae", "relMAE of the published"), ("rel_rmse", "relRMSE of the raw")):
        expected = f"{label} price is {result[name]:.4f} 1 day ahead, need at most 1.0500"
        assert expected in closed.value.message
    assert "or use --force to promote it anyway" in closed.value.message
    assert registry.production() is None


def test_the_original_design_has_no_skill_and_needs_force_even_where_nothing_is_in_production(registry):
    new_release(registry, "design", preset="v4_log")
    with pytest.raises(GateClosed, match=r"skill: got relRMSE of the raw price is .* 1 day ahead.*--force"):
        promote_through_gate(registry, "design")
    promote_through_gate(registry, "design", force=True)
    (move,) = registry.history()
    assert move["forced"] and "anchor" not in move, "what was forced is no measure for others"


def test_a_quick_release_may_be_somewhat_worse_than_the_last_price_and_not_more(registry):
    bad = new_release(registry, "bad", shift=WORSE)
    assert not judge(registry, doctored(bad, quick=True).id).passed

    def five_hundredths_worse(folder: Path) -> None:
        path = folder / "test_forecasts.parquet"
        table = pd.read_parquet(path)
        raw = table["actual"] + 1.049 * (table["last_price"] - table["actual"])
        table.assign(raw=raw).to_parquet(path, index=False)

    for quick in (True, False):
        release = doctored(new_release(registry, f"quick-{quick}"), five_hundredths_worse, quick=quick)
        (check,) = [check for check in judge(registry, release.id).checks if check.name == "skill"]
        assert check.passed is quick, check


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


def test_what_was_in_production_before_best_releases_were_noted_is_one_after_a_forced_move_too(registry):
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


def call(registry: Registry, *arguments: str):
    return CliRunner().invoke(app, ["models", *arguments, "--home", str(registry.folder.parent)])


def test_the_promote_command_shows_this_release_production_and_naive(registry):
    in_production(registry, "old")
    new_release(registry, "new")
    answer = call(registry, "promote", "new")
    assert answer.exit_code == 0 and answer.stdout.endswith("production: new (was old)\n")
    rows = [re.split(r" {2,}", line.strip()) for line in answer.stdout.splitlines() if "(" in line]
    assert rows.pop() == ["production: new (was old)"]
    assert [row[:2] for row in rows] == [
        [horizon, name]
        for horizon in ("1", "3", "7")
        for name in ("this release (new)", "production (old)", "naive (the last price)")
    ]
    assert all(row[3:5] == ["1.0000", "1.0000"] for row in rows)


def test_the_promote_command_refuses_a_worse_release_unless_forced(registry):
    in_production(registry, "old")
    new_release(registry, "worse", shift=WORSE)
    answer = call(registry, "promote", "worse")
    assert answer.exit_code == 1 and answer.stdout == ""
    assert "this release (worse)" in answer.stderr and "--force" in answer.stderr
    assert registry.production() == "old"
    answer = call(registry, "promote", "worse", "--force")
    assert answer.exit_code == 0 and answer.stdout.endswith("production: worse (was old)\n")
    assert "forced: relMAE" in answer.stderr
    answer = call(registry, "rollback")
    assert answer.stdout.startswith("production: old (was worse), 0.") and answer.stdout.endswith(" s\n")
