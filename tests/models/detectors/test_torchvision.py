"""RetinaNet, FCOS and Faster R-CNN, put together from torchvision's parts, answer as torchvision's own networks do."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from visus.core.errors import UsageError
from visus.core.recipe import DetectSettings, InputSettings, LossSettings, ModelSettings, Recipe
from visus.core.sample import Samples
from visus.models import torchvision_parts as parts
from visus.models.building import build
from visus.models.detectors import DETECTORS
from visus.models.fitting import fit
from visus.models.origins import standing
from visus.models.weights import card_of
from visus.tasks.detect.task import Detect

SIZE = (96, 128)
CLASSES = tuple("abcdefghij")
K = len(CLASSES)
SETTINGS = {"candidates": 100_000, "least": 0.3, "most": 10_000, "overlap": 0.5}
PLAIN = {"min_size": SIZE[0], "max_size": SIZE[1], "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
LIMITS = {
    "box_score_thresh": 0.3,
    "box_detections_per_img": 10_000,
    "rpn_pre_nms_top_n_test": 50,
    "rpn_post_nms_top_n_test": 50,
}
DENSE = {"score_thresh": 0.3, "nms_thresh": 0.5, "detections_per_img": 10_000, "topk_candidates": 100_000}
LOSSES = {
    "faster_rcnn": "cross_entropy", "mask_rcnn": "cross_entropy", "retinanet": "binary_focal", "fcos": "binary_focal",
}  # fmt: skip
OPTIONS = {"faster_rcnn": {"proposals": 50}, "mask_rcnn": {"proposals": 50}, "retinanet": {}, "fcos": {}}
PROPOSING = {"faster_rcnn": FasterRCNN, "mask_rcnn": MaskRCNN}


def theirs(name: str) -> nn.Module:
    """Return torchvision's network on a ResNet-18, judging, with numbers that make it find many things."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        dense = {} if name in PROPOSING else {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
        backbone = _resnet_fpn_extractor(resnet18(), 5, **dense)
        if name in PROPOSING:
            model = PROPOSING[name](backbone, K + 1, **PLAIN, **LIMITS)
        else:
            model = {"retinanet": RetinaNet, "fcos": FCOS}[name](backbone, K, **PLAIN, **DENSE)
        for key, tensor in model.state_dict().items():
            if key.endswith(("bn1.running_mean", "bn2.running_mean")):
                tensor.normal_(0, 0.2)
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            if key.startswith(("head.", "rpn.", "roi_heads.")) and tensor.dim() > 1:
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
            if key.endswith(("cls_logits.weight", "bbox_reg.weight", "bbox_pred.weight")):
                tensor.mul_(3.0 if name == "fcos" else 0.3)
    return model.eval()


def task(name: str) -> Detect:
    settings = DetectSettings(**SETTINGS)  # type: ignore[arg-type]
    model = ModelSettings(name=f"{name}:resnet18", options=OPTIONS[name])
    recipe = Recipe(
        task="detect", model=model, detect=settings, loss=LossSettings(name=LOSSES[name]),
        input=InputSettings(size=SIZE, fit="pad"),
    )  # fmt: skip
    return Detect(recipe, CLASSES)


def taken(name: str, tensors: dict[str, torch.Tensor], outputs: int = K) -> nn.Module:
    """Return our network with torchvision's tensors."""
    model = build(ModelSettings(name=f"{name}:resnet18", options=OPTIONS[name]), outputs, 3, SIZE)
    fit(model, standing.renamed(f"{name}:resnet18", model, tensors), "theirs", whole=outputs == K)
    return model.eval()


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_weights_find_the_same_objects(name: str) -> None:
    other = theirs(name)
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    ours, model = task(name), taken(name, other.state_dict())
    samples = Samples(("a", "b"), torch.arange(2), images, {}, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    with torch.no_grad():
        found = ours.decode(ours.raw(model, ours.collate(samples)))
        expected = other(list(images))
    for mine, said in zip(found, expected, strict=True):
        boxes, scores, labels = (said[key] for key in ("boxes", "scores", "labels"))
        real = (boxes[:, 2:] > boxes[:, :2]).all(1)  # those that lie outside the picture are cut to a line by both
        assert real.sum() >= 10
        torch.testing.assert_close(mine.boxes, boxes[real], rtol=0, atol=1e-4)
        torch.testing.assert_close(mine.scores, scores[real], rtol=0, atol=1e-4)
        start = 1 if name in PROPOSING else 0  # theirs count the background
        assert [CLASSES.index(label) + start for label in mine.labels] == labels[real].tolist()


def test_the_same_weights_outline_the_same_objects() -> None:
    other = theirs("mask_rcnn")
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    ours, model = task("mask_rcnn"), taken("mask_rcnn", other.state_dict())
    samples = Samples(("a", "b"), torch.arange(2), images, {}, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    with torch.no_grad():
        raw = ours.raw(model, ours.collate(samples))
        maps = other.backbone(images)
        boxes = [each.boxes.float() for each in ours.decode(raw)]
        labels = [torch.tensor([CLASSES.index(name) + 1 for name in each.labels]) for each in ours.decode(raw)]
        crops = other.roi_heads.mask_roi_pool(maps, boxes, [SIZE, SIZE])
        logits = other.roi_heads.mask_predictor(other.roi_heads.mask_head(crops))
        expected = maskrcnn_inference(logits, labels)
    for mine, said in zip(ours.decode(raw), expected, strict=True):
        assert len(said) >= 10 and mine.masks.size == SIZE
        torch.testing.assert_close(torch.from_numpy(mine.masks.values), said[:, 0], rtol=0, atol=1e-4)


def test_torchvisions_published_masks_are_read_by_their_first_names() -> None:
    first = {f"roi_heads.mask_head.mask_fcn{i}.weight": torch.zeros(1) for i in (1, 4)}
    assert list(DETECTORS["mask_rcnn"].renamed(first)) == ["head.mask_head.0.0.weight", "head.mask_head.3.0.weight"]


def as_published(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Return tensors by the names of torchvision's first files, whose normalisations add nothing and count nothing."""
    first = dict[str, torch.Tensor]()
    for key, tensor in tensors.items():
        key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        key = re.sub(r"(_blocks\.\d)\.0\.", r"\1.", key)
        if name == "retinanet":
            key = re.sub(r"(_head\.conv)\.(\d)\.0\.", lambda m: f"{m[1]}.{2 * int(m[2])}.", key)
        if not key.endswith("num_batches_tracked"):
            first[key] = tensor + 1e-5 if key.endswith("running_var") else tensor
    return first


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet"])
def test_files_of_torchvisions_first_releases_are_read_as_those_of_now(name: str) -> None:
    tensors = theirs(name).state_dict()
    now, then = taken(name, tensors).state_dict(), taken(name, as_published(tensors, name)).state_dict()
    torch.testing.assert_close(now, then)


@pytest.mark.parametrize(("name", "layer", "adds"), [
    ("faster_rcnn", "bn1", 0.0), ("retinanet", "bn1", 0.0), ("fcos", "bn1", 1e-5), ("faster_rcnn", "0.1", 1e-5),
])  # fmt: skip
def test_what_a_published_network_adds_to_a_variance_is_known(name: str, layer: str, adds: float) -> None:
    ours = {"0.1": "features.0.1"}.get(layer, layer)  # a MobileNet below a detector is its features alone
    (said,) = DETECTORS[name].renamed({f"backbone.body.{layer}.running_var": torch.ones(1)}).items()
    assert said == (f"backbone.body.{ours}.running_var", torch.ones(1) + adds - 1e-5)


def test_the_networks_own_names_are_kept() -> None:
    model = taken("fcos", theirs("fcos").state_dict())
    assert standing.renamed("fcos:resnet18", model, model.state_dict()).keys() == model.state_dict().keys()


@pytest.mark.parametrize(("name", "fresh"), [
    ("faster_rcnn", ["head.box_predictor.cls_score.weight (4, 1024), not (11, 1024)", "head.box_predictor.bbox_pred"]),
    ("retinanet", ["head.classification_head.cls_logits.weight (27, 256, 3, 3), not (90, 256, 3, 3)"]),
    ("fcos", ["head.classification_head.cls_logits.weight (3, 256, 3, 3), not (10, 256, 3, 3)"]),
])  # fmt: skip
def test_all_but_what_tells_classes_is_taken_for_other_classes_and_it_is_said(
    name: str, fresh: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    other = theirs(name).state_dict()
    with caplog.at_level(logging.WARNING):
        model = taken(name, other, outputs=3)
    mine = model.state_dict()
    count = 4 if name == "faster_rcnn" else 2
    assert f"{len(mine) - count} of {len(mine)} tensors are taken as they are" in caplog.text
    assert all(each in caplog.text for each in fresh)
    assert torch.equal(mine["pyramid.inner_blocks.0.0.weight"], other["backbone.fpn.inner_blocks.0.0.weight"])


@pytest.mark.parametrize("name", LOSSES)
def test_weights_that_torchvision_published_are_known_with_their_licence(name: str) -> None:
    published = DETECTORS[name].published["resnet50"]
    card = parts.card(published)
    assert (card.licence, card.commercial, card.trained_on) == ("bsd-3-clause", True, "COCO")
    assert card.name == f"{published}.COCO_V1" and card.source.startswith("https://download.pytorch.org/models/")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that stands for what torch.hub keeps."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_the_default_weights_are_the_whole_networks_where_torch_hub_keeps_them(hub: Path) -> None:
    source = parts.card("fcos_resnet50_fpn").source
    assert standing.card("fcos:resnet50").file is None
    (hub / Path(source).name).write_bytes(b"")
    card = standing.card("fcos:resnet50")
    assert card.name == "fcos_resnet50_fpn.COCO_V1" and card.file == hub / Path(source).name


def test_weights_that_are_not_here_are_an_error_that_says_from_where(hub: Path) -> None:
    with pytest.raises(UsageError, match="COCO_V1 are not on this machine") as caught:
        build(ModelSettings(name="fcos:resnet50", weights="default"), 3, 3, SIZE)
    assert "https://download.pytorch.org/models/fcos_resnet50_fpn_coco" in str(caught.value.where)


def test_a_file_that_torchvision_published_is_told_by_name_and_content(hub: Path, tmp_path: Path) -> None:
    name = Path(parts.card("fcos_resnet50_fpn").source).name
    file = tmp_path / name
    file.write_bytes(b"something else")
    settings = ModelSettings(name="fcos:resnet50", weights=str(file))
    assert card_of(settings).licence == "yours"


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet"])
def test_the_second_version_has_torchvisions_names_too(name: str) -> None:
    from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2, retinanet_resnet50_fpn_v2

    make = {"faster_rcnn": fasterrcnn_resnet50_fpn_v2, "retinanet": retinanet_resnet50_fpn_v2}[name]
    with torch.device("meta"):
        other = make(weights=None, weights_backbone=None, num_classes=K + (name == "faster_rcnn")).state_dict()
    settings = ModelSettings(name=f"{name}:resnet50", options={"version": 2})
    mine = build(settings, K, 3, SIZE)
    named = standing.renamed(settings.name, mine, other)
    assert {key: tensor.shape for key, tensor in named.items()} == {
        key: tensor.shape for key, tensor in mine.state_dict().items()
    }


def test_a_width_that_cannot_be_normalised_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="version 2 normalises its head in 32 groups"):
        build(ModelSettings(name="retinanet:resnet18", options={"version": 2, "width": 48}), K, 3, SIZE)


def test_a_network_of_torchvision_has_one_name_with_its_prefix_and_without() -> None:
    small = {"proposals": 5, "width": 32, "hidden": 16}
    one, other = (
        build(ModelSettings(name=f"faster_rcnn:{prefix}mobilenet_v3_large", options=small), 2, 3, (64, 64))
        for prefix in ("", "torchvision:")
    )
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_a_backbone_with_one_map_of_the_coarse_stride_is_refused_for_two() -> None:
    with pytest.raises(UsageError, match="resnet18 has no two maps of stride 32"):
        build(ModelSettings(name="faster_rcnn:resnet18", options={"coarse": True}), 2, 3, (64, 64))


def test_a_network_of_torchvision_whose_channels_come_last_has_no_maps() -> None:
    with pytest.raises(UsageError, match="has no map of stride 8"):
        build(ModelSettings(name="fcos:torchvision:swin_t"), 2, 3, (64, 64))
