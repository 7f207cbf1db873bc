"""The order in which an epoch takes its windows."""

import tracemalloc

import numpy as np

from train.run.feed import MANY, draw


def test_few_windows_are_all_shuffled_and_repeated():
    order = np.random.default_rng((3, 1)).permutation(10)
    assert draw(10, 25, (3, 1)).tolist() == [*order, *order, *order[:5]]


def test_some_of_very_many_windows_are_drawn_without_memory_for_the_rest():
    tracemalloc.start()
    order = draw(200 * MANY, 1000, (3, 1))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert len(set(order.tolist())) == 1000 and order.min() >= 0 and order.max() < 200 * MANY
    assert np.array_equal(order, draw(200 * MANY, 1000, (3, 1)))
    assert not np.array_equal(order, draw(200 * MANY, 1000, (3, 2)))
    assert 0.45 < (order < 100 * MANY).mean() < 0.55
