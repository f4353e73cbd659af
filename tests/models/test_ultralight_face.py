"""The face detector of a megabyte: its boxes by hand, its published weights, and faces that it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import visus
from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.detectors.ultralight_face import boxes, implied, renamed

VERSIONS = ("RFB", "slim")


def test_the_boxes_are_squares_about_the_places_of_four_maps():
    laid = boxes((240, 320), [(30, 40), (15, 20), (8, 10), (4, 5)])
    assert len(laid) == 4420  # as published for 320 x 240
    assert laid[:3].tolist() == [[-1, -1, 9, 9], [-4, -4, 12, 12], [-8, -8, 16, 16]]
    assert laid[3600].tolist() == [8 - 16, 8 - 16, 8 + 16, 8 + 16]
    assert laid[-1].tolist() == [288 - 128, 224 - 120, 288 + 128, 224 + 120]  # none is higher than the picture


def test_the_logit_says_what_a_softmax_over_background_and_face_would():
    weight, bias = torch.randn(6, 64, 1, 1), torch.randn(6)
    told = renamed({"classification_headers.0.2.weight": weight, "classification_headers.0.2.bias": bias})
    features = torch.randn(1, 64, 5, 5)
    two = torch.nn.functional.conv2d(features, weight, bias).reshape(3, 2, 5, 5).softmax(1)[:, 1]
    one = torch.nn.functional.conv2d(features, told["head.0.logits.2.weight"], told["head.0.logits.2.bias"])[0]
    torch.testing.assert_close(one.sigmoid(), two)


def test_it_stands_on_nothing_but_its_own():
    with pytest.raises(UsageError, match="stands on nothing but its own"):
        build(ModelSettings(name="ultralight_face:resnet18"), 1, 3, (240, 320))


def test_the_version_follows_from_the_weights():
    assert implied({"base_net.7.branch0.0.conv.weight": torch.zeros(1)}) == {"fields": True}
    assert implied({"base_net.7.0.weight": torch.zeros(1)}) == {"fields": False}


@pytest.fixture(scope="module", params=VERSIONS)
def faces(request, real_data, tmp_path_factory):
    """Return a published version, adopted."""
    weights = real_data / "weights" / "ultralight_face" / f"version-{request.param}-320.pth"
    out = tmp_path_factory.mktemp("faces") / "faces.safetensors"
    return visus.adopt(weights, model="ultralight_face", classes="face", licence="MIT", out=out)


def test_what_is_adopted_describes_itself(faces):
    assert faces.card.task == "detect" and faces.classes == ("face",)
    assert faces.card.input.size == (240, 320) and faces.card.input.fit == "pad"
    assert faces.card.input.mean == pytest.approx([127 / 255] * 3)
    assert sum(parameter.numel() for parameter in faces.network.parameters()) < 300_000


def test_a_face_is_found_on_each_portrait_and_seldom_a_second(faces, real_data):
    portraits = [real_data / "orl_faces_s01_s20" / f"s{person:02d}" / "1.pgm" for person in range(1, 21)]
    found = [said for _, said in visus.predict(faces, portraits)]
    assert all(found) and sum(len(said) == 1 for said in found) >= 19
    assert min(float(said.scores[0]) for said in found) > 0.9


def test_twelve_faces_on_one_picture_are_found_where_they_are(faces, real_data, tmp_path):
    canvas = Image.new("L", (640, 480), 128)
    for i in range(12):
        face = Image.open(real_data / "orl_faces_s01_s20" / f"s{i + 1:02d}" / "1.pgm")
        canvas.paste(face, (34 + 160 * (i % 4), 24 + 160 * (i // 4)))
    canvas.save(tmp_path / "faces.png")
    ((_, said),) = visus.predict(faces, tmp_path / "faces.png", out=Path(tmp_path / "said"))
    middles = (said.boxes[:, :2] + said.boxes[:, 2:]).numpy() / 2
    cells = np.floor(middles / 160).astype(int)
    assert sorted(map(tuple, cells.tolist())) == [(x, y) for x in range(4) for y in range(3)]
