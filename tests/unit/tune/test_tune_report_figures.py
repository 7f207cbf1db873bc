"""Figures of the search's report: Pareto front, importance, axes and labels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.tuning.results import DEFAULT, PARAMETERS, made_tuning

from tune import labels
from tune.report.charts import figures
from tune.report.statistics import importance, pareto_front
from tune.results import Tuning, default_score, finished, trials_with, winner


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    return made_tuning()


def test_the_pareto_front_equals_the_obvious_loop():
    rng = np.random.default_rng(2)
    cost, score = rng.integers(0, 15, 60).astype(float), rng.integers(0, 15, 60).astype(float)
    results = {(cost[place], score[place]) for place in pareto_front(cost, score)}
    expected = set()
    for a, b in zip(cost, score, strict=True):
        if not any(c <= a and s <= b and (c < a or s < b) for c, s in zip(cost, score, strict=True)):
            expected.add((a, b))
    assert results == expected and len(pareto_front(cost, score)) == len(expected)


def planted(trials: int, rule: str, seed: int = 0) -> Tuning:
    """A search whose score depends only on ``rule``; empty: on nothing. Half of the trials were stopped."""
    tuning, rng = made_tuning(trials), np.random.default_rng(seed)
    rows = tuning.trials[tuning.trials["origin"] == "search"].reset_index(drop=True)
    score = np.abs(np.log(rows[rule] / DEFAULT[rule])) if rule else pd.Series(rng.random(len(rows)))
    state = np.where(score <= score.median(), "done", "stopped")
    return replace(tuning, trials=rows.assign(score=score, state=state))


def test_the_parameter_that_determines_the_score_is_the_most_important():
    result = importance(planted(60, "learning_rate"))
    assert result.share.index[0] == "learning_rate" and result.share.sum() == pytest.approx(1)
    assert result.share["learning_rate"] > result.chance["learning_rate"]
    assert result.trials == 60 and result.best == 15


def test_with_random_scores_hardly_any_importance_exceeds_chance():
    results = [importance(planted(40, "", seed)) for seed in range(2)]
    beyond = sum((result.share > result.chance).sum() for result in results)
    assert beyond <= 4, "of 16 marks one in twenty is passed by chance"


def test_importance_needs_enough_proposals():
    assert importance(planted(12, "learning_rate")) is None
    assert importance(made_tuning(0)) is None


def test_the_default_is_identified_among_the_trials_and_scored_by_its_mean(tuning):
    own = trials_with(tuning, DEFAULT)
    assert own["trial"].tolist() == [2, 8] and set(own["origin"]) == {"sweep"}
    assert default_score(tuning) == pytest.approx(own["score"].mean())
    assert default_score(made_tuning(3, fate="failed")) is None


def test_the_winner_is_the_named_trial_and_not_a_better_comparison_trial(tuning):
    best = finished(tuning)["trial"].iloc[0]
    assert winner(tuning)["trial"].tolist() == [tuning.info["winner_trial"]] != [best]
    unnamed = replace(tuning, info=tuning.info | {"winner_trial": None})
    assert winner(unnamed)["trial"].tolist() == [best]


def test_every_parameter_has_a_chart_with_every_finished_trial_and_the_winner(tuning):
    figure, done = figures(tuning, None)["slices"], finished(tuning)
    assert len(figure["data"]) == 2 * len(PARAMETERS)
    for number, (name, kind) in enumerate(tuning.info["parameters"].items()):
        points, best = figure["data"][2 * number : 2 * number + 2]
        values = (
            [labels.value_text(value) for value in done[name]] if "choices" in kind else done[name].tolist()
        )
        assert points["x"] == (values if "choices" in kind else pytest.approx(values, rel=1e-5))
        assert len(points["y"]) == len(done) and best["y"] == pytest.approx(winner(tuning)["score"].tolist())
        axis = figure["layout"]["xaxis" + ("" if number == 0 else str(number + 1))]
        assert axis["title"]["text"] == labels.label(name)
        assert (axis.get("type") == "log") == bool(kind.get("log"))


def test_names_and_values_are_short_and_plain():
    assert labels.sizes(DEFAULT) == "emb 10 · lstm 50/50 · dense 64 · win 60"
    assert labels.sizes(DEFAULT, named=False) == "10 50/50 64 60" and labels.rate(DEFAULT) == "0.004"
    assert labels.label("embedding_dim") == "embedding dim" and labels.label("l2") == "L2"
    assert [labels.value_text(value) for value in (60.0, 1e-6, None, float("nan"), "relu")] == [
        *("60", "1e-06", "-", "-", "relu")
    ]
