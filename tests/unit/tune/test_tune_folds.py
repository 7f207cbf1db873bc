"""Folds end before the test part and judge every window size on the same rows."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from support.tuning.search import PANEL, a_trial, planned

from common.errors import ConfigError
from common.network.channels import frozen
from common.presets import SplitSpec
from common.prices.panel import Panel
from common.prices.windows import Boundaries
from train.run.plan import stored_result
from tune.folds import make_folds
from tune.trial import Trial, fit_folds, open_fold

DATES = np.arange("2020-01-01", "2020-07-19", dtype="datetime64[D]")
LIMITS = Boundaries(DATES[139], DATES[159], DATES[-1])


def fold(train_end: np.datetime64, valid_end: np.datetime64) -> SplitSpec:
    return SplitSpec(train_end=train_end.astype(dt.date), valid_end=valid_end.astype(dt.date))


def test_each_older_fold_ends_where_the_newer_ones_validation_begins():
    folds = make_folds(DATES, LIMITS, 3, shortest_training=30)
    assert len(DATES) == 200
    assert folds == [fold(DATES[a], DATES[b]) for a, b in ((139, 159), (119, 139), (99, 119))]


def test_dates_between_sessions_give_blocks_of_complete_sessions():
    sparse = DATES[::3]
    between = Boundaries(sparse[30] + 1, sparse[40] + 1, sparse[-1])
    folds = make_folds(sparse, between, 2, shortest_training=5)
    assert folds == [fold(sparse[30], sparse[40]), fold(sparse[20], sparse[30])]


@pytest.mark.parametrize(("shortest", "fit"), [(100, 3), (101, 2), (1, 7)])
def test_a_history_too_short_says_how_many_folds_fit(shortest, fit):
    assert len(make_folds(DATES, LIMITS, fit, shortest_training=shortest)) == fit
    with pytest.raises(ConfigError, match=f"at most {fit},"):
        make_folds(DATES, LIMITS, fit + 1, shortest_training=shortest)


def test_the_newest_fold_is_the_runs_own_training_and_validation_part(tmp_path):
    search = planned(tmp_path)
    split = search.spec.config.split
    assert search.spec.folds[0] == SplitSpec(train_end=split.train_end, valid_end=split.valid_end)


def judged(search, parameters, fold):
    number = len(list(search.folder.glob("trials/*")))
    trial = Trial(number, parameters, 0, search.folder)
    dataset = open_fold(search.spec, trial, fold)
    return dataset, dataset.parts_of("general", training=True)[1]


@pytest.mark.parametrize("fold", [1, 2])
def test_every_window_size_is_judged_on_the_same_rows(tmp_path, fold):
    search = planned(tmp_path)
    rows = {}
    for size in (10, 12, 16):
        dataset, valid = judged(search, search.spec.default | {"window_size": size}, fold)
        assert valid.spec.days == dataset.network_shape.size == size
        scored = valid.take(~frozen(valid))
        assert dataset.representation.inputs(scored).shape[1] == size and len(scored) > 20
        rows[size] = set(zip(scored.end.tolist(), map(tuple, scored.target.tolist()), strict=True))
    assert rows[10] == rows[12] == rows[16]


def test_a_folds_rows_lie_after_its_training_and_before_the_next_fold(tmp_path):
    search = planned(tmp_path)
    for number, fold in enumerate(search.spec.folds, start=1):
        dataset, valid = judged(search, search.spec.default, number)
        train, _, test = dataset.parts
        known = valid.target_date[np.isfinite(valid.change)]
        assert known.min() > np.datetime64(fold.train_end) and known.max() <= np.datetime64(fold.valid_end)
        assert valid.cutoff.min() >= np.datetime64(fold.train_end)
        assert train.target_date[np.isfinite(train.change)].max() <= np.datetime64(fold.train_end)
        assert len(test) == 0


def test_data_are_computed_once_per_window_size_and_fold_but_not_shared_settings(tmp_path):
    search = planned(tmp_path)
    one, _ = judged(search, search.spec.default, 1)
    two, _ = judged(search, search.spec.default | {"dropout": 0.4}, 1)
    assert one.windows is two.windows and one.representation is two.representation
    assert one.run_dir != two.run_dir and one.config.network != two.config.network


def test_nothing_after_the_validation_part_reaches_a_trial(tmp_path):
    """Every later price is changed; the panel, the plan and the scores stay the same to the last digit."""
    end = pd.Timestamp("2021-06-18")
    changed = PANEL.frame.copy()
    later = changed["date"] > end
    assert later.sum() > 50
    for name in ("close", "low", "high"):
        changed.loc[later, name] *= 3
    changed.loc[later, "volume"] = 1.0
    searches = [
        planned(tmp_path / "as-it-was", PANEL),
        planned(tmp_path / "changed", Panel.from_frame(changed, PANEL.source)),
    ]
    first, second = (search.spec.as_dict() for search in searches)
    assert first.pop("data_sha256") != second.pop("data_sha256")
    assert first == second
    histories = []
    for search in searches:
        seen = Panel.load(search.folder / "panel.parquet")
        assert seen.dates[-1] <= end and (seen.frame["known"] <= end).all()
        trial = a_trial(search)
        fit_folds(search.spec, trial, lambda standing, weights: None)
        histories.append(json.dumps(trial.histories(search.spec)))
        assert stored_result(trial.fold_dir(2), "general/seed-0") is not None
    assert histories[0] == histories[1]
