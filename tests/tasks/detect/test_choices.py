"""What detection chooses: the shape of the pictures, and a size at which the smaller objects can be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from visus.core.recipe import Facts
from visus.tasks.detect.choices import choices, losses, picture_size


def facts(sizes, objects=(), **changes):
    return Facts(annotation="objects", classes=("cat",), counts=(10,), train=100, sizes=sizes, channels=3,
                 objects=objects, **changes)  # fmt: skip


@pytest.mark.parametrize(
    ("picture", "across", "size"),
    [
        ((480, 640), 100, (256, 320)),  # no smaller than usual, however large they are
        ((480, 640), 40, (320, 416)),
        ((480, 640), 20, (576, 768)),
        ((1080, 1920), 30, (704, 1280)),  # no larger than the largest, however small they are
        ((64, 64), 12, (128, 128)),  # small pictures are enlarged, at most to twice their side
        ((64, 64), 4, (128, 128)),
    ],
)
def test_the_size_shows_nearly_all_objects_and_has_the_shape_of_the_pictures(picture, across, size):
    found, why = picture_size(facts((picture,) * 5, ((across, 2.0 * across),) * 30))
    assert found == size, why
    assert all(side % 32 == 0 for side in found)


@pytest.mark.parametrize("objects", [(), ((0.0, 0.0),), ((10.0, 10.0),)])
def test_data_without_objects_to_go_by_is_read_at_a_usual_size(objects):
    assert picture_size(facts(((480, 640),) * 5, objects))[0] == (256, 320)


def test_a_named_backbone_whose_weights_are_here_starts_from_them_and_one_without_starts_fresh():
    for name, weights in (("anchor_free:efficientnet_lite0", "default"), ("anchor_free", "none")):
        known = facts(((480, 640),) * 5, ((40.0, 40.0),) * 30, wanted={"model.name": name})
        said = {choice.key: choice.value for choice in choices(known)}
        assert (said["model.name"], said["model.weights"]) == (name, weights)


def learns(name, **wanted):
    """Return what a network learns by, for what the user named, on a processor."""
    known = facts(((480, 640),) * 5, wanted={"model.name": name, **wanted})
    return {choice.key: choice.value for choice in losses(known)}


@pytest.mark.parametrize(
    ("name", "loss"),
    [("anchor_free", "varifocal"), ("retinanet:resnet18", "binary_focal"), ("fcos", "binary_focal"),
     ("faster_rcnn", "cross_entropy"), ("", "varifocal")],
)  # fmt: skip
def test_the_usual_loss_follows_the_network(name, loss):
    assert learns(name)["loss.name"] == loss


def test_numbers_of_the_usual_loss_are_left_out_with_another():
    assert learns("fcos")["loss.alpha"] == 0.25
    assert "loss.alpha" not in learns("fcos", **{"loss.name": "quality_focal"})


def test_boxes_of_proposals_weigh_more_where_they_are_learned_by_overlap():
    assert learns("faster_rcnn")["detect.box_loss"] == "huber" and learns("faster_rcnn")["detect.box_gain"] == 1
    assert learns("faster_rcnn", **{"detect.box_loss": "giou"})["detect.box_gain"] == 10


def test_few_proposals_are_judged_where_there_is_no_graphics_card():
    assert learns("faster_rcnn")["model.options"] == {"proposals": 300}
    known = replace(facts(((480, 640),) * 5, wanted={"model.name": "faster_rcnn"}), device="cuda")
    assert not {"detect.drawn", "model.options"} & {choice.key for choice in losses(known)}


def test_retinanet_is_normalised_where_its_head_starts_fresh(tmp_path):
    known = facts(((480, 640),) * 5, wanted={"model.name": "retinanet"})
    assert {choice.key: choice.value for choice in choices(known)}["model.options"] == {"version": 2}
    file = replace(known, wanted={**known.wanted, "model.weights": str(tmp_path / "weights.pth")})
    assert "model.options" not in {choice.key for choice in choices(file)}
