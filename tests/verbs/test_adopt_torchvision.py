"""Whole detectors of torchvision, adopted: each finds what torchvision's own forward pass finds in the same picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.verbs.detecting import write_rectangles
from torch import nn
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d

import visus
from visus.core.errors import UsageError

SIZE = (96, 128)
CLASSES = ("cat", "dog", "owl")
NAMES = {
    "fasterrcnn_mobilenet_v3_large_fpn": "faster_rcnn:mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "faster_rcnn:mobilenet_v3_large",
    "fasterrcnn_resnet50_fpn": "faster_rcnn:resnet50",
    "fasterrcnn_resnet50_fpn_v2": "faster_rcnn:resnet50",
    "retinanet_resnet50_fpn": "retinanet:resnet50",
    "retinanet_resnet50_fpn_v2": "retinanet:resnet50",
    "fcos_resnet50_fpn": "fcos:resnet50",
}
PLAIN = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
"""Levels in [0, 1]: what is rounded in another order than in torchvision grows in networks of random numbers."""

OPTIONS = {"fasterrcnn_mobilenet_v3_large_320_fpn": {"proposals": 150}}


def theirs(name: str) -> nn.Module:
    """Return torchvision's network, judging pictures as they are, with numbers that make it find many things."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        outputs = len(CLASSES) + name.startswith("fasterrcnn")
        model: nn.Module = getattr(detection, name)(
            weights=None, weights_backbone=None, num_classes=outputs, min_size=SIZE[0], max_size=SIZE[1],
            image_mean=PLAIN["mean"], image_std=PLAIN["std"],
        )  # fmt: skip
        for key, tensor in model.state_dict().items():
            if key.startswith(("head.", "rpn.", "roi_heads.")) and tensor.dim() > 1:
                last = re.search(r"(cls_score|cls_logits|bbox_reg|bbox_pred|bbox_ctrness)\.weight$", key)
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5 * (0.1 if last else 1))
            if key.endswith("head.cls_logits.bias"):
                tensor.zero_()
            if key == "rpn.head.bbox_pred.bias":
                tensor.reshape(-1, 4)[:, 2:] = 1.0  # wider and higher: crops of tiny boxes are all the same
            if key == "head.regression_head.bbox_reg.bias" and name.startswith("fcos"):
                tensor.fill_(1.0)
        for layer in model.modules():  # one look at noise settles what they take off, so that nothing grows
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            model.backbone(torch.rand(8, 3, *SIZE))
            if name.startswith("retina"):  # it looks at a thousand of a map, so that fewer may be above its threshold
                said = model.eval().head(list(model.backbone(torch.rand(1, 3, *SIZE)).values()))["cls_logits"]
                model.head.classification_head.cls_logits.bias.fill_(-2.94 - said.flatten().topk(300)[0][-1])
    return model.eval()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8)
    file = tmp_path_factory.mktemp("pictures") / "noise.png"
    Image.fromarray(pixels).save(file)
    return file


def expected(model: nn.Module, picture: Path) -> dict[str, torch.Tensor]:
    """Return what torchvision finds, without boxes that the picture's edges cut to a line."""
    image = torch.from_numpy(np.array(Image.open(picture))).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        (said,) = model([image])
    real = (said["boxes"][:, 2:] > said["boxes"][:, :2]).all(1)
    return {key: tensor[real] for key, tensor in said.items()}


def check_equal(model: Any, other: nn.Module, picture: Path, first: int) -> None:
    """Check that each object is there, of the same class and score; those of equal scores may change places."""
    said = expected(other, picture)
    vars(model)["asked"] = model.network  # folding rounds otherwise, and random weights magnify that
    ((_, found),) = visus.predict(model, picture, least=float(said["scores"].min()) - 1e-6)
    assert len(found) == len(said["boxes"]) >= 5
    labels = torch.tensor([CLASSES.index(label) + first for label in found.labels])
    ours, theirs = (
        torch.cat([boxes.double(), scores.double()[:, None], 1e3 * labels.double()[:, None]], 1)
        for boxes, scores, labels in (
            (found.boxes, found.scores, labels),
            (said["boxes"], said["scores"], said["labels"]),
        )
    )
    apart = (ours[:, None] - theirs).abs().amax(2)
    assert apart.amin(0).max() <= 1e-4 and apart.amin(1).max() <= 1e-4


def adopted(name: str, weights: Path | nn.Module, out: Path) -> Any:
    """Return the model file's model, as it answers anywhere."""
    visus.adopt(weights, model=NAMES[name], classes=CLASSES, size=SIZE, options=OPTIONS.get(name), out=out, **PLAIN)
    return visus.load(out, precision="float32")


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_of_torchvision_becomes_a_model_that_finds_the_same(
    name: str, picture: Path, tmp_path: Path
) -> None:
    other = theirs(name)
    save_file(other.state_dict(), tmp_path / "theirs.safetensors")
    model = adopted(name, tmp_path / "theirs.safetensors", tmp_path / "model.safetensors")
    assert model.card.task == "detect" and model.classes == CLASSES
    check_equal(model, other, picture, 1 if name.startswith("fasterrcnn") else 0)


def held_still(model: nn.Module, adds: float) -> nn.Module:
    """Return the network with its normalisations held still, as torchvision holds those below pretrained detectors."""
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                still = FrozenBatchNorm2d(layer.num_features, adds)
                still.load_state_dict(layer.state_dict(), strict=False)
                setattr(module, name, still)
    return model


def test_a_module_finds_the_same_whatever_it_adds_to_a_variance(picture: Path, tmp_path: Path) -> None:
    name = "fasterrcnn_mobilenet_v3_large_fpn"
    other = held_still(theirs(name), 1e-3)
    check_equal(adopted(name, other, tmp_path / "model.safetensors"), other, picture, 1)


def test_a_module_has_no_place_beside_which_its_model_could_lie() -> None:
    with pytest.raises(UsageError, match="a FCOS has no place of its own"):
        visus.adopt(detection.fcos_resnet50_fpn(weights=None, weights_backbone=None), model="fcos:resnet50")


def test_pictures_are_prepared_and_answers_read_as_torchvision_does(tmp_path: Path) -> None:
    name = "fasterrcnn_mobilenet_v3_large_fpn"
    other = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=4)
    save_file(other.state_dict(), tmp_path / "theirs.safetensors")
    card = visus.adopt(
        tmp_path / "theirs.safetensors", model=NAMES[name], classes=CLASSES, out=tmp_path / "m.safetensors"
    ).card
    assert (card.input.mean, card.input.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert card.input.size == (800, 800) and card.input.fit == "pad"
    judged = other.roi_heads
    assert card.recipe["detect.least"] == judged.score_thresh
    assert card.recipe["detect.overlap"] == judged.nms_thresh
    assert card.recipe["detect.most"] == judged.detections_per_img


def test_the_wrong_number_of_names_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 names for 3 outputs"):
        visus.adopt(
            detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=4),
            model="faster_rcnn:mobilenet_v3_large", classes="a,b", out=tmp_path / "m.safetensors",
        )  # fmt: skip


def test_a_head_of_coco_is_exchanged_for_ones_own_and_the_report_says_what_was_taken(tmp_path: Path) -> None:
    other = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=91)
    save_file(other.state_dict(), tmp_path / "coco.safetensors")
    settings = {
        "model.name": "faster_rcnn:mobilenet_v3_large", "model.weights": str(tmp_path / "coco.safetensors"),
        "input.size": 64, "batch": 2, "resamples": 2, "data.leaks": False, "evaluate_every": 100,
        "model.freeze": ["backbone"], "model.options.proposals": 20,
    }  # fmt: skip
    data = write_rectangles(tmp_path / "data", train=4, val=2, test=2)
    run = visus.train(data, out=tmp_path / "run", steps=1, set=settings)
    said = run.report.read_text()
    assert "coco.safetensors: 326 of 330 tensors are taken as they are" in said
    assert "head.box_predictor.cls_score.weight (3, 1024), not (91, 1024)" in said
    learned = visus.load(run.best).network.state_dict()
    first = other.state_dict()["backbone.body.0.0.weight"]
    assert torch.equal(learned["backbone.body.features.0.0.weight"], first)  # it was held as it is
