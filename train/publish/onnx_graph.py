"""Write the average of networks as one ONNX graph, from their weights.

A general converter would trace every network, for seconds each, and leave the traced shapes in the graph;
these networks always have the same few layers. Operators: https://onnx.ai/onnx/operators, opset 17.
"""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common.network.build import HEADS
from common.presets import NetworkShape

OPSET, IR = 17, 8
GATES = (0, 3, 1, 2)
"""Positions of ONNX' gates (input, output, forget, cell) in Keras' order (input, forget, cell, output)."""


@dataclass
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def put(self, value: np.ndarray) -> str:
        name = f"weights_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"{operator.lower()}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names


def onnx_model(networks: list[keras.Model], shape: NetworkShape) -> onnx.ModelProto:
    """Return the graph of the average of networks from `build_network`.

    Inputs ``window`` (N, size, C) float32 and ``stock_id`` (N, 1) int32, output (N, H, K) float32.
    """
    graph = _Graph()
    (days,) = graph.add("Transpose", "window", perm=[1, 0, 2])
    outputs_of: dict[bytes, str] = {}
    contents = [b"".join(weight.tobytes() for weight in network.get_weights()) for network in networks]
    for content, network in zip(contents, networks, strict=True):
        if content not in outputs_of:  # a network that is averaged twice is run once
            outputs_of[content] = _member(graph, network, days, shape.horizons)
    (outputs,) = graph.add("Concat", *(outputs_of[content] for content in contents), axis=1)
    width = sum(HEADS.values()) if shape.mixture else 1
    members = graph.put(np.array([-1, len(networks), shape.horizons, width]))
    (outputs,) = graph.add("Reshape", outputs, members)
    if shape.mixture:
        widths = graph.put(np.array(list(HEADS.values())))
        heads = dict(zip(HEADS, graph.add("Split", outputs, widths, outputs=len(HEADS), axis=3), strict=True))
        (heads["p_move"],) = graph.add("Sigmoid", heads["p_move"])
        (outputs,) = graph.add("Concat", *heads.values(), axis=3)
    # Mean adds element by element; ReduceMean adds in another order for one window than for several.
    (outputs,) = graph.add("Mean", *graph.add("Split", outputs, outputs=len(networks), axis=1))
    (outputs,) = graph.add("Squeeze", outputs, graph.put(np.array([1])))
    graph_inputs = [
        helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", shape.size, shape.channels]),
        helper.make_tensor_value_info("stock_id", TensorProto.INT32, ["N", 1]),
    ]
    graph_outputs = [helper.make_tensor_value_info(outputs, TensorProto.FLOAT, ["N", shape.horizons, width])]
    return helper.make_model(
        helper.make_graph(graph.nodes, "networks", graph_inputs, graph_outputs, graph.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="nsecast",
    )


def _member(graph: _Graph, network: keras.Model, days: str, horizons: int) -> str:
    """Add a network up to its last activation; return the name of its output, (N, H * K)."""
    axis = [graph.put(np.array([number])) for number in (0, 1)]
    for layer in network.layers:
        if not isinstance(layer, keras.layers.LSTM):
            continue
        kernel, recurrent, bias = map(_gates, layer.get_weights())
        both = np.concatenate([bias, np.zeros_like(bias)], axis=1)
        weights = map(graph.put, (kernel, recurrent, both))
        states, last = graph.add("LSTM", days, *weights, outputs=2, hidden_size=layer.units)
        if layer.return_sequences:
            (days,) = graph.add("Squeeze", states, axis[1])
    (hidden,) = graph.add("Squeeze", last, axis[0])
    (embedding,) = network.get_layer("stock_embedding").get_weights()
    (stock,) = graph.add("Gather", graph.put(embedding), "stock_id", axis=0)
    (stock,) = graph.add("Squeeze", stock, axis[1])
    (hidden,) = graph.add("Concat", hidden, stock, axis=1)
    dense, *heads = (layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
    (hidden,) = graph.add("Gemm", hidden, *map(graph.put, dense.get_weights()))
    (hidden,) = graph.add("Relu", hidden)
    if len(heads) > 1:
        heads = [network.get_layer(name) for name in HEADS]
    kernels, biases = zip(*(head.get_weights() for head in heads), strict=True)
    kernel, bias = (_by_horizon(part, horizons) for part in (kernels, biases))
    (outputs,) = graph.add("Gemm", hidden, graph.put(kernel), graph.put(bias))
    return outputs


def _gates(value: np.ndarray) -> np.ndarray:
    """Turn Keras' (inputs, 4 units) into (1, 4 units, inputs), (4 units,) into (1, 4 units); ONNX' gates."""
    gates = np.split(value.T, len(GATES))
    return np.concatenate([gates[gate] for gate in GATES])[None]


def _by_horizon(parts: tuple[np.ndarray, ...], horizons: int) -> np.ndarray:
    """Join the heads' (..., H * width) at each horizon: (..., H * K)."""
    split = [part.reshape(*part.shape[:-1], horizons, -1) for part in parts]
    joined = np.concatenate(split, axis=-1)
    return joined.reshape(*joined.shape[:-2], -1)
