"""Coverage by stock beside what perfect calibration would show."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from train.evaluation.stock_coverage import expected_share, stock_coverage


@pytest.mark.parametrize("size", [50, 120, 240])
def test_one_day_ahead_the_expected_share_is_binomial(size):
    hits = np.arange(size + 1)
    inside = (hits / size >= 0.85) & (hits / size <= 0.95)
    exact = binom.pmf(hits[inside], size, 0.9).sum()
    assert expected_share(np.full(4, size), 1) == pytest.approx(exact, abs=0.03)


def test_overlapping_outcomes_lower_the_expected_share():
    shares = [expected_share(np.array([240, 236, 180]), horizon) for horizon in (1, 5, 10, 30)]
    assert all(near > far + 0.05 for near, far in pairwise(shares))
    assert shares == [expected_share(np.array([240, 236, 180]), horizon) for horizon in (1, 5, 10, 30)]


def test_perfect_intervals_of_random_walks_reach_the_expected_share_five_days_ahead():
    rng, size = np.random.default_rng(7), 240
    covers = []
    for _ in range(400):
        steps = rng.standard_normal(size + 4)
        sums = [steps[day : day + 5].sum() / 5**0.5 for day in range(size)]
        covers.append(np.mean([abs(value) <= 1.6448536 for value in sums]))
    seen = np.mean([0.85 <= cover <= 0.95 for cover in covers])
    assert expected_share(np.full(400, size), 5) == pytest.approx(seen, abs=0.06)


def test_stocks_are_counted_inside_the_band_with_its_ends_and_thin_ones_are_left_out():
    table = pd.DataFrame(
        {
            "horizon": [1] * 6 + [5] * 2,
            "symbol": [*"ABCDEFAB"],
            "n": [100, 100, 100, 100, 19, 0, 100, 100],
            "cover90": [0.85, 0.95, 0.84, 0.96, 0.9, np.nan, 0.9, 0.9],
        }
    )
    found = stock_coverage(table)
    assert found["horizon"].tolist() == [1, 5]
    assert found["stocks"].tolist() == [4, 2] and found["within"].tolist() == [0.5, 1.0]
    assert stock_coverage(table.assign(cover90=np.nan)).empty
