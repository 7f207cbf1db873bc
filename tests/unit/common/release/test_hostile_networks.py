"""Networks that read other files, or differ from their description, are refused."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from support.releases.hostile import assert_refused_everywhere, call
from support.releases.loaded_release import SETTINGS
from support.releases.release import doctored, made_release

from common.errors import BundleError
from common.forecast.forecaster import OnnxNetwork
from common.release.manifest import Release

NETWORK, SCALERS, DATA = (
    f"general_residual/{name}" for name in ("model.onnx", "scalers.json", "metadata.json")
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return made_release(tmp_path / "home", **SETTINGS | {"shift": 0.0})


# Networks
def network(location: str | None = None, *, operator: str = "Add", domain: str = "", kind: str = "weights"):
    """A network of our inputs that adds 1,024 weights, which lie in another file if ``location`` is given."""
    size, weights = 1_024, TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[1_024])
    if location is None:
        weights.raw_data = np.ones(size, "float32").tobytes()
    else:
        weights.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": str(4 * size)}.items():
            weights.external_data.add(key=key, value=value)
    nodes = [helper.make_node(operator, ["window", "weights"], ["said"], domain=domain)]
    if kind == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["weights"], value=weights))
    inputs = [
        helper.make_tensor_value_info("window", TensorProto.FLOAT, [size]),
        helper.make_tensor_value_info("stock_id", TensorProto.INT32, [1]),
    ]
    output = helper.make_tensor_value_info("said", TensorProto.FLOAT, [size])
    graph = helper.make_graph(nodes, "network", inputs, [output], [] if kind == "constant" else [weights])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.mark.parametrize("kind", ["weights", "constant"])
@pytest.mark.parametrize("location", ["../canary.bin", "/canary.bin", "canary.bin", "link.bin", "/dev/zero"])
def test_weights_of_a_network_that_lie_in_another_file_are_not_read(outside, location, kind, capfd):
    if location == "/canary.bin":
        location = str(outside.parent / "canary.bin")
    path = outside / "model.onnx"
    path.write_bytes(network(location, kind=kind))
    with pytest.raises(BundleError, match=r"model\.onnx: not a usable network"):
        OnnxNetwork(path)
    assert capfd.readouterr().err == "", "ONNX Runtime complains on stderr besides"


def test_without_our_settings_the_runtime_would_read_the_working_directory(outside):
    result = onnxruntime.InferenceSession(network("canary.bin"), providers=["CPUExecutionProvider"])
    given = {"window": np.zeros(1_024, "float32"), "stock_id": np.zeros(1, "int32")}
    assert result.run(None, given)[0].sum() == 7 * 1_024


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (network(operator="Run", domain="evil"), "not a usable network"),
        (network("../../canary.bin"), "not a usable network"),
        (network(), "the network cannot be run"),
    ],
    ids=["custom operator", "weights elsewhere", "another shape"],
)
def test_a_hostile_network_is_refused_by_every_command_and_by_a_server(release, outside, content, message):
    home = release.path.parents[1]
    doctored(release, lambda folder: (folder / NETWORK).write_bytes(content))
    if message == "not a usable network":
        assert_refused_everywhere(home, message, hashes_fit=True)
    else:
        status, output = call(home, "predict", "THIN", "--release", "made")
        assert status == 1 and message in output
        assert call(home, "models", "promote", "made")[0] == 1


def test_a_network_that_declares_another_shape_or_type_is_refused(release):
    def changed(folder: Path) -> None:
        model = onnx.load(folder / NETWORK)
        output = model.graph.output[0]
        model.graph.node.append(helper.make_node("Flatten", [output.name], ["flat"]))
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, None))
        onnx.save(model, folder / NETWORK)

    doctored(release, changed)
    status, output = call(release.path.parents[1], "predict", "THIN", "--release", "made")
    assert status == 1 and "the network returned float32 of shape" in output
