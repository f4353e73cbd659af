"""Detectors of every kind, written for other runtimes: the file finds the objects that the network finds."""

from __future__ import annotations

import functools
import importlib.util
import math

import onnx
import pytest
import torch
from torch import nn

from visus.compressors._quantising import expect, quantised, unlike, with_types
from visus.compressors.weight_only import round_weights
from visus.core.deployment import Contract
from visus.core.errors import UsageError
from visus.core.modelfile import Architecture, Card
from visus.core.recipe import DetectSettings, InputSettings, LossSettings, ModelSettings, Recipe
from visus.exporters import EXPORTERS
from visus.exporters._parity import TOLERANCE, Differences, changes
from visus.models.detectors import DETECTORS
from visus.tasks.detect.decoding import MASKS
from visus.tasks.detect.task import Detect

CLASSES = ("cat", "dog", "owl")
SIZE = (64, 96)
OPTIONS = {
    "anchor_free": {"width": 8, "normalisation": "group"},
    "fcos": {"width": 64, "layers": 1},
    "retinanet": {"width": 8},
    "faster_rcnn": {"width": 8, "hidden": 16, "proposals": 40},
    "mask_rcnn": {"width": 8, "hidden": 16, "proposals": 40, "layers": 1},
    "rtdetr_v2": {"width": 32, "hidden": 48, "layers": 2, "queries": 20},
    "dfine": {"width": 32, "hidden": 48, "layers": 2, "queries": 20},
    "ultralight_face": {},
}
LOSSES = {
    "anchor_free": "quality_focal", "rtdetr_v2": "varifocal", "dfine": "varifocal", "fcos": "binary_focal",
    "retinanet": "binary_focal", "ultralight_face": "binary_focal",
}  # fmt: skip


def task(name, **settings):
    detector = DETECTORS[name]
    if detector.library and importlib.util.find_spec(detector.library) is None:
        pytest.skip(f"{detector.library} is not installed")
    detect = DetectSettings(**{"least": 0.001, "candidates": 60, "most": 20, "overlap": 0.4, **settings})
    recipe = Recipe(
        task="detect", model=ModelSettings(name=f"{name}:csp" if detector.backbone else name, options=OPTIONS[name]),
        loss=LossSettings(name=LOSSES.get(name, "cross_entropy")), detect=detect,
        input=InputSettings(size=SIZE, fit="pad"), flips=name == "retinanet",
    )  # fmt: skip
    return Detect(recipe, CLASSES)


def deployed(of, size=None):
    """Return a network whose answers differ from place to place, as one module, and its contract."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        network = of.model().train()
        for key, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d) and not key.startswith("backbone"):
                nn.init.kaiming_normal_(layer.weight)
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean of what was seen, which is this:
        network(torch.randn(4, 3, *SIZE))
        network.eval()
    module = of.deployed(network, size=size).eval()
    architecture = Architecture(name=of.recipe.model.name, outputs=len(CLASSES))
    card = Card(visus="0", task="detect", architecture=architecture, classes=CLASSES, input=of.recipe.input)
    contract = Contract(
        visus="0", target="onnx", format="", dtype="uint8", channels=3, size=None, batch=None,
        outputs=dict(module.outputs), card=card,
    )  # fmt: skip
    return module, contract


def scene(height, width, seed=0):
    """Return a picture (1, H, W, 3) of coarse blocks, which a network tells apart."""
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    levels = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return (levels * 255).round().to(torch.uint8).movedim(1, -1)


def said(module, pictures):
    with torch.no_grad():
        return dict(zip(module.outputs, module(pictures), strict=True))


def same(of, weights, file):
    """Check that both found the same objects, and at least one."""
    measured = Differences()
    measured.add(weights, file)
    limits = {MASKS: 1e-2}  # a network that has learned nothing is sure of every place, or of none
    assert all(apart <= limits.get(name, TOLERANCE) for name, apart in measured.found().items()), measured.found()
    changed, count, _ = changes(of.said(weights), of.said(file))
    assert (changed, count > 0) == (0, True)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return what gives a task, its network as one module, and its file for onnxruntime, by the name of a detector."""

    @functools.cache
    def write(name):
        of = task(name)
        module, contract = deployed(of)
        path = tmp_path_factory.mktemp(name) / "a.onnx"
        EXPORTERS["onnx"].export(module, scene(70, 110).expand(2, -1, -1, -1), contract, path)
        return of, module, path

    return write


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_of_every_kind_finds_the_same_objects_in_onnx(name, written):
    of, module, path = written(name)
    runtime = EXPORTERS["onnx"].load(path)
    for seed, size in enumerate([(64, 96), (120, 90)]):
        pictures = scene(*size, seed)
        same(of, said(module, pictures), runtime(pictures))


def test_masks_of_a_file_lie_in_the_pictures_pixels(written):
    of, _, path = written("mask_rcnn")
    file = EXPORTERS["onnx"].load(path)(scene(120, 90))
    (found,) = of.said(file)
    assert MASKS in file and len(found.runs) == len(found) > 0
    assert found.json()["masks"][0]["size"] == [120, 90]


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn"])
def test_the_network_in_the_file_of_a_detector_of_two_stages_can_be_computed_in_whole_numbers(name, written):
    model, pictures = with_types(written(name)[2]), [scene(64, 96), scene(120, 90, 1)]
    blank = torch.full_like(pictures[0], 120)  # nothing is proposed on some maps
    assert round_weights(onnx.load(written(name)[2])) > 10
    whole = quantised(model, expect(model, [*pictures, blank]).ranges("minmax"))
    (apart,) = unlike(model, [whole], pictures)
    assert 0 < apart < math.inf


def test_small_machines_have_no_kernel_for_suppression_and_the_message_says_so(tmp_path):
    pytest.importorskip("executorch")
    module, contract = deployed(task("anchor_free"), (70, 110))
    contract = contract.model_copy(update={"target": "executorch", "size": (70, 110), "batch": 1})
    with pytest.raises(UsageError, match=r"EXP-002.*chooses among overlapping boxes"):
        EXPORTERS["executorch"].export(module, scene(70, 110), contract, tmp_path / "a.pte")
