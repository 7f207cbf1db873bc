"""Figures of the search's report: charts of the proposals, importance, the default and the winner."""

from dataclasses import replace

import numpy as np
import pytest
from support.tuning.results import DEFAULT, PARAMETERS, made_study, made_tuning

from tune import labels
from tune.report.charts import figures, proposals
from tune.report.tables import FEWEST, importance_table
from tune.results import Tuning


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    return made_tuning()


def planted(trials: int, rule: str) -> Tuning:
    """A search whose score depends only on ``rule``."""
    tuning = made_tuning(trials, fate="done")
    return replace(
        tuning, trials=tuning.trials.assign(score=np.abs(np.log(tuning.trials[rule] / DEFAULT[rule])))
    )


def test_the_parameter_that_determines_the_score_is_the_most_important():
    rows = importance_table(proposals(made_study(planted(200, "learning_rate")))).rows
    assert rows[0]["name"] == "learning rate" and rows[0]["share"] > 0.5
    assert sum(row["share"] for row in rows) == pytest.approx(1) and len(rows) == len(PARAMETERS)


def test_importance_needs_enough_proposals():
    few, enough = (proposals(made_study(planted(n, "learning_rate"))) for n in (FEWEST - 1, FEWEST))
    assert importance_table(few) is None and importance_table(enough) is not None


def test_the_default_is_identified_among_the_trials_and_scored_by_its_mean(tuning):
    own = tuning.default_trials
    assert own["trial"].tolist() == [2, 8] and set(own["origin"]) == {"sweep"}
    assert tuning.default_score == pytest.approx(own["score"].mean())
    assert made_tuning(3, fate="failed").default_score is None


def test_the_winner_is_the_named_trial_and_not_a_better_comparison_trial(tuning):
    best = tuning.finished["trial"].iloc[0]
    assert tuning.winner["trial"].tolist() == [tuning.info["winner_trial"]] != [best]
    unnamed = replace(tuning, info=tuning.info | {"winner_trial": None})
    assert unnamed.winner.empty


def test_every_parameter_has_a_chart_with_every_finished_proposal(tuning):
    charts = figures(tuning, proposals(made_study(tuning)))
    done = tuning.finished[tuning.finished["origin"] == "search"].sort_values("trial")
    for name, kind in PARAMETERS.items():
        (points,), layout = charts[f"slice_{name}"]["data"], charts[f"slice_{name}"]["layout"]
        assert sorted(points["y"]) == pytest.approx(sorted(done["score"]), rel=1e-5)
        if "choices" not in kind:
            assert points["x"] == pytest.approx(done[name].tolist(), rel=1e-5)
        assert layout["xaxis"]["title"]["text"] == labels.label(name)
        assert (layout["xaxis"].get("type") == "log") == bool(kind.get("log"))


def test_the_history_has_the_finished_proposals_and_a_line_at_the_default(tuning):
    points, best = figures(tuning, proposals(made_study(tuning)))["history"]["data"]
    done = tuning.finished[tuning.finished["origin"] == "search"].sort_values("trial")
    assert points["y"] == pytest.approx(done["score"].tolist(), rel=1e-5)
    assert min(best["y"]) == pytest.approx(done["score"].min(), rel=1e-5)
    (line,) = figures(tuning, proposals(made_study(tuning)))["history"]["layout"]["shapes"]
    assert line["y0"] == pytest.approx(tuning.default_score, rel=1e-5)


def test_the_learning_curves_are_those_of_finished_and_stopped_proposals(tuning):
    curves = figures(tuning, proposals(made_study(tuning)))["curves"]["data"]
    ended = tuning.trials[
        (tuning.trials["origin"] == "search") & tuning.trials["state"].isin(["done", "stopped"])
    ]
    assert [curve["name"] for curve in curves] == [f"trial {number}" for number in sorted(ended["trial"])]
    last = [curve["y"][-1] for curve in curves]
    assert last == pytest.approx(ended.sort_values("trial")["score"].tolist(), rel=1e-5)


def test_names_and_values_are_short_and_plain():
    assert labels.settings(DEFAULT) == "rate 0.004 emb 10 lstm 50/50 dense 64 win 60"
    assert labels.label("embedding_dim") == "embedding dim" and labels.label("l2") == "L2"
    assert labels.range_text(PARAMETERS["lstm_1"]) == "16 to 128, log scale"
    assert labels.range_text(PARAMETERS["dropout"]) == "0 to 0.5"
    assert [labels.value_text(value) for value in (60.0, 1e-6, None, float("nan"), "relu")] == [
        *("60", "1e-06", "-", "-", "relu")
    ]
