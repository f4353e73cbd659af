"""Which numbers are expected of a tensor, and which nodes of a file are computed in whole numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from visus.compressors._graph import said, session
from visus.compressors._quantising import Expected, expect, layers, quantised, read_by, rounded_nodes, unlike
from visus.core.deployment import PICTURES, SCOPES
from visus.core.errors import IntegrityError, UsageError


def written(*nodes, **weights):
    """Return a model of nodes, each (kind, inputs, output, module)."""
    made = []
    for kind, inputs, output, module in nodes:
        made.append(helper.make_node(kind, inputs, [output], name=f"node {output}"))
        names = [module[: i + 1] for i in range(len(module))] if isinstance(module, tuple) else [("",), (module,)]
        told = [".".join(name) for name in names] + [output]
        made[-1].metadata_props.add(key=SCOPES, value=str(told))
    for node in made:
        if node.op_type == "Conv":
            node.attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
    last = nodes[-1][2]
    graph = helper.make_graph(
        made, "test",
        [helper.make_tensor_value_info(PICTURES, TensorProto.FLOAT, ["B", 3, "H", "W"])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture
def three():
    """Return a model of three convolutions, the first before the network, and pictures for it."""
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(0, 0.3, (3, 3, 3, 3)) for name in ("before", "one", "two")}
    model = written(
        ("Conv", [PICTURES, "before"], "ready", "prepare"),
        ("Conv", ["ready", "one"], "first", ("network", "stem")),
        ("Relu", ["first"], "shown", ("network", "act")),
        ("Conv", ["shown", "two"], "second", ("network", "head")),
        ("Softmax", ["second"], "answer", "read"),
        **weights,
    )
    return model, [torch.from_numpy(draw.normal(0, 1, (1, 3, 9, 7 + i)).astype(np.float32)) for i in range(4)]


def answer(model, picture):
    return session(model.SerializeToString(), 1).run(None, {PICTURES: picture.numpy()})[0]


def kinds(model):
    """Return the operators behind which each weight of 8 bits is read."""
    made = {node.output[0]: node for node in model.graph.node}
    return {node.name for node in model.graph.node if node.op_type == "Conv"
            and all(name in made and made[name].op_type == "DequantizeLinear" for name in node.input)}  # fmt: skip


def test_limits_are_those_of_all_pictures(three):
    model, pictures = three
    expected = expect(model, pictures)
    every = [session(_with(model, "first"), 1).run(["first"], {PICTURES: p.numpy()})[0] for p in pictures]
    assert expected.limits["first"] == (min(map(np.min, every)), max(map(np.max, every)))
    assert set(expected.limits) == {"ready", "first", "shown", "second"}


def _with(model, name):
    from visus.compressors._graph import with_outputs

    return with_outputs(model, [name])


def test_numbers_that_are_not_finite_are_refused_by_the_name_of_their_tensor(three):
    model, pictures = three
    pictures[2][0, 0, 4, 4] = float("inf")
    with pytest.raises(UsageError, match="COMPRESS-027") as caught:
        expect(model, pictures)
    assert caught.value.where.startswith("ready")


def test_samples_are_all_numbers_where_there_are_few(three):
    model, pictures = three
    expected = expect(model, pictures)
    assert len(expected.samples["shown"]) == sum(3 * 9 * (7 + i) for i in range(4))


def test_only_the_network_is_computed_in_whole_numbers(three):
    model, pictures = three
    made = quantised(model, expect(model, pictures).ranges("minmax"))
    assert kinds(made) == {"node first", "node second"}


def test_ranges_of_tensors_that_a_file_does_not_have_are_refused_by_name(three):
    with pytest.raises(IntegrityError, match="COMPRESS-028") as caught:
        quantised(three[0], {"elsewhere": (0.0, 1.0), PICTURES: (0.0, 1.0)})
    assert caught.value.where.startswith("elsewhere, and 0 more")


def test_layers_that_are_left_out_stay_in_float(three):
    model, pictures = three
    made = quantised(model, expect(model, pictures).ranges("minmax"), but=["node second"])
    assert kinds(made) == {"node first"}


def test_the_answer_is_that_of_the_floats_but_for_rounding(three):
    model, pictures = three
    made = quantised(model, expect(model, pictures).ranges("mse"))
    np.testing.assert_allclose(answer(made, pictures[0]), answer(model, pictures[0]), atol=0.02)


def test_what_leaves_the_network_is_told(three):
    assert said(three[0].graph) == ["second"]


def test_what_no_layer_reads_or_says_stays_in_float():
    weights = np.ones((3, 3, 3, 3))
    model = written(
        ("Conv", [PICTURES, "one"], "first", ("network", "network.stem")),
        ("Relu", ["first"], "shown", ("network.act",)),  # as of a network that is asked in parts
        ("Exp", ["shown"], "sides", ("network",)),
        ("Add", ["sides", "sides"], "edges", ("network",)),
        ("Clip", ["edges"], "boxes", ("network",)),
        ("Exp", ["boxes"], "read", ("network",)),
        ("Add", ["read", "read"], "crops", ("network",)),
        ("Conv", ["crops", "two"], "answer", ("network.head",)),
        one=weights, two=weights,
    )  # fmt: skip
    assert [node.output[0] for node in rounded_nodes(model.graph)] == ["first", "shown", "crops", "answer"]


def test_layers_are_those_with_weights(three):
    assert layers(three[0]) == ["node first", "node second"]


def test_the_layer_that_reads_what_is_cut_off_is_the_more_sensitive_one(three):
    model, pictures = three
    ranges = expect(model, pictures).ranges("minmax")
    even, cut = (unlike(model, (quantised(model, given, only=[name]) for name in layers(model)), pictures)
                 for given in (ranges, ranges | {"ready": (-0.2, 0.2)}))  # fmt: skip
    assert 0 < min(even) < max(even) < 0.001
    assert cut[0] > 0.1
    assert cut[1] == even[1]


def test_the_range_of_least_error_leaves_out_what_is_alone_far_away():
    samples = np.append(np.linspace(0, 1, 1_000_000), 2.5).astype(np.float32)
    expected = Expected({"t": (0.0, 2.5)}, {"t": samples})
    assert expected.ranges("minmax")["t"] == (0.0, 2.5)
    assert expected.ranges("mse")["t"] == (0.0, pytest.approx(1, abs=0.1))
    assert expected.ranges("percentile")["t"][1] == pytest.approx(1, abs=0.01)


def test_even_numbers_are_not_clipped():
    samples = np.linspace(-1, 2, 5000).astype(np.float32)
    low, high = Expected({"t": (-1.0, 2.0)}, {"t": samples}).ranges("mse")["t"]
    assert low == pytest.approx(-1, abs=0.05)
    assert high == pytest.approx(2, abs=0.05)


def test_learned_ranges_are_those_of_what_a_module_reads(three):
    model, _ = three
    assert read_by(model, {"head": (-1.0, 2.0)}) == {"shown": (-1.0, 2.0)}
