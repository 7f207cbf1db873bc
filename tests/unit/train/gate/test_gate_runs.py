"""Promotion at the end of a run and by the command; quick, partial and synthetic releases."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from support.releases.release import REAL, doctored, made_run
from support.training.gate import ABSURD, WORSE, in_production, near, new_release, ratios
from typer.testing import CliRunner

from common.errors import GateClosed
from common.release.registry import Registry
from nsecast import app
from train.cli.train import _print_outcome
from train.gate.checklist import CHECKS
from train.gate.promotion import gives_way, judge, promote_through_gate
from train.pipeline.training import execute


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


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
def test_provisional_releases_are_replaced_automatically(registry, there, new, gives):
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
    _print_outcome(run, outcome, False, False, "")
    assert "Not promoted: release" in capsys.readouterr().out
    _print_outcome(run, outcome, False, True, "")
    assert json.loads(capsys.readouterr().out)["gate"] == outcome.gate
    again, before = execute(run, mode="silent", refit=False)
    assert before and again.gate == outcome.gate, "nothing is in production, so the gate is tried again"


def test_a_partial_run_or_a_synthetic_one_below_real_data_leaves_production_alone(tmp_path):
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
    assert move["forced"]


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
