"""``visus export``: the file says what the weights say, or there is no file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image
from tests.verbs.examples import train, write_splits
from tests.verbs.segmenting import TINY as SCENES
from tests.verbs.segmenting import write_scenes
from tests.verbs.test_segmenting_sources import write_layers

import visus
from visus.cli.app import run as command
from visus.core.errors import DataError, IntegrityError, MissedError, UsageError
from visus.exporters import EXPORTERS


@pytest.fixture(scope="session")
def exported(painter, tmp_path_factory):
    """Return what exporting it to ONNX gave; nothing may write to its file."""
    return visus.export(painter.folder, to="onnx", out=tmp_path_factory.mktemp("exported") / "colours.onnx")


def alike(weights, file):
    """Check that two predictions of classes are the same but for rounding."""
    assert file.files == weights.files
    for (_, one), (_, other) in zip(weights, file, strict=True):
        assert (one.label, one.shown) == (other.label, other.shown)
        assert dict(one.top) == pytest.approx(dict(other.top), abs=1e-5)


def test_the_file_is_compared_with_the_weights_on_the_validation_pictures(exported):
    parity = exported.parity
    assert parity.holds
    assert (parity.pictures, parity.changed, parity.of, parity.unit) == (42, 0, 42, "labels")
    assert set(parity.outputs) == {"logits", "probabilities", "scores"}
    assert parity.file.value == parity.weights.value
    assert (parity.file.n, parity.score) == (42, "accuracy")


def test_predictions_of_the_file_are_those_of_the_weights(painter, exported, colours):
    weights = visus.predict(visus.load(painter.folder, precision="float32"), colours / "test")
    alike(weights, visus.predict(exported.path, colours / "test"))


def test_pictures_of_other_sizes_than_those_it_was_compared_on_are_answered_like_the_weights(
    painter, exported, tmp_path
):
    draw = np.random.default_rng(0)
    for i, shape in enumerate([(9, 40, 3), (100, 31), (64, 64, 3), (1, 1, 3)]):
        Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(tmp_path / f"{i}.png")
    weights = visus.predict(visus.load(painter.folder, precision="float32"), tmp_path)
    alike(weights, visus.predict(exported.path, tmp_path))


def test_the_file_is_judged_like_the_weights(painter, exported, colours):
    weights = visus.evaluate(visus.load(painter.folder, precision="float32"), colours)
    file = visus.evaluate(exported.path, colours)
    assert file.scores["accuracy"] == weights.scores["accuracy"]
    assert file.n == weights.n == 30


def test_a_file_is_known_by_its_content_whatever_its_name(exported, tmp_path, colours):
    renamed = shutil.copy(exported.path, tmp_path / "mine.bin")
    assert visus.load(renamed).contract.target == "onnx"


def test_the_contract_stands_in_the_metadata_and_names_no_place_on_this_machine(exported):
    told = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}
    contract = json.loads(told["visus"])
    assert contract["card"]["classes"] == ["one", "six", "two"]
    assert (contract["dtype"], contract["channels"], contract["size"], contract["batch"]) == ("uint8", 3, None, None)
    assert contract["format"].startswith("ONNX opset 20")
    assert contract["parity"]["holds"]
    assert b"/home" not in exported.path.read_bytes()
    assert str(Path(visus.__file__).parent).encode() not in exported.path.read_bytes()


def test_batches_are_of_any_number(exported):
    runtime = visus.load(exported.path).network.runtime
    import torch

    pictures = torch.randint(0, 256, (5, 30, 20, 3), dtype=torch.uint8)
    together, alone = runtime(pictures), [runtime(each[None]) for each in pictures]
    torch.testing.assert_close(together["logits"], torch.cat([each["logits"] for each in alone]), rtol=0, atol=1e-5)


def swapped_channels(model):
    """Read pictures as BGR."""
    order = onnx.numpy_helper.from_array(np.array([2, 1, 0]), "order")
    for node in model.graph.node:
        node.input[:] = ["turned" if name == "pictures" else name for name in node.input]
    model.graph.initializer.append(order)
    model.graph.node.insert(0, helper.make_node("Gather", ["pictures", "order"], ["turned"], axis=3))
    return "prepare"


def other_resize(model):
    """Leave out the rounding between the two passes of the resize, as a resize of floats does."""
    made = {output: node for node in model.graph.node for output in node.output}
    rounding = next(
        node for node in model.graph.node if node.op_type == "Floor" and reaches(made, node.input[0], "MatMul")
    )
    for node in model.graph.node:
        node.input[:] = [rounding.input[0] if name == rounding.output[0] else name for name in node.input]
    return "prepare"


def overflow(model):
    """Compute a layer in half precision, in which its answer has no room."""
    layer = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    scopes = next(entry.value for entry in layer.metadata_props if entry.key.endswith("name_scopes"))
    answer, steps = layer.output[0], [f"half{i}" for i in range(4)]
    layer.output[0] = steps[0]
    for factor, name in ((1e5, "large"), (1e-5, "small")):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), name))
    added = [
        helper.make_node("Mul", [steps[0], "large"], [steps[1]]),
        helper.make_node("Cast", [steps[1]], [steps[2]], to=onnx.TensorProto.FLOAT16),
        helper.make_node("Cast", [steps[2]], [steps[3]], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [steps[3], "small"], [answer]),
    ]
    added[-1].metadata_props.extend(layer.metadata_props)
    at = list(model.graph.node).index(layer)
    for node in reversed(added):
        model.graph.node.insert(at + 1, node)
    return scopes.strip("[]").replace("'", "").split(", ")[-2]


def reaches(made, value, kind, steps=8):
    """Tell whether a value follows from a node of a kind within some steps."""
    node = made.get(value)
    if node is None or not steps:
        return False
    return node.op_type == kind or any(reaches(made, name, kind, steps - 1) for name in node.input)


@pytest.mark.parametrize("sabotage", [swapped_channels, other_resize, overflow], ids=lambda s: s.__name__)
def test_a_sabotaged_file_is_not_kept_and_its_first_wrong_layer_is_named(
    sabotage, painter, exported, tmp_path, monkeypatch
):
    named = []

    def export(module, example, contract, path):
        model = onnx.load(exported.path)
        named.append(sabotage(model))
        onnx.save(model, path)
        return contract

    monkeypatch.setattr("visus.exporters.onnx.EXPORTER", replace(EXPORTERS["onnx"], export=export))
    with pytest.raises(MissedError) as caught:
        visus.export(painter.folder, to="onnx", out=tmp_path / "wrong.onnx")
    assert (caught.value.code, caught.value.exit) == ("EXP-010", 1)
    assert f"first module that differs: {named[0]}" in caught.value.where
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["torch", "openvino", "executorch"])
def test_every_other_target_says_what_the_weights_say(target, painter, colours, tmp_path):
    pytest.importorskip(target)
    made = visus.export(painter.folder, to=target, out=tmp_path / f"colours{EXPORTERS[target].suffix}")
    assert made.parity.holds
    assert made.parity.pictures == 42
    weights = visus.predict(visus.load(painter.folder, precision="float32"), colours / "test")
    alike(weights, visus.predict(made.path, colours / "test"))


def test_a_program_that_somebody_else_sealed_is_not_opened(painter, tmp_path, monkeypatch):
    made = visus.export(painter.folder, to="torch", out=tmp_path / "mine.pt2", pictures=32)
    monkeypatch.setenv("VISUS_KEY", str(tmp_path / "other-key"))
    with pytest.raises(IntegrityError, match="EXP-007"):
        visus.load(made.path)


def test_without_the_training_data_and_without_other_the_user_is_asked_for_some(painter, tmp_path):
    alone = shutil.copy(painter.folder / "best.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(UsageError, match="EXP-011"):
        visus.export(alone, to="onnx")


def test_training_data_that_has_changed_is_not_taken_unasked(tmp_path):
    photos = write_splits(tmp_path / "photos", train=8, val=4, test=4)
    run = train(photos, tmp_path / "run", steps=1)
    next((photos / "val" / "one").iterdir()).unlink()
    with pytest.raises(UsageError, match="changed"):
        visus.export(run.folder, to="onnx")


def test_only_what_was_exported_before_is_written_over(painter, exported, tmp_path, monkeypatch):
    monkeypatch.setattr("visus.verbs.export._pictures", None)  # it is refused before anything is read
    for name, content in (("a.onnx", b"mine"), ("b.onnx", exported.path.read_bytes()[:2000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match="EXP-015"):
            visus.export(painter.folder, to="onnx", out=tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    with pytest.raises(UsageError, match=r"EXP-015.*no such folder"):
        visus.export(painter.folder, to="onnx", out=tmp_path / "nowhere" / "a.onnx")


def test_a_file_of_the_users_own_that_lies_where_a_part_belongs_is_left_alone(painter, tmp_path):
    (tmp_path / "a.pt2.json").write_text("mine")
    with pytest.raises(UsageError, match="EXP-015"):
        visus.export(painter.folder, to="torch", out=tmp_path / "a.pt2")
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt2.json"]
    assert (tmp_path / "a.pt2.json").read_text() == "mine"


def test_a_file_beside_an_export_of_another_kind_is_left_alone(painter, exported, tmp_path):
    shutil.copy(exported.path, tmp_path / "a.onnx")
    (tmp_path / "a.onnx.json").write_text("mine")
    with pytest.raises(UsageError, match="EXP-015"):
        visus.export(painter.folder, to="torch", out=tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx.json").read_text() == "mine"
    assert (tmp_path / "a.onnx").read_bytes() == exported.path.read_bytes()


def test_an_exported_file_is_not_exported_again(exported, colours, tmp_path):
    with pytest.raises(UsageError, match="EXP-016"):
        visus.export(exported.path, to="onnx", data=colours, out=tmp_path / "a.onnx")


def test_a_file_of_another_program_is_refused(tmp_path):
    node = helper.make_node("Identity", ["a"], ["b"])
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph([node], "other", value[:1], value[1:])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "a.onnx")
    with pytest.raises(DataError, match="EXP-004"):
        visus.load(tmp_path / "a.onnx")


def test_a_truncated_file_is_refused(exported, tmp_path):
    (tmp_path / "cut.onnx").write_bytes(exported.path.read_bytes()[:2000])
    with pytest.raises(IntegrityError, match="EXP-005"):
        visus.load(tmp_path / "cut.onnx")


def test_a_missing_library_is_named_with_the_line_that_installs_it(painter, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UsageError) as caught:
        visus.export(painter.folder, to="onnx", out=tmp_path / "a.onnx")
    assert caught.value.fix == "pip install 'visus[onnx]'"


def test_the_command_prints_what_was_measured(painter, exported, tmp_path, monkeypatch, capsys):
    def export(module, example, contract, path):
        shutil.copy(exported.path, path)
        return exported.contract.model_copy(update={"parity": {}})

    monkeypatch.setattr("visus.exporters.onnx.EXPORTER", replace(EXPORTERS["onnx"], export=export))
    assert command(["export", str(painter.folder), "--to", "onnx", "--out", str(tmp_path / "a.onnx"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parity"]["holds"]
    assert told["files"][0]["bytes"] == (tmp_path / "a.onnx").stat().st_size
    assert command(["export", str(painter.folder), "--to", "onnx", "--out", str(tmp_path / "a.onnx")]) == 0
    assert "labels that changed" in capsys.readouterr().out


def test_what_a_graph_cannot_hold_is_refused_with_its_reason(detector, squares, tmp_path):
    model = visus.load(detector.folder)
    model.task.detect = model.task.detect.model_copy(update={"suppression": "soft_nms"})
    with pytest.raises(UsageError, match="soft_nms"):
        visus.export(model, to="onnx", data=squares, out=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_segmenters_say_the_same_classes_at_original_pixels(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", train=8, val=32, test=2)
    run = visus.train(scenes, out=tmp_path / "run", steps=4, set={**SCENES, "model.options": {"width": 8}})
    made = visus.export(run.folder, to="onnx")
    assert made.path == tmp_path / "run" / "best.onnx"
    assert (made.parity.unit, made.parity.of) == ("pixels", 32 * 48 * 64)
    assert made.parity.changed <= made.parity.allowed
    weights = visus.evaluate(visus.load(run.folder, precision="float32"), scenes)
    assert visus.evaluate(made.path, scenes).scores["miou"].value == pytest.approx(
        weights.scores["miou"].value, abs=1e-3
    )


def test_segmenters_of_several_classes_a_pixel_say_the_same_layers_at_original_pixels(tmp_path):
    scenes = write_layers(tmp_path / "layers")
    run = visus.train(scenes, out=tmp_path / "run", steps=4, set={**SCENES, "model.options": {"width": 8}})
    assert run.recipe.task == "segment_multilabel"
    made = visus.export(run.folder, to="onnx")
    assert made.parity.holds and made.parity.unit == "pixels"
    weights = visus.evaluate(visus.load(run.folder, precision="float32"), scenes)
    file = visus.evaluate(made.path, scenes)
    assert file.scores["miou"].value == pytest.approx(weights.scores["miou"].value, abs=1e-3)
    found = visus.predict(made.path, scenes / "images" / "test", keep=True)
    for (_, said), (_, right) in zip(found, visus.predict(run.folder, scenes / "images" / "test"), strict=True):
        assert said.layers.keys() == right.layers.keys()


def test_pictures_of_different_sizes_are_asked_at_the_same_time(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", train=8, val=32, test=2)
    run = visus.train(scenes, out=tmp_path / "run", steps=2, set={**SCENES, "model.options": {"width": 8}})
    made = visus.export(run.folder, to="onnx")
    draw = np.random.default_rng(0)
    for i, shape in enumerate([(40, 90, 3), (100, 31, 3), (64, 64, 3)]):
        Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(tmp_path / f"{i}.png")
    file = visus.load(made.path)
    file.network.threads = 3
    together = visus.predict(file, [tmp_path / f"{i}.png" for i in range(3)])
    file.network.threads = 1
    alone = visus.predict(file, [tmp_path / f"{i}.png" for i in range(3)])
    for (_, one), (_, other) in zip(together, alone, strict=True):
        assert one.class_map.shape == other.class_map.shape
        assert np.array_equal(one.class_map, other.class_map)


def test_detectors_find_the_same_boxes_with_the_same_scores(detector, squares, tmp_path):
    made = visus.export(detector.folder, to="onnx", data=squares, out=tmp_path / "a.onnx")
    assert set(made.parity.outputs) == {"boxes", "scores"}
    assert (made.parity.unit, made.parity.changed) == ("boxes", 0)
    assert made.parity.of > 0


def test_a_detector_whose_boxes_are_moved_a_little_is_not_kept(detector, squares, tmp_path, monkeypatch):
    faithful = EXPORTERS["onnx"]

    def export(module, example, contract, path):
        contract = faithful.export(module, example, contract, path)
        model = onnx.load(path)
        (node,) = (node for node in model.graph.node if "boxes" in node.output)
        node.output[:] = ["straight"]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.05), "larger"))
        model.graph.node.append(helper.make_node("Mul", ["straight", "larger"], ["boxes"]))
        onnx.save(model, path)
        return contract

    monkeypatch.setattr("visus.exporters.onnx.EXPORTER", replace(faithful, export=export))
    with pytest.raises(MissedError, match="EXP-010"):
        visus.export(detector.folder, to="onnx", data=squares, out=tmp_path / "a.onnx")


def test_a_target_of_one_size_asks_for_it_where_pictures_have_several(painter, colours, tmp_path):
    varied = shutil.copytree(colours, tmp_path / "varied")
    for i, file in enumerate(sorted((varied / "val").glob("*/*.png"))):
        Image.open(file).resize((20 + i % 3, 17)).save(file)
    with pytest.raises(UsageError, match="--size") as caught:
        visus.export(painter.folder, to="executorch", data=varied, out=tmp_path / "a.pte")
    assert caught.value.code == "EXP-014"
