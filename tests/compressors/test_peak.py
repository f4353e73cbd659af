"""How much memory a file takes: what its process tells, and what is said where it cannot."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from visus.compressors._peak import peak


def written(file, megabytes):
    """Write a file that adds so many megabytes of numbers to one."""
    numbers = numpy_helper.from_array(np.ones(megabytes * 250_000, np.float32), "numbers")
    node = helper.make_node("Add", ["one", "numbers"], ["sum"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("one", "sum")]
    graph = helper.make_graph([node], "test", ends[:1], ends[1:], [numbers])
    onnx.save_model(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), file)
    return file


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_numbers_that_a_file_holds_count(tmp_path):
    small, large = (peak(written(tmp_path / f"{size}.onnx", size), [1], "float32", 1) for size in (1, 100))
    assert large - small > 150e6  # they, and the sum


def test_a_process_that_fails_is_told_with_its_reason(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no file of this kind")
    with pytest.raises(ChildProcessError, match="ONNXRuntimeError"):
        peak(tmp_path / "a.onnx", [1], "float32", 1)
