"""Static quantisation of the network in an ONNX file: which numbers to expect, and how finely each layer needs them."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from visus.compressors._graph import library, of_network, said, scopes, session, with_outputs
from visus.core.deployment import NETWORK, PICTURES
from visus.core.errors import IntegrityError, UsageError

LEVELS = 256

COMPUTED = frozenset({
    "Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Resize",
    "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Pad",
})  # fmt: skip
"""Operators for which onnxruntime has kernels of whole numbers that lose nothing but digits."""

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
"""Those that do the work; the others follow them, see ``rounded_nodes``."""

SAMPLES = 2048
"""Numbers that are looked at of each tensor and picture, besides its smallest and largest."""

CALIBRATIONS = ("mse", "minmax", "percentile")
"""How ranges may be chosen, see ``Expected.ranges``."""

PERCENTILE = 99.99
_SHRUNK = np.linspace(1, 0.3, 36)

Range: TypeAlias = tuple[float, float]
Ranges: TypeAlias = dict[str, Range]


@dataclass(frozen=True)
class Expected:
    """What was seen of each tensor of the network on the user's pictures.

    Attributes:
        limits: smallest and largest number by name.
        samples: some of its numbers, at even distances.
    """

    limits: Ranges
    samples: Mapping[str, NDArray[np.float32]]

    def ranges(self, calibration: str) -> Ranges:
        """Return which numbers shall be told apart, by tensor; what lies outside becomes the nearest of them.

        Args:
            calibration: ``minmax``: all that were seen; ``percentile``: all but one in 10,000 on each side; ``mse``:
                those for which the mean squared error of rounding and clipping is least.

        Source:
            Nagel et al., A white paper on neural network quantization, 2021, section 3.1.
        """
        rule = {"minmax": _all, "percentile": _most, "mse": _least_error}[calibration]
        return {name: rule(self.limits[name], self.samples[name]) for name in self.limits}


def with_types(path: Path) -> Any:
    """Return the model in a file, the type of each of its tensors known."""
    onnx = library("onnx")
    return onnx.shape_inference.infer_shapes(onnx.load_model(path))


def layers(model: Any) -> list[str]:
    """Return the names of the nodes of the network that have weights, in order."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name for node in of_network(model.graph) if node.op_type in WEIGHTED and weights.intersection(node.input)
    ]


def rounded_nodes(graph: Any) -> list[Any]:
    """Return the nodes of the network that may be computed in whole numbers, in order.

    What does no work itself does so to spare the numbers on their way to what does, or from it, a change to floats and
    back.  What lies on no such way stays in float32: where proposals are in a picture, pixels of which 256 steps from
    edge to edge tell too few apart.
    """
    nodes = [node for node in of_network(graph) if node.op_type in COMPUTED]
    near = {id(node) for node in nodes if node.op_type in WEIGHTED}
    after = {name for node in nodes if id(node) in near for name in node.output}
    before = {name for node in nodes if id(node) in near for name in node.input}
    for node in nodes:  # they stand in the order in which they are computed
        if after.intersection(node.input):
            near.add(id(node))
            after.update(node.output)
    for node in reversed(nodes):
        if before.intersection(node.output):
            near.add(id(node))
            before.update(node.input)
    return [node for node in nodes if id(node) in near]


def expect(model: Any, pictures: Iterable[torch.Tensor]) -> Expected:
    """Return what is seen of every tensor of floats that is read or said in whole numbers.

    Args:
        model: with types.
        pictures: (1, H, W, C) each.

    Raises:
        UsageError: COMPRESS-027, some of it is not finite.
    """
    names = _floats(model)
    probe, wanted = _probe(model, names)
    runtime = session(probe, torch.get_num_threads())
    seen = [runtime.run(wanted, {PICTURES: picture.numpy()}) for picture in pictures]
    limits, samples = {}, {}
    for at, name in enumerate(names):
        low, high = (fold(float(one[3 * at + end]) for one in seen) for end, fold in ((0, min), (1, max)))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UsageError("COMPRESS-027", "the network says numbers that are not finite",
                             where=f"{name}, asked about training pictures", done="nothing was written",
                             fix="another method, or a lower rate in training")  # fmt: skip
        limits[name] = low, high
        samples[name] = np.concatenate([one[3 * at + 2] for one in seen])
    return Expected(limits, samples)


def quantised(model: Any, ranges: Ranges, *, only: Collection[str] = (), but: Collection[str] = ()) -> Any:
    """Return the model with its network in 8 bits: weights per output channel, activations per tensor.

    Args:
        model: with types; it is left as it is.
        ranges: of activations.
        only: names of the nodes that are quantised; all of the network by default.
        but: names of nodes that stay in float32.

    Raises:
        IntegrityError: COMPRESS-028, the ranges are of another network, or of a file that names its tensors otherwise.
    """
    known = {name for node in model.graph.node for name in (*node.input, *node.output)}
    if missing := sorted(ranges.keys() - known):
        raise IntegrityError("COMPRESS-028", "two files of one network call its tensors by other names",
                             where=f"{missing[0]}, and {len(missing) - 1:,} more, of which ranges are known",
                             done="nothing was written", fix="--method weight_only")  # fmt: skip
    onnx, ours = library("onnx"), library("onnxruntime.quantization")
    calibrate, qdq = library("onnxruntime.quantization.calibrate"), library("onnxruntime.quantization.qdq_quantizer")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    chosen = [node.name for node in rounded_nodes(model.graph) if node.name not in but]
    data = {name: tuple(np.float32(end) for end in ends) for name, ends in ranges.items()}
    with _quiet():
        quantiser = qdq.QDQQuantizer(
            copy, True, False, ours.QuantType.QInt8, ours.QuantType.QUInt8,
            calibrate.TensorsData(ours.CalibrationMethod.MinMax, data),
            [name for name in chosen if not only or name in only], [], sorted(COMPUTED),
            {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},  # what they say in floats costs nothing
        )  # fmt: skip
        quantiser.quantize_model()
    return quantiser.model.model


def read_by(model: Any, ranges: Mapping[str, Range]) -> Ranges:
    """Return ranges by tensor of what modules read, given by their names in the network; of several, all of them."""
    found: Ranges = {}
    for node in of_network(model.graph):
        module = scopes(node)[-2].removeprefix(f"{NETWORK}.") if len(scopes(node)) > 1 else ""
        if node.op_type in WEIGHTED and module in ranges:
            low, high = found.get(node.input[0], (0.0, 0.0))
            found[node.input[0]] = min(low, ranges[module][0]), max(high, ranges[module][1])
    return found


def unlike(model: Any, others: Iterable[Any], pictures: Sequence[torch.Tensor]) -> list[float]:
    """Return how far the network's answer in each of several forms is from the one in float32.

    Args:
        model: in float32; ``others``: the same, more or less of it quantised.
        pictures: (1, H, W, C) each.

    Returns:
        Mean square of the difference, as a share of that of the answer; of several answers the largest.
    """
    leaving = said(model.graph)
    right = _answers(model, leaving, pictures)
    answers = (_answers(other, leaving, pictures) for other in others)
    return [max(_noise(*pair) for pair in zip(right, got, strict=True)) for got in answers]


def _answers(model: Any, names: Sequence[str], pictures: Sequence[torch.Tensor]) -> list[NDArray[np.float64]]:
    """Return all numbers of each tensor, over all pictures."""
    runtime = session(with_outputs(model, names), torch.get_num_threads())
    runs = [runtime.run(list(names), {PICTURES: picture.numpy()}) for picture in pictures]
    return [np.concatenate([np.ravel(run[at]).astype(np.float64) for run in runs]) for at in range(len(names))]


def _noise(right: NDArray[np.float64], got: NDArray[np.float64]) -> float:
    return float(((got - right) ** 2).mean() / max((right**2).mean(), 1e-30)) if right.size else 0.0


def _floats(model: Any) -> list[str]:
    """Return the names of the tensors of floats that are read or said in whole numbers and are no weights."""
    kinds = {info.name: info.type.tensor_type.elem_type for info in (*model.graph.value_info, *model.graph.output)}
    float32 = library("onnx").TensorProto.FLOAT
    names = dict.fromkeys(name for node in rounded_nodes(model.graph) for name in (*node.input, *node.output))
    return [name for name in names if kinds.get(name) == float32]


def _probe(model: Any, names: Sequence[str]) -> tuple[bytes, list[str]]:
    """Return a file that says the smallest and largest number and some numbers of each tensor, and their names."""
    onnx = library("onnx")
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    make, wanted = onnx.helper.make_node, []
    for name, value in (("flat", [-1]), ("zero", [0]), ("one", [1]), ("few", [SAMPLES]), ("end", [2**62])):
        probe.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.int64), f"probe.{name}"))
    for name in names:
        flat, size, step = (f"{name}.probe.{part}" for part in ("flat", "size", "step"))
        ends = [f"{name}.probe.{part}" for part in ("low", "high", "some")]
        probe.graph.node.extend([
            make("Reshape", [name, "probe.flat"], [flat]),
            make("ReduceMin", [flat], ends[:1], keepdims=0),
            make("ReduceMax", [flat], ends[1:2], keepdims=0),
            make("Shape", [flat], [size]),
            make("Div", [size, "probe.few"], [f"{step}.whole"]),
            make("Add", [f"{step}.whole", "probe.one"], [step]),
            make("Slice", [flat, "probe.zero", "probe.end", "probe.zero", step], ends[2:]),
        ])  # fmt: skip
        wanted += ends
    return with_outputs(probe, wanted), wanted


def _all(limits: Range, samples: NDArray[np.float32]) -> Range:
    return limits


def _most(limits: Range, samples: NDArray[np.float32]) -> Range:
    low, high = np.percentile(samples, [100 - PERCENTILE, PERCENTILE])
    return float(low), float(high)


def _least_error(limits: Range, samples: NDArray[np.float32]) -> Range:
    """Return the range of least squared error: first how far it reaches up, then how far down."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    high = min((high * part for part in _SHRUNK), key=lambda end: _error(samples, low, end))
    low = min((low * part for part in _SHRUNK), key=lambda end: _error(samples, end, high)) if low < 0 else low
    return low, high


def _error(samples: NDArray[np.float32], low: float, high: float) -> float:
    step = max(high - low, 1e-12) / (LEVELS - 1)
    zero = round(-low / step)
    whole = np.clip(np.rint(samples / step) + zero, 0, LEVELS - 1)
    return float((((whole - zero) * step - samples) ** 2).mean())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice from the user, who can do nothing about it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
