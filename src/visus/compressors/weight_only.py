"""Weights in 8 bits, everything computed in float32: a quarter of the size at the same speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from visus.compressors import Candidate, Compressor, Proposals, Subject
from visus.compressors._graph import library, of_network

CHANNEL = {"Conv": 0, "ConvTranspose": 1, "Gemm": None, "MatMul": -1}
"""Operators whose weights are rounded -> axis of the weight's output channels; of ``Gemm`` it depends on ``transB``."""

LEAST = 256
"""Numbers of a weight from which on rounding it saves anything."""


def propose(subject: Subject) -> Proposals:
    """Propose one file; its runtime turns the weights into float32 when it opens it."""
    yield Candidate({"weights": "int8, per channel"}, subject.network, _rewritten)


def round_weights(model: Any) -> int:
    """Replace the network's weights by whole numbers and a scale a channel; return how many weights that were."""
    onnx = library("onnx")
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[tuple[Any, int]]] = {}
    for node in of_network(graph):
        if node.op_type in CHANNEL:
            for place, name in enumerate(node.input[:2]):
                if name in weights and int(np.prod(weights[name].dims)) >= LEAST:
                    readers.setdefault(name, []).append((node, place))
    made = []
    for name, nodes in readers.items():
        values = onnx.numpy_helper.to_array(weights[name])
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        axis = _axis(nodes[0][0]) % values.ndim
        whole, scale = rounded(values, axis)
        parts = [(f"{name}.int8", whole), (f"{name}.scale", scale), (f"{name}.zero", np.zeros(len(scale), np.int8))]
        graph.initializer.remove(weights[name])
        graph.initializer.extend(onnx.numpy_helper.from_array(array, part) for part, array in parts)
        made.append(
            onnx.helper.make_node("DequantizeLinear", [part for part, _ in parts], [f"{name}.float"], axis=axis)
        )
        for node in graph.node:
            node.input[:] = [f"{name}.float" if given == name else given for given in node.input]
    for node in reversed(made):
        graph.node.insert(0, node)
    return len(made)


def rounded(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 numbers and a scale for each place on ``axis``; the largest number of each becomes 127."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale.reshape(-1)


def _rewritten(file: Path) -> bytes:
    model = library("onnx").load_model(file)
    round_weights(model)
    data: bytes = model.SerializeToString()
    return data


def _axis(node: Any) -> int:
    """Return the axis of a weight that holds its output channels."""
    known = CHANNEL[node.op_type]
    if known is not None:
        return known
    turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if turned else 1


COMPRESSOR = Compressor(
    propose, ".onnx", trains=False,
    summary="weights in 8 bits, computed in float32: smaller, not faster",
    source="Jacob et al., Quantization and training of neural networks, CVPR 2018, section 2.1",
)  # fmt: skip
