"""The ONNX graph gives the outputs of Keras."""

import numpy as np
import onnx
import pytest

from common.errors import BundleError
from common.forecast import forecaster
from common.forecast.forecaster import MANY, OnnxNetwork
from common.network.build import average_network, build_network, networks_of
from common.network.mixture import OUTPUTS
from common.presets import NetworkConfig, NetworkShape
from train.publish.onnx_graph import onnx_model

IDS = 5
RNG = np.random.default_rng(7)


def shape_of(mixture: bool, horizons: int = 3, channels: int = 4) -> NetworkShape:
    return NetworkShape(size=9, channels=channels, stock_ids=IDS, days=(1, 3, 7)[:horizons], mixture=mixture)


def members(shape: NetworkShape, config: NetworkConfig, count: int) -> list[list[np.ndarray]]:
    """Random weights, because a new network has the same output for every window."""
    fresh = build_network(shape, config, seed=0).get_weights()
    return [[RNG.normal(0, 0.6, weight.shape).astype(np.float32) for weight in fresh] for _ in range(count)]


def windows(shape: NetworkShape, count: int) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.normal(size=(count, shape.size, shape.channels)).astype(np.float32)
    return x, (np.arange(count, dtype=np.int32) % IDS)[:, None]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("units", [(6,), (6, 5), (4, 3, 7)])
@pytest.mark.parametrize(("mixture", "horizons"), [(True, 3), (True, 1), (False, 3), (False, 1)])
def test_the_graph_equals_keras_for_any_layers_and_any_number_of_averaged_networks(
    tmp_path, mixture, horizons, units, count
):
    shape = shape_of(mixture, horizons)
    config = NetworkConfig(lstm_units=units, dense_units=6, embedding_dim=3)
    model = average_network(shape, config, members(shape, config, count))
    x, ids = windows(shape, 11)
    expected = np.asarray(model([x, ids], training=False))
    assert expected.shape == (11, horizons, OUTPUTS if mixture else 1) and np.ptp(expected) > 0.5
    written = onnx_model(networks_of(model), shape)
    onnx.checker.check_model(written, full_check=True)
    (tmp_path / "model.onnx").write_bytes(written.SerializeToString())
    network = OnnxNetwork(tmp_path / "model.onnx")
    outputs = network(x, ids)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, expected, atol=2e-6)
    (at_once,) = network._session.run(None, {"window": x, "stock_id": ids})
    np.testing.assert_allclose(at_once, expected, atol=2e-6)


def test_a_network_that_is_averaged_twice_is_run_once_and_counts_twice(tmp_path):
    shape, config = shape_of(True), NetworkConfig(lstm_units=(6, 5), dense_units=6)
    first, second = members(shape, config, 2)
    model = average_network(shape, config, [first, second, first])
    x, ids = windows(shape, 11)
    written = onnx_model(networks_of(model), shape)
    assert sum(node.op_type == "LSTM" for node in written.graph.node) == 2 * 2
    (tmp_path / "model.onnx").write_bytes(written.SerializeToString())
    expected = np.asarray(model([x, ids], training=False))
    np.testing.assert_allclose(OnnxNetwork(tmp_path / "model.onnx")(x, ids), expected, atol=2e-6)


def test_the_same_weights_give_the_same_bytes():
    shape, config = shape_of(True), NetworkConfig(lstm_units=(4, 4), dense_units=3)
    model = average_network(shape, config, members(shape, config, 2))
    first, second = (onnx_model(networks_of(model), shape).SerializeToString() for _ in range(2))
    assert first == second


def test_a_stock_id_beyond_the_embedding_is_refused(tmp_path):
    shape, config = shape_of(True), NetworkConfig(lstm_units=(4,), dense_units=3)
    model = average_network(shape, config, members(shape, config, 1))
    (tmp_path / "model.onnx").write_bytes(onnx_model(networks_of(model), shape).SerializeToString())
    x, _ = windows(shape, 1)
    with pytest.raises(BundleError, match="cannot be run"):
        OnnxNetwork(tmp_path / "model.onnx")(x, np.array([[IDS]], dtype=np.int32))


@pytest.mark.parametrize("same_together", [True, False])
def test_many_windows_get_the_outputs_of_each_alone(tmp_path, monkeypatch, same_together):
    shape, config = shape_of(True), NetworkConfig(lstm_units=(50, 50), dense_units=64)
    model = average_network(shape, config, members(shape, config, 8))
    (tmp_path / "model.onnx").write_bytes(onnx_model(networks_of(model), shape).SerializeToString())
    network = OnnxNetwork(tmp_path / "model.onnx")
    if not same_together:
        network.same_together = lambda count: count == 1
    x, ids = windows(shape, MANY + 3)
    alone = np.concatenate([network(x[row : row + 1], ids[row : row + 1]) for row in range(len(x))])
    for cpus in (1, 2, 5):
        monkeypatch.setattr(forecaster, "_cpus", lambda cpus=cpus: cpus)
        assert np.array_equal(network(x, ids), alone)
    ids[-1] = IDS
    with pytest.raises(BundleError, match="cannot be run"):
        network(x, ids)
