"""The comparison of winner and default, checked against SciPy, and the resulting settings."""

import math
import tomllib

import numpy as np
import pytest
from scipy import stats
from support.tuning.search import SETTINGS, a_trial, inside, planned, record, study_of

from common.forecast.prices import Prices
from common.network.channels import frozen
from common.presets import quick, train_config
from train.run.dataset import RunDataset, RunSpec
from train.run.inputs import merge_overrides
from train.run.scores import horizon_weights, score, score_of
from tune import evaluation
from tune.results import Tuning
from tune.space import apply
from tune.summary import best_toml, tuning_of, winner_of
from tune.trial import Trial
from tune.verdict import losses, verdict, welch


@pytest.mark.parametrize("values", [([1.0, 1.2, 0.9], [0.8, 0.85, 0.83]), ([1.0, 1.01], [1.0, 2.0, 3.0])])
def test_the_noise_is_half_of_welchs_interval(values):
    first, second = map(np.array, values)
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert welch(first, second) == pytest.approx((interval.high - interval.low) / 2)


def test_one_seed_says_nothing_of_the_noise():
    assert welch(np.array([0.9]), np.array([0.8])) == math.inf
    assert welch(np.array([0.9, 0.9]), np.array([0.8, 0.8])) == 0


@pytest.fixture
def test_part(tmp_path):
    """The search, the dataset of its test part, and the test windows."""
    search = planned(tmp_path)
    spec = RunSpec(search.spec.config, search.spec.universe, search.panel.source, search.spec.data_sha256)
    spec.save(tmp_path / "contest/default")
    search.panel.save(tmp_path / "contest/panel.parquet")
    dataset = evaluation.test_dataset(tmp_path / "contest/default")
    return search, dataset, evaluation.moving_test(dataset, "general")


def forecasts(windows, error: float, seed: int) -> np.ndarray:
    """Prices, shape (N, H), off from what happened by about ``error`` of the way that naive is off."""
    rng = np.random.default_rng(seed)
    last, actual = windows.last_price[:, None], windows.actual
    truth = np.where(np.isfinite(actual), actual, last)
    noisy = truth + (error * (last - truth)) * rng.normal(1, 0.05, truth.shape)
    return noisy


def test_the_test_part_is_the_moving_windows_of_the_runs_own(test_part):
    _, dataset, windows = test_part
    plain = RunDataset(dataset.run_dir, dataset.spec, dataset.panel)
    assert dataset.limits == plain.limits and dataset.limits.valid_end == np.datetime64("2021-06-18")
    moving = plain.parts[2].take(~frozen(plain.parts[2]))
    assert np.array_equal(windows.end, moving.end) and 0 < len(moving) < len(plain.parts[2])
    assert dataset.parts[0].end.tolist() == plain.parts[0].end.tolist()


def test_the_score_is_the_one_that_training_gives(test_part):
    _, _, windows = test_part
    result = forecasts(windows, 0.9, 0)
    nothing = np.zeros(len(windows))
    prices = Prices(windows.last_price, nothing.astype(bool), result, 0.999 * result, *[None] * 6)
    wanted = score(windows, prices)
    assert score_of(windows, result, 0.999 * result) == wanted and 0.8 < wanted.total < 1


def test_the_daily_losses_average_to_the_score_by_parts(test_part):
    """With every target known: the mean over rows is the weighted mean of relMAE and relative MSE."""
    _, _, windows = test_part
    complete = windows.take(np.isfinite(windows.change).all(axis=1))
    result = forecasts(complete, 0.9, 1)
    by_horizon = score_of(complete, result, result).by_horizon
    parts = [(e.rel_mae + e.rel_rmse**2) / 2 for e in by_horizon]
    assert losses(complete, result, result).mean() == pytest.approx(
        np.average(parts, weights=horizon_weights(test_part[2].spec.horizons))
    )


def judged(test_part, default: list[float], winner: list[float]):
    _, _, windows = test_part
    given = {
        name: [np.hstack([forecasts(windows, error, seed)] * 2) for seed, error in enumerate(errors)]
        for name, errors in (("default", default), ("winner", winner))
    }
    return verdict(windows, given, 0)


def test_a_clear_gain_is_better_and_its_figures_are_in_the_sentence(test_part):
    result = judged(test_part, [0.9, 0.905, 0.895], [0.5, 0.51, 0.49])
    assert result["better"] and result["gain"] > 0.3 > result["noise"]
    assert result["diebold_mariano"]["p_value"] < 0.05
    totals = [np.mean([seed["total"] for seed in result[name]]) for name in ("default", "winner")]
    assert result["gain"] == pytest.approx(totals[0] - totals[1])
    assert result["sentence"].startswith("The winner is better than the default")
    assert f"{result['gain']:+.4f}" in result["sentence"] and f"{result['noise']:.4f}" in result["sentence"]


@pytest.mark.parametrize(
    ("default", "winner"),
    [
        ([0.9, 0.9, 0.9], [0.9, 0.9, 0.9]),
        ([0.9, 0.7, 0.8], [0.85, 0.65, 0.75]),
        ([0.5, 0.51, 0.49], [0.9, 0.905, 0.895]),
    ],
    ids=["alike", "inside the spread of the seeds", "worse"],
)
def test_anything_less_is_not_better(test_part, default, winner):
    result = judged(test_part, default, winner)
    assert not result["better"]
    assert "not better than the default" in result["sentence"]


def test_a_finished_comparison_is_never_repeated(tmp_path):
    search = planned(tmp_path)
    trial = a_trial(search, lstm_1=5)
    (search.folder / "contest.json").write_text('{"sentence": "as it was", "trial": 1}')
    result = evaluation.evaluate(search.spec, search.panel, search.folder, trial)
    assert result["sentence"] == "as it was"


def test_a_default_that_wins_is_not_compared(tmp_path):
    search = planned(tmp_path)
    result = evaluation.evaluate(search.spec, search.panel, search.folder, a_trial(search, 3))
    assert not result["better"] and "default is itself the best" in result["sentence"]
    assert result["trial"] == 3 and evaluation.stored(search.folder) is None, "the test part is still unused"


def test_the_winner_is_the_best_finished_proposal_or_the_default_but_no_other_size(tmp_path):
    search = planned(tmp_path)
    spec, default = search.spec, search.spec.default
    assert winner_of(spec, study_of(search).trials()) is None
    record(search, default, [0.95] * 6, origin="sweep")
    record(search, default | {"embedding_dim": 8}, [0.5] * 6, origin="sweep")
    record(search, inside(search), [0.4] * 6, "stopped")
    record(search, inside(search, lstm_1=21), [0.3] * 6, "failed", reason="no rows")
    record(search, inside(search, lstm_1=22), [0.2] * 6, "running")
    assert winner_of(spec, study_of(search).trials()).number == 0
    record(search, inside(search, lstm_1=23), [0.94] * 6)
    trials = study_of(search).trials()
    assert winner_of(spec, trials).number == 5

    tuning = tuning_of(spec, trials, None, cpus=2).save(tmp_path / "saved")
    assert tuning.trials["state"].tolist() == ["done", "done", "stopped", "failed", "interrupted", "done"]
    assert tuning.trials["score"].tolist() == pytest.approx([0.95, 0.5, 0.4, 0.3, 0.2, 0.94])
    assert tuning.trials["reason"].dropna().to_dict() == {3: "no rows"}
    assert tuning.info["winner_trial"] == 5 and tuning.info["embedding"]["sizes"][1]["size"] == 8
    assert tuning.trials["folds"].tolist() == [2] * 6 and tuning.trials["epochs"].tolist() == [6] * 6
    assert tuning.trials["fold_2"].tolist() == pytest.approx([0.95, 0.5, 0.4, 0.3, 0.2, 0.94])


VERDICTS = {
    "better": {"better": True, "sentence": "It is better."},
    "not better": {"better": False, "sentence": "It is not better."},
    "not held": None,
}


def result_of(search, point, contest) -> Tuning:
    """A result whose winner, trial 0, has these parameters."""
    winner = Trial(0, point, 0, search.folder, state="done", score=0.95)
    contest = contest and contest | {"trial": 0}
    return tuning_of(search.spec, [winner], contest, cpus=2)


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("model", ["general", "specific:MOVES"])
def test_training_accepts_best_toml_unchanged_and_gets_its_settings(tmp_path, verdict, model):
    search = planned(tmp_path, model=model)
    full = train_config("residual", SETTINGS)
    scope = search.spec.scope
    point = search.spec.default | {"lstm_1": 20, "dropout": 0.1234, "l2": 1e-5, "learning_rate": 0.00031}
    path, result = tmp_path / "best.toml", result_of(search, point, VERDICTS[verdict])
    path.write_text(best_toml(search.spec, full, result))
    expected = full if verdict == "not better" else apply(point, full, scope)
    overrides = merge_overrides(path, None, None, None, None)
    preset = overrides.pop("preset")
    assert train_config(preset, overrides) == expected
    stored = tomllib.loads(path.read_text())["provenance"]
    assert (stored["search"], stored["trial"], stored["score"]) == (search.spec.id, 0, 0.95)
    assert stored["made"] == result.info["made"] and stored["space"] == search.spec.parameters()
    message = {"better": "It is better.", "not better": "The default", "not held": "not compared"}[verdict]
    assert message in path.read_text().splitlines()[0]


def test_a_quick_searchs_best_toml_trains_in_full(tmp_path):
    full = train_config("residual", SETTINGS)
    search = planned(tmp_path, settings=quick(full).model_dump(exclude={"preset"}, exclude_none=True))
    assert search.spec.config.quick
    values = tomllib.loads(best_toml(search.spec, full, result_of(search, search.spec.default, None)))
    del values["provenance"]
    assert train_config(values.pop("preset"), values) == full
