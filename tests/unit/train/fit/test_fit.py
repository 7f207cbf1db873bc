"""Fits: repeatable, resumable, stopped by patience."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from support.machine.processes import Killed
from support.training.fitting import CONFIG

from common.network.channels import frozen
from train.fit.fit import FitState, fit


def kill_after(epoch: int):
    def on_epoch(progress):
        if progress.epoch == epoch:
            raise Killed

    return on_epoch


def assert_same(one: FitState, other: FitState) -> None:
    assert (one.epoch, one.best_epoch, one.best_loss) == (other.epoch, other.best_epoch, other.best_loss)
    assert one.history == other.history
    for mine, theirs in zip([*one.best, *one.loop], [*other.best, *other.loop], strict=True):
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)


def test_the_same_seed_gives_the_same_weights_in_a_loop_that_did_other_jobs(
    loop, data, undisturbed, tmp_path
):
    other = fit(loop, data, CONFIG, seed=8, state_path=tmp_path / "other.npz")
    again = fit(loop, data, CONFIG, seed=3, state_path=tmp_path / "again.npz")
    assert_same(again, undisturbed)
    assert any(not np.array_equal(a, b) for a, b in zip(other.best, again.best, strict=True))


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_fit_that_is_killed_and_resumed_ends_like_an_uninterrupted_one(
    loop, data, undisturbed, tmp_path, epoch
):
    path = tmp_path / "state.npz"
    with pytest.raises(Killed):
        fit(loop, data, CONFIG, seed=3, state_path=path, on_epoch=kill_after(epoch))
    loop.start(seed=99)  # another job meanwhile
    seen = []
    resumed = fit(loop, data, CONFIG, seed=3, state_path=path, on_epoch=lambda p: seen.append(p.epoch))
    assert seen == list(range(epoch + 1, 4))
    assert_same(resumed, undisturbed)


def test_fine_tuning_killed_and_resumed_ends_like_an_uninterrupted_one(loop, data, undisturbed, tmp_path):
    config = CONFIG.model_copy(update={"step_zero": True, "epochs": 2, "learning_rate": 1e-3})
    uninterrupted = fit(
        loop, data, config, seed=1, state_path=tmp_path / "whole.npz", weights=undisturbed.best
    )
    path = tmp_path / "state.npz"
    with pytest.raises(Killed):
        fit(loop, data, config, seed=1, state_path=path, weights=undisturbed.best, on_epoch=kill_after(1))
    loop.start(seed=99)
    assert_same(fit(loop, data, config, seed=1, state_path=path, weights=undisturbed.best), uninterrupted)


@pytest.mark.parametrize("rate", [1.0, 1e20], ids=["worsens", "diverges"])
def test_fine_tuning_that_only_worsens_keeps_its_initial_weights(loop, data, undisturbed, tmp_path, rate):
    config = CONFIG.model_copy(update={"step_zero": True, "epochs": 2, "learning_rate": rate})
    state = fit(
        loop,
        data,
        config,
        seed=1,
        state_path=tmp_path / "s.npz",
        weights=undisturbed.best,
        log_dir=tmp_path / "log",
    )
    json.dumps(state.history, allow_nan=False)
    assert state.best_epoch == 0 and math.isfinite(state.best_loss)
    for mine, began in zip(state.best, undisturbed.best, strict=True):
        assert np.array_equal(mine, began)


def test_a_fit_stops_when_its_patience_runs_out_and_stays_stopped_when_resumed(loop, data, tmp_path):
    config = CONFIG.model_copy(update={"step_zero": True, "epochs": 4, "learning_rate": 5.0, "patience": 2})
    path = tmp_path / "s.npz"
    assert fit(loop, data, config, seed=1, state_path=path).epoch == 2
    assert fit(loop, data, config, seed=1, state_path=path).epoch == 2


def test_a_fit_of_a_fixed_number_of_epochs_trains_like_any_other_and_needs_no_validation(
    loop, data, tmp_path
):
    """It runs that much of the usual schedule and keeps the weights of its last epoch."""
    unvalidated = replace(data, valid=data.valid.take(slice(0, 0)))
    short = fit(loop, unvalidated, CONFIG, seed=3, state_path=tmp_path / "fixed.npz", epochs=2)
    stopped = FitState()

    def stop(progress):
        if progress.epoch == 2:
            stopped.best = loop.network.get_weights()
            raise Killed

    with pytest.raises(Killed):
        fit(loop, data, CONFIG, seed=3, state_path=tmp_path / "usual.npz", on_epoch=stop)
    assert short.epoch == short.best_epoch == 2
    for mine, usual in zip(short.best, stopped.best, strict=True):
        np.testing.assert_array_equal(mine, usual)


def test_a_fit_of_no_epochs_keeps_the_weights_that_it_is_given(loop, data, undisturbed, tmp_path):
    none = fit(loop, data, CONFIG, seed=1, state_path=tmp_path / "s.npz", weights=undisturbed.best, epochs=0)
    for mine, given in zip(none.best, undisturbed.best, strict=True):
        np.testing.assert_array_equal(mine, given)


@pytest.mark.parametrize("spoil", ["cut", "flip", "other shape"])
def test_a_broken_state_only_loses_its_epochs(loop, data, undisturbed, tmp_path, spoil):
    path = tmp_path / "state.npz"
    undisturbed.save(path)
    content = path.read_bytes()
    middle = len(content) // 2
    if spoil == "cut":
        path.write_bytes(content[:middle])
    elif spoil == "flip":
        flipped = bytes(byte ^ 255 for byte in content[middle : middle + 64])
        path.write_bytes(content[:middle] + flipped + content[middle + 64 :])
    else:
        FitState(1, 1, 0.5, [], [np.zeros(3)] * len(undisturbed.loop), undisturbed.best).save(path)
    assert_same(fit(loop, data, CONFIG, seed=3, state_path=path), undisturbed)


def test_a_state_is_the_same_after_being_stored(undisturbed, tmp_path):
    undisturbed.save(tmp_path / "s.npz")
    assert_same(FitState.load(tmp_path / "s.npz"), undisturbed)


def test_a_fit_has_finite_losses_and_keeps_the_best(undisturbed, data):
    assert frozen(data.train).any()
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["val_loss"]) for row in undisturbed.history)
    assert undisturbed.best_loss == min(row["val_loss"] for row in undisturbed.history)
