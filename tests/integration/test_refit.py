"""A backtest that trains again on the fleet as it goes, and one that is fixed, side by side."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.exchange.universe import Universe
from common.presets import train_config
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.pipeline.backtest_period import plan_backtest, run_backtest
from train.pipeline.training import execute, plan_run

pytestmark = pytest.mark.integration
SETTINGS = {
    "seeds": 1,
    "window": {"size": 20, "horizons": [1, 5]},
    "network": {"lstm_units": [8, 8], "dense_units": 8},
    "general": {"epochs": 2, "batch_size": 64, "epoch_share": 1.0},
    "scratch": {"epochs": 1},
    "finetune": None,
}


@pytest.mark.long
def test_each_refit_is_trained_on_what_was_known_and_continues_where_it_stopped(
    small_panel: Panel, tmp_path: Path
):
    stocks = [symbol for symbol in small_panel.symbols if not symbol.startswith("^")]
    universe = Universe.from_symbols(stocks, specific=["ABSA"])
    run = plan_run(train_config("residual", SETTINGS), universe, small_panel, tmp_path)
    outcome, _ = execute(run, workers=2, mode="silent")
    models = ReleasedModels(Registry(tmp_path).open(outcome.release.id))
    sessions = small_panel.dates.to_numpy().astype("datetime64[D]")
    start, end = sessions[-60], sessions[-1]
    plan = plan_backtest(models, None, tmp_path, start=start, end=end, refit_every=40)
    messages = []
    backtest = run_backtest(plan, workers=2, mode="silent", announce=messages.append)

    assert len(messages) == 2 and f"trained on prices to {start}" in messages[0]
    refits = sorted((plan.folder / "refits" / "releases").glob("2*/manifest.json"))
    borders = [json.loads(path.read_bytes())["info"] for path in refits]
    assert sorted(info["valid_end"] for info in borders) == [str(sessions[-60]), str(sessions[-20])]
    fixed = run_backtest(plan_backtest(models, None, tmp_path, start=start, end=end))
    keys = ["symbol", "cutoff", "horizon", "target_date", "last_price", "actual"]
    pd.testing.assert_frame_equal(backtest.table[keys], fixed.table[keys], check_exact=True)
    assert not np.array_equal(backtest.table["raw"], fixed.table["raw"])

    again = run_backtest(plan, workers=2, mode="silent")
    pd.testing.assert_frame_equal(again.table, backtest.table, check_exact=True)
