"""Brier scores of probabilities by direction, against the obvious loop."""

import numpy as np
import pytest

from common.scoring.direction_scores import direction_scores

RNG = np.random.default_rng(0)
LAST = np.full(60, 10.0)
ACTUAL = RNG.choice([9.95, 10.0, 10.05], 60)
OURS = RNG.dirichlet((1, 1, 1), 60)
BASE = np.tile([0.3, 0.3, 0.4], (60, 1))


def slow(probabilities: np.ndarray) -> tuple[float, float]:
    total = rises = 0.0
    for (up, same, down), last, actual in zip(probabilities, LAST, ACTUAL, strict=True):
        total += (up - (actual > last)) ** 2 + (same - (actual == last)) ** 2 + (down - (actual < last)) ** 2
        rises += (up - (actual > last)) ** 2
    return total / len(LAST), rises / len(LAST)


def test_scores_and_skills_equal_the_obvious_loop():
    (ours, ours_up), (base, base_up) = slow(OURS), slow(BASE)
    wanted = {"brier": ours, "brier_skill": 1 - ours / base}
    wanted |= {"brier_up": ours_up, "brier_up_skill": 1 - ours_up / base_up}
    assert direction_scores(OURS, BASE, LAST, ACTUAL) == pytest.approx(wanted)


def test_certainty_about_what_happens_scores_zero_and_has_full_skill():
    certain = np.stack([ACTUAL > LAST, ACTUAL == LAST, ACTUAL < LAST], axis=1).astype(float)
    assert direction_scores(certain, BASE, LAST, ACTUAL) == {
        "brier": 0,
        "brier_skill": 1,
        "brier_up": 0,
        "brier_up_skill": 1,
    }
    assert direction_scores(BASE, BASE, LAST, ACTUAL)["brier_skill"] == 0


def test_without_base_rates_there_is_a_score_and_no_skill():
    scores = direction_scores(OURS, np.full_like(BASE, np.nan), LAST, ACTUAL)
    assert scores["brier"] == pytest.approx(slow(OURS)[0]) and scores["brier_skill"] is None
    unknown = direction_scores(np.full_like(OURS, np.nan), BASE, LAST, ACTUAL)
    assert set(unknown.values()) == {None}
