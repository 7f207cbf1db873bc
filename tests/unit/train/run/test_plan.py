"""The plan of a run: stocks, tasks and their costs."""

import pandas as pd
import pytest
from support.prices.panel import SPEC, SYMBOLS
from support.training.plan import CONFIG, LIMITS, PANEL, WINDOWS, plan_of

from common.errors import TrainingError
from common.exchange.universe import Universe
from common.network.channels import frozen
from common.presets import FitConfig, train_config
from common.prices import window_blocks
from common.prices.panel import Panel
from common.prices.series import series_from_panel
from common.prices.window_blocks import WindowBlocks
from common.prices.windows import make_windows
from train.run.plan import make_plan, windows_per_epoch


def test_a_plan_skips_frozen_and_short_stocks_with_a_reason():
    plan = plan_of()
    assert plan.skipped["FROZEN"].startswith("frozen: no price change in its last 116 sessions up to")
    assert plan.skipped["GAPS"].startswith("too little history: ")
    assert set(plan.skipped) == {"FROZEN", "GAPS", "SHORT"}
    assert plan.jobs[0] == "general" and set(plan.jobs) == {"general", *SYMBOLS}
    assert {one.job for one in plan.tasks} == {"general", "MOVES", "SPLITS", "THIN"}


def test_a_stock_listed_after_validation_has_too_little_history_and_is_not_frozen():
    assert plan_of().skipped["SHORT"].startswith("too little history: 0 moving training windows")


def test_a_stock_that_is_not_in_the_data_is_skipped_and_named():
    universe = Universe.from_symbols([*SYMBOLS, "NEWCO"], specific=["NEWCO", "MOVES"])
    plan = plan_of(universe=universe)
    assert plan.skipped == {"NEWCO": "not in the data"} and "MOVES" in plan.jobs


def test_a_stock_without_a_moving_validation_window_is_skipped():
    """It was suspended before validation: no epoch and no candidate could be chosen."""
    rows = PANEL.frame
    gone = (rows["symbol"] == "MOVES") & (rows["date"] > pd.Timestamp(LIMITS.train_end))
    panel = Panel.from_frame(rows[~gone], PANEL.source)
    plan = plan_of(windows=make_windows(series_from_panel(panel, SYMBOLS), SPEC))
    assert plan.skipped["MOVES"].startswith("nothing to choose by: 0 moving validation windows")


def test_a_plan_made_by_blocks_of_symbols_is_the_plan_made_at_once(monkeypatch):
    monkeypatch.setattr(window_blocks, "BLOCK_SYMBOLS", 1)
    blocks = WindowBlocks(PANEL, SYMBOLS, SPEC)
    assert make_plan(CONFIG, Universe.from_symbols(SYMBOLS, specific=SYMBOLS), blocks, LIMITS) == plan_of()


def test_every_task_needs_only_earlier_tasks_of_the_plan():
    plan, seen = plan_of(), set()
    for one in plan.tasks:
        assert set(one.needs) <= seen
        seen.add(one.id)
    assert len(seen) == len(plan.tasks)


def test_a_specific_model_has_one_network_from_scratch_and_two_fine_tuned_ones():
    plan = plan_of(train_config("residual", {"window": SPEC.model_dump(), "minimum_windows": 50, "seeds": 3}))
    needs = {one.id: one.needs for one in plan.tasks if one.job == "MOVES"}
    general = tuple(f"general/seed-{number}" for number in range(3))
    tuned = tuple(f"MOVES/finetune-{number}" for number in range(2))
    assert needs == {
        "MOVES/scratch-0": (),
        **{name: (seed,) for name, seed in zip(tuned, general[:2], strict=True)},
        "MOVES/bundle": ("MOVES/scratch-0", *tuned, *general, "general/bundle"),
    }


def test_without_fine_tuning_a_specific_model_does_not_wait_for_the_general_one():
    config = train_config("v4_log", {"window": {"size": 12, "horizons": [1]}, "minimum_windows": 50})
    plan = plan_of(config, Universe.from_symbols(SYMBOLS, specific=["THIN"]))
    assert {one.id: one.needs for one in plan.tasks if one.job == "THIN"} == {
        "THIN/scratch-0": (),
        "THIN/bundle": ("THIN/scratch-0",),
    }


def test_an_archive_without_a_moving_stock_for_the_general_model_is_refused():
    config = train_config("v4_log", {"window": {"size": 12, "horizons": [1]}})
    with pytest.raises(TrainingError, match="got 0 training"):
        plan_of(config, Universe.from_symbols(SYMBOLS, specific=SYMBOLS))


def test_only_the_chosen_specific_models_are_planned_or_reported():
    plan = plan_of(only=("THIN", "FROZEN"))
    assert set(plan.jobs) == {"general", "THIN", "FROZEN"} and set(plan.skipped) == {"FROZEN"}


def test_the_cost_of_a_fit_is_the_moving_training_windows_it_draws():
    train = LIMITS.parts(WINDOWS)[0]
    moving = train.take(~frozen(train))
    own = sum(1 for place in moving.symbol if WINDOWS.series.symbols[place] == "THIN")
    costs = {one.id: one.cost for one in plan_of().tasks}
    assert costs["THIN/scratch-0"] == CONFIG.scratch.epochs * own
    assert costs["general/seed-0"] == CONFIG.general.epochs * round(len(moving) / 3)


@pytest.mark.parametrize(
    ("share", "most", "available", "expected"),
    [(1.0, None, 500, 500), (1 / 3, None, 900, 300), (1.0, 64, 900, 64), (0.01, None, 3, 1), (1.0, 64, 9, 9)],
)
def test_an_epoch_draws_its_share_up_to_the_maximum(share, most, available, expected):
    assert windows_per_epoch(FitConfig(epoch_share=share, windows_per_epoch=most), available) == expected
