"""The order in which an epoch takes its windows."""

import tracemalloc

import numpy as np

from train.run.feed import MANY, drawn


def test_of_few_windows_all_are_shuffled_and_taken_again_and_again():
    order = np.random.default_rng((3, 1)).permutation(10)
    assert drawn(10, 25, (3, 1)).tolist() == [*order, *order, *order[:5]]


def test_of_very_many_windows_some_are_drawn_once_each_and_the_rest_is_not_even_counted():
    tracemalloc.start()
    order = drawn(200 * MANY, 1000, (3, 1))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert len(set(order.tolist())) == 1000 and order.min() >= 0 and order.max() < 200 * MANY
    assert np.array_equal(order, drawn(200 * MANY, 1000, (3, 1)))
    assert not np.array_equal(order, drawn(200 * MANY, 1000, (3, 2)))
    assert 0.45 < (order < 100 * MANY).mean() < 0.55
