"""The choice between a stock's candidates."""

import math

import pytest

from train.scores import choose


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ({"general": 0.98, "fine-tuned": 0.98, "average": 0.98, "scratch": 1.0}, "average"),
        ({"general": 0.9785, "fine-tuned": 0.99, "average": 0.98, "scratch": 1.0}, "average"),
        ({"general": 0.99, "fine-tuned": 0.97, "average": 0.98, "scratch": 1.0}, "fine-tuned"),
        ({"general": 0.99, "fine-tuned": 0.985, "average": 0.98, "scratch": 0.95}, "scratch"),
        ({"general": 0.99, "fine-tuned": math.inf, "average": math.inf, "scratch": 1.0}, "general"),
        ({"scratch": 1.2}, "scratch"),
        ({"general": math.inf}, "general"),
    ],
)
def test_the_average_is_published_unless_another_is_clearly_ahead(totals, expected):
    assert choose(totals) == expected
