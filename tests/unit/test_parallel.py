"""Workers that train together: their sums, and that they end where one worker ends."""

import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from queue import Queue
from typing import Any

import keras
import made_team
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from made_process import running

import train.fit
from train.dropout import PartDropout
from train.feed import MANY, drawn
from train.losses import batch_totals, level_loss, mixture_loss
from train.state import FitState
from train.team import ALONE, Team, join

KEY = b"a secret of the tests"
ONES = np.ones(2), np.ones((1, 1))


def together(size: int, what: Callable[[Team], Any], *, before: Callable[[tuple[str, int]], None] = print):
    """What each rank's call returns, or the error it ended in; ``before`` knows the address before the
    others do, while the first one listens."""
    address: Queue[tuple[str, int]] = Queue()
    found: list[Any] = [None] * size

    def meet(own: tuple[str, int] | None) -> tuple[str, int]:
        if own is None:
            return address.get(timeout=120)
        threading.Thread(target=tell, args=(own,)).start()
        return own

    def tell(own: tuple[str, int]) -> None:
        before(own)
        for _ in range(size):
            address.put(own)

    def one(rank: int) -> None:
        team = join(rank, size, host="127.0.0.1", key=KEY, meet=meet)
        try:
            found[rank] = what(team)
        except (EOFError, OSError) as error:
            found[rank] = error
        finally:
            team.close()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    return found


@given(st.integers(1, 9), st.integers(0, 300))
def test_the_parts_of_a_team_are_all_rows_once_and_in_order_and_alike(size, count):
    parts = []
    for rank in range(size):
        team = Team()
        team.rank, team.size = rank, size
        parts.append(np.arange(count)[team.part(count)])
    assert np.concatenate(parts).tolist() == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("size", [2, 3, 5])
def test_all_workers_get_the_sum_and_all_rows_in_the_order_of_the_ranks(size):
    rng = np.random.default_rng(size)
    summands = rng.normal(size=(size, 4, 3)).astype(np.float32)
    rows = [rng.normal(size=(rank, 2)).astype(np.float32) for rank in range(size)]

    def exchange(team: Team) -> list:
        return [team.combine(summands[team.rank], rows[team.rank]) for _ in range(3)]

    total = summands[0]
    for part in summands[1:]:
        total = total + part
    for results in together(size, exchange):
        for summed, lined_up in results:
            assert np.array_equal(summed, total)
            assert np.array_equal(lined_up, np.concatenate(rows))


def test_the_first_worker_collects_and_tells():
    def exchange(team: Team) -> tuple:
        rows = team.collect(np.full((team.rank, 2, 2), team.rank, np.float64))
        return rows, [team.share(np.array(value)) for value in (7 + team.rank, [1.5, 2.5 - team.rank], [])]

    (all_rows, told), (_, heard), (own, _) = together(3, exchange)
    assert all_rows[:, 0, 0].tolist() == [1, 2, 2] and len(own) == 2
    for mine, theirs in zip(told, heard, strict=True):
        assert np.array_equal(mine, theirs) and mine.shape == theirs.shape


def test_a_worker_alone_has_everything():
    summed, rows = ALONE.combine(np.ones(3), np.ones((2, 2)))
    assert np.array_equal(summed, np.ones(3)) and rows.shape == (2, 2)
    assert ALONE.part(17) == slice(0, 17) and join(0, 1, host="", key=b"", meet=lambda own: own) is ALONE


def test_whoever_lacks_the_key_or_hangs_up_is_not_let_in_and_disturbs_nobody():
    seen = []

    def strangers(address: tuple[str, int]) -> None:
        socket.create_connection(address).close()
        with pytest.raises(AuthenticationError):
            Client(address, authkey=b"a guess")
        seen.append(address)

    assert together(2, lambda team: team.combine(*ONES)[0].tolist(), before=strangers) == [[2, 2], [2, 2]]
    assert seen


def test_nobody_listens_once_the_team_is_formed():
    addresses = []
    together(2, lambda team: team.share(np.ones(1)), before=addresses.append)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(addresses[0])
    assert addresses[0][0] == "127.0.0.1"


@pytest.mark.parametrize("goes", [0, 1])
def test_a_worker_that_goes_ends_the_wait_of_the_others(goes):
    def leave_or_wait(team: Team) -> Any:
        return None if team.rank == goes else team.combine(np.ones(100_000), np.ones((1, 1)))

    stays = together(2, leave_or_wait)[1 - goes]
    assert isinstance(stays, EOFError | OSError)


def batch(seed: int, rows: int = 11, horizons: int = 3):
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(rows, horizons, 14)).astype(np.float32)
    outputs[..., 1] = rng.uniform(0.1, 0.9, (rows, horizons))
    targets = rng.normal(size=(rows, horizons)).astype(np.float32)
    targets[rng.random(targets.shape) < 0.4] = 0
    targets[rng.random(targets.shape) < 0.4] = np.nan
    targets[:4, 2] = np.nan
    return outputs, targets, rng.uniform(0.005, 0.06, rows).astype(np.float32)


@pytest.mark.parametrize("loss", [mixture_loss((1, 3, 7)), level_loss((1, 3, 7))], ids=["mixture", "level"])
@pytest.mark.parametrize("cut", [1, 4, 10])
def test_losses_and_gradients_of_the_parts_of_a_batch_add_to_those_of_the_batch(loss, cut):
    whole = batch(cut)
    totals = batch_totals(whole[1][None], whole[2][None])[0]
    totals[0] /= len(whole[0])

    def loss_and_gradient(rows: slice, given: np.ndarray | None) -> tuple[float, np.ndarray]:
        outputs, targets, sigma = (tf.constant(part[rows]) for part in whole)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = loss(outputs, targets, sigma, given)
        return float(value), tape.gradient(value, outputs).numpy()

    value, gradient = loss_and_gradient(slice(None), None)
    values, gradients = zip(
        *(loss_and_gradient(rows, totals) for rows in (slice(0, cut), slice(cut, None))), strict=True
    )
    assert sum(values) == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(np.concatenate(gradients), gradient, rtol=1e-4, atol=1e-7)


def test_parts_of_a_batch_drop_what_the_whole_batch_would():
    inputs = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    whole, parts = [], []
    for layers, part in ((whole, slice(0, 9)), (parts, slice(0, 4)), (parts, slice(4, 9))):
        kind = keras.layers.Dropout if part == slice(0, 9) else None
        layer = kind(0.4, seed=3) if kind else PartDropout(0.4, seed=3, part=part, batch=9)
        layers.append(np.concatenate([layer(inputs[part], training=True) for _ in range(3)], axis=1))
    assert np.array_equal(np.concatenate(parts), whole[0])
    assert 0.2 < (whole[0] == 0).mean() < 0.6
    assert np.array_equal(PartDropout(0.4, part=slice(0, 4), batch=9)(inputs[:4]), inputs[:4])


def assert_equal_up_to_rounding(state: FitState, other: FitState) -> None:
    assert (state.epoch, state.best_epoch) == (other.epoch, other.best_epoch)
    for mine, theirs in zip(state.history, other.history, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)
    for mine, theirs in zip([*state.loop, *state.best], [*other.loop, *other.best], strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_what_two_workers_began_and_one_continues_ends_where_one_worker_ends(tmp_path):
    """With dropout, masks, an L2 penalty, and a batch that does not divide evenly."""
    script = str(Path(made_team.__file__))
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                running(
                    [sys.executable, script, str(rank), "2", str(tmp_path)], stderr=subprocess.PIPE, text=True
                )
            )
            for rank in range(2)
        ]
        whole = made_team.fitted(tmp_path, name="whole.npz")
        said = [process.communicate(timeout=180)[1] for process in processes]
    assert "Stopped" in said[0], said
    assert "EOFError" in said[1] or "ConnectionResetError" in said[1], said
    begun = FitState.load(tmp_path / "state-0.npz")
    assert begun.epoch == made_team.STOP_AFTER and not (tmp_path / "state-1.npz").exists()
    for mine, theirs in zip(begun.history, whole.history, strict=False):
        assert mine == pytest.approx(theirs, rel=1e-6)
    assert_equal_up_to_rounding(made_team.fitted(tmp_path, name="state-0.npz"), whole)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_all_workers_cut_the_same_batches_at_a_time(size, monkeypatch):
    """Or what they add up would be of different batches: 17 rows are 6, 6 and 5 for three workers."""
    monkeypatch.setattr(train.fit, "CUT_AT_ONCE", 18)
    data, parts = made_team.data(), []
    for rank in range(size):
        team = Team()
        team.rank, team.size = rank, size
        batches = train.fit._batches(data.train, data, 17, 10, seed=(0, 0), part=team.part(17))
        parts.append([len(each.x) for each in batches])
    assert parts == parts[:1] * size and sum(parts[0]) == 10


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
