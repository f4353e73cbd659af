"""ONNX: one file that onnxruntime and many others run, its contract among its metadata."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visus.core.deployment import KEY, PICTURES, SCOPES, Contract, Deployed
from visus.core.errors import DataError, IntegrityError, first_line, needs
from visus.core.files import write_bytes
from visus.exporters import Exporter
from visus.exporters._program import impossible, program

OPSET = 20
"""Of the standard operators: 2023's, which onnxruntime from 1.17 on runs."""

_INT64, _BOOL = 7, 9  # of onnx.TensorProto


def export(module: Deployed, example: Tensor, contract: Contract, path: Path) -> Contract:
    """Write the module as one file.

    Raises:
        UsageError: an optional library is missing; the network cannot be written.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _library(name)
    traced, contract = program(module, example, contract)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of opsets and names of axes, about which a user can do nothing
            written = torch.onnx.export(
                traced, dynamo=True, opset_version=OPSET, input_names=[PICTURES], output_names=list(module.outputs),
                verbose=False, custom_translation_table=_translations(),
            )  # fmt: skip
    except Exception as error:  # the exporter raises nearly anything
        failed = error.__cause__ or error  # its own words are of its steps and of whom to tell
        raise impossible(contract, failed) from error
    assert written is not None
    model = written.model_proto
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key == SCOPES]
        del node.metadata_props[:]  # where the user's code lies on this machine is nobody's business
        node.metadata_props.extend(kept)
    contract = contract.model_copy(update={"format": f"ONNX opset {OPSET}, IR {model.ir_version}"})
    _save(model, contract, path)
    return contract


def stamp(path: Path, contract: Contract) -> None:
    """Put a contract in place of the one in a file."""
    _save(_library("onnx").load_model(path, load_external_data=False), contract, path)


def load(path: Path) -> OnnxRuntime:
    """Return a file in onnxruntime.

    Raises:
        UsageError: onnxruntime is missing.
        DataError: an ONNX file that visus did not write.
        IntegrityError: a damaged file.
    """
    return OnnxRuntime(path.read_bytes(), str(path))


def layers(path: Path, pictures: Tensor) -> Mapping[str, Tensor]:
    """Return what the modules of the network say in a file: the last node of each."""
    model = _library("onnx").load_model(path)
    known = {output.name for output in model.graph.output}
    last: dict[str, str] = {}
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
        for name in scopes.strip("[]").replace("'", "").split(", ")[:-1]:
            if name:
                last[name] = node.output[0]
    wanted = sorted(set(last.values()) - known)
    model.graph.output.extend(_library("onnx").ValueInfoProto(name=name) for name in wanted)
    session = _session(model.SerializeToString(), str(path), torch.get_num_threads())
    said = session.run(wanted, {PICTURES: pictures.numpy()})
    by_value = dict(zip(wanted, said, strict=True))
    return {name: torch.from_numpy(by_value[value]) for name, value in last.items() if value in by_value}


class OnnxRuntime:
    """A file in onnxruntime, on the processor, with as many threads as PyTorch has.

    A picture is shared by all threads where it is asked about alone.  Beside others it has one of them to itself, which
    waits for nobody: a tenth less work of the processor for each.  Each way holds the weights once: the second is made
    when it is first wanted, of the same bytes, as the file may be another by then; they are let go once it is made.
    It may be asked from any thread.

    Args:
        data: the file.
        name: what messages call it.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._name, self.threads, self._lock = name, torch.get_num_threads(), threading.Lock()
        self._by_one = _session(data, name, 1)
        self._by_all = self._by_one if self.threads == 1 else None
        self._data = None if self.threads == 1 else data
        text = self._by_one.get_modelmeta().custom_metadata_map.get(KEY)
        if text is None:
            raise DataError("EXP-004", f"{name}: an ONNX file that visus did not write",
                            fix="visus export MODEL --to onnx writes one that says what it is")  # fmt: skip
        self.contract = Contract.of(text, name)

    def __call__(self, pictures: Tensor, beside: bool = False) -> dict[str, Tensor]:
        """Return the outputs of a batch of pictures by name.

        Args:
            beside: other threads ask at the same time.
        """
        session = self._by_one if beside else self._shared()
        said = session.run(None, {PICTURES: pictures.contiguous().numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(self.contract.outputs, said, strict=True)}

    def _shared(self) -> Any:
        """Return the session of all threads, which whoever asks first makes."""
        with self._lock:
            if self._data is not None:
                self._by_all = _session(self._data, self._name, self.threads)
                self._data = None
            return self._by_all


def _translations() -> dict[Any, Any]:
    """Return the operations that are written otherwise than PyTorch's exporter would, or that it does not know."""
    from visus.core import suppression  # noqa: F401  # makes torch.ops.visus

    ours, aten = torch.ops.visus, torch.ops.aten
    return {
        ours.kept.default: _kept, ours.top.default: _top, aten.group_norm.default: _group_norm,
        aten._is_all_true.default: _is_all_true,
    }  # fmt: skip


def _group_norm(
    images: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """Return group normalisation in means of its own: onnxruntime's for instances loses digits in large groups."""
    op = _library("onnxscript").opset20
    last = op.Constant(value_ints=[2])
    rows = op.Reshape(images, op.Constant(value_ints=[0, groups, -1]))
    rows = op.Sub(rows, op.ReduceMean(rows, last))
    spread = op.Sqrt(op.Add(op.ReduceMean(op.Mul(rows, rows), last), op.Constant(value_float=eps)))
    normal = op.Reshape(op.Div(rows, spread), op.Shape(images))
    across = op.Constant(value_ints=[0, *range(2, len(images.shape))])
    if weight is not None:
        normal = op.Mul(normal, op.Unsqueeze(weight, across))
    return normal if bias is None else op.Add(normal, op.Unsqueeze(bias, across))


def _is_all_true(values: Any) -> Any:
    """Return what an assertion asks, which is left out of the graph itself."""
    op = _library("onnxscript").opset20
    return op.Cast(op.ReduceMin(op.Cast(values, to=_INT64), keepdims=0), to=_BOOL)


def _top(scores: Any, count: int) -> Any:
    """Return ``visus::top``: ONNX's operator takes the first of equal ones."""
    op = _library("onnxscript").opset20
    return op.TopK(scores, op.Constant(value_ints=[count]), axis=1)[1]


def _kept(boxes: Any, scores: Any, labels: Any, classes: int, overlap: float) -> Any:
    """Return ``visus::kept`` in operators of ONNX, whose suppression takes a row of scores for each class."""
    op = _library("onnxscript").opset20
    numbers = np.arange(classes, dtype=np.int64)[None, :, None]
    names = op.Constant(value=_library("onnx").numpy_helper.from_array(numbers))
    mine = op.Equal(op.Unsqueeze(labels, op.Constant(value_ints=[1])), names)
    by_class = op.Where(mine, op.Unsqueeze(scores, op.Constant(value_ints=[1])), op.Constant(value_float=-1.0))
    most = op.Gather(op.Shape(scores), op.Constant(value_ints=[1]))
    found = op.NonMaxSuppression(
        boxes, by_class, most, op.Constant(value_floats=[overlap]), op.Constant(value_floats=[0.0])
    )  # (M, 3): picture, class, box
    at = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)
    none = op.Mul(op.Cast(scores, to=_INT64), op.Constant(value_int=0))
    ones = op.Expand(op.Constant(value_int=1), op.Gather(op.Shape(found), op.Constant(value_ints=[0])))
    return op.Cast(op.ScatterND(none, at, ones), to=_BOOL)


def _session(data: bytes, name: str, threads: int) -> Any:
    """Return a session of a whole file: from bytes, so that no other file is ever read."""
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are for decoding
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it raises classes of its own
        raise IntegrityError("EXP-005", f"{name}: onnxruntime cannot run it", where=first_line(error),
                             fix="visus export MODEL --to onnx writes it anew") from error  # fmt: skip
    session._model_bytes = None  # it holds them for another try with other providers, of which there are none
    return session


def _save(model: Any, contract: Contract, path: Path) -> None:
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=contract.text())
    write_bytes(path, model.SerializeToString(deterministic=True))


def _recognises(start: bytes) -> bool:
    """Tell an ONNX file: a message whose first field is the small number of its version."""
    return len(start) > 2 and start[0] == 0x08 and 3 <= start[1] < 0x40


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise needs(name, "onnx") from error


EXPORTER = Exporter(".onnx", export, stamp, load, _recognises, layers=layers)
