"""The choice between a stock's candidates."""

import math

import pytest

from common.metrics import Errors
from train.scores import MINIMUM_JUDGED, Score, beats_naive, choose


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ({"general": 0.98, "fine-tuned": 0.98, "average": 0.98, "scratch": 1.0}, "average"),
        ({"general": 0.971, "fine-tuned": 0.99, "average": 0.98, "scratch": 1.0}, "average"),
        ({"general": 0.99, "fine-tuned": 0.969, "average": 0.98, "scratch": 1.0}, "fine-tuned"),
        ({"general": 0.99, "fine-tuned": 0.985, "average": 0.98, "scratch": 0.95}, "scratch"),
        ({"general": 0.99, "fine-tuned": math.inf, "average": math.inf, "scratch": 1.0}, "general"),
        ({"scratch": 1.2}, "scratch"),
        ({"general": math.inf}, "general"),
    ],
)
def test_the_average_is_published_unless_another_is_clearly_ahead(totals, expected):
    assert choose(totals) == expected


def judged(rel_mae: float | None, rel_rmse: float | None, n: int = 100) -> Score:
    figures = Errors(n, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, rel_mae, rel_rmse)
    return Score((figures,))


@pytest.mark.parametrize(
    ("score", "beats"),
    [
        (judged(0.98, 0.95), True),
        (judged(1.01, 0.95), True),
        (judged(1.0, 1.0), False),
        (judged(1.02, 0.99), False),
        (judged(0.9, 0.9, n=MINIMUM_JUDGED - 1), False),
        (judged(None, None), False),
        (judged(2.5, 2.1), False),
    ],
)
def test_a_stock_is_trusted_to_a_model_that_beat_naive_on_enough_windows(score, beats):
    assert beats_naive(score) is beats
