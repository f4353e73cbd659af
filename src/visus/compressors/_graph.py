"""The network's own part of an exported ONNX file: what stands before and behind it is left as it is."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from visus.core.deployment import NETWORK, SCOPES
from visus.core.errors import needs


def library(name: str) -> Any:
    """Return a module of ONNX or its runtime.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise needs(name.partition(".")[0], "compress") from error


def of_network(graph: Any) -> list[Any]:
    """Return the nodes of a graph that modules of the network made, in order; it may have been asked in parts."""
    return [node for node in graph.node if any(f"{name}.".startswith(f"{NETWORK}.") for name in scopes(node))]


def scopes(node: Any) -> list[str]:
    """Return the names of the modules that a node was made in, the outermost first."""
    told = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    return [name for name in told.strip("[]").replace("'", "").split(", ") if name]


def said(graph: Any) -> list[str]:
    """Return the names of the tensors that leave the network, in order."""
    inside = of_network(graph)
    kept = {id(node) for node in inside}
    read = {name for node in graph.node if id(node) not in kept for name in node.input}
    read |= {output.name for output in graph.output}
    return [name for node in inside for name in node.output if name in read]


def with_outputs(model: Any, names: Iterable[str]) -> bytes:
    """Return a file that says only the tensors of these names."""
    onnx = library("onnx")
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    data: bytes = probe.SerializeToString()
    return data


def session(data: bytes | Path, threads: int) -> Any:
    """Return a file in onnxruntime, as the exported files are run."""
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    whole = data if isinstance(data, bytes) else data.read_bytes()
    return runtime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
