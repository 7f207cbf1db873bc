"""The training loop: masks, losses, and the exported network."""

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.prices.panel import SPEC
from support.training.fitting import NETWORK, SHAPE, loop_of

from common.forecast.forecaster import OnnxNetwork
from common.forecast.representation import Residual
from common.network.build import average_network, build_network, networks_of
from common.network.channels import frozen
from common.network.mixture import OUTPUTS, TAUS
from train.fit.fused_lstm import FusedLSTM
from train.fit.loop import EpochLoop, shared_loop
from train.fit.losses import level_loss, mixture_loss
from train.publish.onnx_graph import onnx_model
from train.run.scores import HORIZON_WEIGHTS

DAYS = (1, 5, 10, 30)


def test_a_shared_loop_is_created_once_for_its_settings():
    settings = (SHAPE, NETWORK, 8, 1.0, 0.1, ())
    assert shared_loop(*settings) is shared_loop(*settings)
    assert shared_loop(SHAPE, NETWORK, 9, 1.0, 0.1, ()) is not shared_loop(*settings)


def test_a_fresh_mixture_network_forecasts_exactly_the_last_price(data):
    network = build_network(SHAPE, NETWORK, seed=5)
    windows = data.valid.take(~frozen(data.valid))
    x = data.representation.inputs(windows)
    outputs = np.asarray(network([x, data.ids(windows)], training=False))
    assert (outputs[..., 0] == 0).all() and (outputs[..., -1] == 0).all()
    np.testing.assert_allclose(outputs[..., 1], 1 / (1 + math.exp(-0.8)), rtol=1e-6)
    prices = data.representation.prices(windows, outputs)
    assert (prices.raw == prices.last[:, None]).all() and (prices.published == prices.last[:, None]).all()
    assert (prices.low < prices.last[:, None, None]).all() and (
        prices.high > prices.last[:, None, None]
    ).all()


def masked(loop: EpochLoop, x: np.ndarray, ids: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    seen = loop._mask(tf.constant(x), tf.constant(ids), tf.constant([1, step], tf.int32))
    return seen[0].numpy(), seen[1].numpy()


def test_masks_hide_only_complete_groups_in_their_share_of_the_windows():
    groups = (((1, 2), 0.5), ((5,), 0.25))
    loop = loop_of(batch_size=64, rate=0.1, groups=groups)
    x = np.random.default_rng(0).normal(5, 1, (64, SPEC.size, len(Residual.channels))).astype(np.float32)
    ids = np.full((64, 1), 3, dtype=np.int32)
    hidden, unknown = {(1, 2): 0, (5,): 0}, 0
    for step in range(40):
        seen, seen_ids = masked(loop, x, ids, step)
        assert set(np.unique(seen_ids)) <= {0, 3}
        unknown += int((seen_ids == 0).sum())
        for positions, _ in groups:
            gone = (seen[..., list(positions)] == 0).all(axis=(1, 2))
            hidden[positions] += int(gone.sum())
            assert np.array_equal(seen[~gone][..., list(positions)], x[~gone][..., list(positions)])
        untouched = [0, 3, 4, 6, 7, 8, 9]
        assert np.array_equal(seen[..., untouched], x[..., untouched])
    shares = [hidden[(1, 2)] / 2560, hidden[(5,)] / 2560, unknown / 2560]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.1], atol=0.04)


@pytest.mark.parametrize(("rate", "hidden"), [(0.0, False), (1.0, True)])
def test_a_rate_of_zero_or_one_hides_none_or_all(rate, hidden):
    loop = loop_of(rate=rate, groups=(((0, 9), rate),))
    x, ids = (
        np.ones((16, SPEC.size, len(Residual.channels)), dtype=np.float32),
        np.full((16, 1), 3, dtype=np.int32),
    )
    seen, seen_ids = masked(loop, x, ids, 0)
    assert ((seen[..., [0, 9]] == 0).all() if hidden else (seen == 1).all()) and (seen[..., 1:9] == 1).all()
    assert (seen_ids == (0 if hidden else 3)).all()


def test_the_masks_of_a_step_depend_only_on_seed_and_step(loop):
    x, ids = (
        np.ones((16, SPEC.size, len(Residual.channels)), dtype=np.float32),
        np.ones((16, 1), dtype=np.int32),
    )
    first = masked(loop, x, ids, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, masked(loop, x, ids, 7), strict=True))
    assert any(not np.array_equal(first[0], masked(loop, x, ids, step)[0]) for step in (8, 9, 10))


def made_batch(seed: int, horizons: int = 3, size: int = 9):
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, 1, (size, horizons, OUTPUTS)).astype(np.float32)
    outputs[..., 1] = rng.uniform(0.05, 0.95, (size, horizons))
    targets = rng.normal(0, 1.5, (size, horizons)).astype(np.float32)
    targets[rng.random(targets.shape) < 0.3] = 0
    targets[rng.random(targets.shape) < 0.3] = np.nan
    return outputs, targets, rng.uniform(0.005, 0.06, size).astype(np.float32)


def slow_mixture_loss(outputs, targets, sigma) -> float:
    total = 0.0
    for h in range(targets.shape[1]):
        rows = [n for n in range(len(targets)) if not math.isnan(targets[n, h])]
        loss = 0.0
        for n in rows:
            y, out = float(targets[n, h]), [float(v) for v in outputs[n, h]]
            weight = float(sigma[n]) / float(np.mean(sigma))
            error = abs(y - out[0])
            loss += weight * (0.5 * error**2 if error <= 1 else error - 0.5)
            loss += weight * 0.7 * abs(y - out[-1])
            loss -= 0.4 * math.log(out[1] if y != 0 else 1 - out[1])
            if y != 0:
                gaps = [(tau, y - q) for tau, q in zip(TAUS, out[2:-1], strict=True)]
                loss += weight * 2 * sum(tau * g if g > 0 else (tau - 1) * g for tau, g in gaps) / len(gaps)
        total += HORIZON_WEIGHTS[DAYS[h]] * loss / max(len(rows), 1)
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("horizons", [1, 3, 4])
def test_the_mixture_loss_equals_the_plain_sum(seed, horizons):
    batch = made_batch(seed, horizons)
    assert float(mixture_loss(DAYS[:horizons])(*map(tf.constant, batch))) == pytest.approx(
        slow_mixture_loss(*batch), rel=1e-4
    )


def test_the_level_loss_is_the_mean_square_over_known_targets():
    outputs, targets, sigma = made_batch(1, 2)
    means = [np.nanmean((targets[:, h] - outputs[:, h, 0]) ** 2) for h in range(2)]
    loss = float(level_loss((5, 10))(*map(tf.constant, (outputs, targets, sigma))))
    assert loss == pytest.approx(means[0] + 0.0625 / 0.125 * means[1], rel=1e-5)


@pytest.mark.parametrize("loss", [mixture_loss(DAYS[:3]), level_loss(DAYS[:3])], ids=["mixture", "level"])
def test_a_missing_target_has_no_gradient_and_does_not_affect_others(loss):
    outputs, targets, sigma = map(tf.constant, made_batch(2))
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = loss(outputs, targets, sigma)
    gradient = tape.gradient(value, outputs).numpy()
    unknown = np.isnan(targets.numpy())
    assert unknown.any() and np.isfinite(gradient).all()
    assert (gradient[unknown] == 0).all()
    assert (gradient[~unknown][:, 0] != 0).all()


@pytest.mark.parametrize("loss", [mixture_loss(DAYS[:3]), level_loss(DAYS[:3])], ids=["mixture", "level"])
def test_a_horizon_without_any_target_adds_nothing(loss):
    outputs, targets, sigma = made_batch(3)
    targets[:, 2] = np.nan
    moved = outputs.copy()
    moved[:, 2] += 5
    moved[..., 1] = outputs[..., 1]
    one, other = (float(loss(*map(tf.constant, (given, targets, sigma)))) for given in (outputs, moved))
    assert math.isfinite(one) and one == other


def test_an_average_network_is_the_mean_of_its_members_outputs():
    networks = [build_network(SHAPE, NETWORK, seed=seed) for seed in range(3)]
    rng = np.random.default_rng(0)
    for network in networks:
        network.set_weights([rng.normal(0, 0.5, w.shape) for w in network.get_weights()])
    x = rng.normal(0, 1, (5, SPEC.size, len(Residual.channels))).astype(np.float32)
    ids = np.array([[0], [1], [2], [6], [3]], dtype=np.int32)
    outputs = [np.asarray(network([x, ids], training=False)) for network in networks]
    average = average_network(SHAPE, NETWORK, [network.get_weights() for network in networks])
    np.testing.assert_allclose(average([x, ids], training=False), np.mean(outputs, axis=0), atol=1e-6)
    alone = average_network(SHAPE, NETWORK, [networks[1].get_weights()])
    np.testing.assert_array_equal(alone([x, ids], training=False), outputs[1])


def test_an_exported_network_equals_the_trained_one_in_batches_of_any_size(undisturbed, data, tmp_path):
    model = average_network(SHAPE, NETWORK, [undisturbed.best, undisturbed.best])
    x, ids = data.representation.inputs(data.valid), data.ids(data.valid)
    expected = np.asarray(model([x, ids], training=False))
    (tmp_path / "model.onnx").write_bytes(onnx_model(networks_of(model), SHAPE).SerializeToString())
    network = OnnxNetwork(tmp_path / "model.onnx")
    for count in (1, 2, 33, len(x)):
        np.testing.assert_allclose(network(x[:count], ids[:count]), expected[:count], atol=1e-5)


def test_the_fused_layer_has_the_outputs_and_gradients_of_the_keras_layer():
    x = np.random.default_rng(3).normal(size=(7, 12, 3)).astype(np.float32)
    for sequences in (True, False):
        plain, fused = (kind(5, return_sequences=sequences) for kind in (keras.layers.LSTM, FusedLSTM))
        plain.build(x.shape), fused.build(x.shape)
        weights = [w + 0.1 for w in plain.get_weights()]
        plain.set_weights(weights), fused.set_weights(weights)
        results = []
        for layer in (plain, fused):
            with tf.GradientTape() as tape:
                out = layer(tf.constant(x))
                total = tf.reduce_sum(out**2)
            results.append([out, *tape.gradient(total, layer.trainable_variables)])
        for ours, theirs in zip(results[1], results[0], strict=True):
            np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-4, atol=1e-5)


def test_a_saved_network_loads_without_nsecast(tmp_path):
    model = average_network(
        SHAPE, NETWORK, [build_network(SHAPE, NETWORK, seed=s).get_weights() for s in (1, 2)]
    )
    model.save(tmp_path / "network.h5")
    code = "import sys, numpy as np, keras; m = keras.models.load_model(sys.argv[1], compile=False); "
    code += "x = np.ones((1, *m.inputs[0].shape[1:])); print(np.asarray(m([x, np.ones((1, 1))])).sum())"
    printed = subprocess.run(
        [sys.executable, "-c", code, "network.h5"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    x = np.ones((1, SPEC.size, len(Residual.channels)))
    expected = np.asarray(model([x, np.ones((1, 1))])).sum()
    assert float(printed.stdout) == pytest.approx(float(expected), rel=1e-5)
