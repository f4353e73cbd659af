"""RT-DETRv2 and D-FINE answer as transformers' networks do with the same weights, and stand on any backbone."""

from __future__ import annotations

import copy
import logging
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models import transformers_parts as parts
from visus.models.building import build
from visus.models.detectors import DETECTORS
from visus.models.listing import available
from visus.models.origins import standing
from visus.models.weights import card_of

transformers = pytest.importorskip("transformers")

NAMES = ("rtdetr_v2:r18", "dfine:nano")
SIZE = (64, 96)
COCO = 80
SMALL = {"width": 32, "hidden": 48, "layers": 2, "queries": 20}
OLD = (("self_attn.o_proj.", "self_attn.out_proj."), ("encoder.aifi.", "encoder.encoder."))


def theirs(name: str, outputs: int = COCO, **changes: object) -> torch.nn.Module:
    """Return transformers' own network of that size, judging, with numbers that make its answers differ."""
    from visus.models.detectors import dfine, rtdetr_v2

    kind, size = name.split(":")
    changes = {"num_labels": outputs, "num_queries": 30, "tie_word_embeddings": False, **changes}
    if kind == "rtdetr_v2":
        body, more = rtdetr_v2.SIZES[size]
        backbone = transformers.RTDetrResNetConfig(out_indices=[2, 3, 4], **body)
        config = transformers.RTDetrV2Config(backbone_config=backbone, **more, **changes)
        whole = transformers.RTDetrV2ForObjectDetection(config)
    else:
        body, more = dfine.SIZES[size]
        body = {**body, "stem_channels": (3, *body["stem_channels"]), "hidden_sizes": body["stage_out_channels"]}
        backbone = transformers.HGNetV2Config(out_indices=[3, 4], **body)
        more = {**more, "num_feature_levels": 2, "encode_proj_layers": [1], "feat_strides": [16, 32]}
        more |= {"encoder_in_channels": [512, 1024], "decoder_in_channels": [128, 128]}
        whole = transformers.DFineForObjectDetection(
            transformers.DFineConfig(backbone_config=backbone, **more, **changes)
        )
    whole.class_embed, whole.bbox_embed = whole.model.decoder.class_embed, whole.model.decoder.bbox_embed
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, tensor in whole.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif key.endswith(("norm.weight", "normalization.weight", "proj.0.1.weight", "proj.1.1.weight")):
                tensor.uniform_(0.8, 1.2, generator=generator)
            elif tensor.is_floating_point() and tensor.dim() > 1:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
    return whole.eval()


@pytest.fixture(scope="module", params=NAMES)
def other(request: pytest.FixtureRequest) -> tuple[str, torch.nn.Module]:
    return request.param, theirs(request.param)


@pytest.mark.parametrize("size", [(64, 96), (128, 32), (96, 96)])
def test_the_same_weights_give_the_same_answers(other: tuple[str, torch.nn.Module], size: tuple[int, int]) -> None:
    name, whole = other
    queries = {"queries": 15 if size == (128, 32) else 30}
    whole.config.num_queries = min(
        queries["queries"], sum(size[0] // s * (size[1] // s) for s in whole.config.feat_strides)
    )
    model = build(ModelSettings(name=name, options=queries), COCO, 3, size).eval()
    tensors = standing.renamed(name, model, whole.state_dict())
    model.load_state_dict({key: tensors.get(key, mine) for key, mine in model.state_dict().items()})
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits, boxes, *_ = model(images)
        said = whole(images)
    assert said.logits.std() > 0.1 and said.pred_boxes.std() > 0.01
    torch.testing.assert_close(logits[:, -1], said.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(boxes[:, -1], said.pred_boxes, rtol=0, atol=1e-5)


def test_a_published_file_fits_tensor_by_tensor(other: tuple[str, torch.nn.Module], tmp_path: Path) -> None:
    """Also one of transformers' first releases, which named layers otherwise, and held heads under one name of two."""
    name, whole = other
    inner = {"rtdetr_v2": "mlp.fc", "dfine": "mlp.layers."}[name.partition(":")[0]]
    first = {}
    for key, tensor in whole.state_dict().items():
        for now, then in (*OLD, (f"{inner}1.", "fc2."), (f"{inner}0.", "fc1.")) if "layers." in inner else (
            *OLD, ("mlp.fc", "fc")
        ):  # fmt: skip
            key = key.replace(now, then)
        if not key.startswith(("model.decoder.class_embed", "model.decoder.bbox_embed")):
            first[key] = tensor.contiguous()
    save_file(first, tmp_path / "first.safetensors")
    save_file({k: t.clone() for k, t in whole.state_dict().items()}, tmp_path / "now.safetensors")
    read = [
        build(ModelSettings(name=name, weights=str(tmp_path / file)), COCO, 3, SIZE).state_dict()
        for file in ("first.safetensors", "now.safetensors")
    ]
    torch.testing.assert_close(*read)
    assert torch.equal(read[0]["model.decoder.class_embed.1.weight"], whole.class_embed[1].weight)


def test_a_head_of_coco_is_exchanged_for_one_of_other_classes_and_it_is_said(
    other: tuple[str, torch.nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, whole = other
    file = tmp_path / "coco.safetensors"
    save_file({key: tensor.clone() for key, tensor in whole.state_dict().items()}, file)
    with caplog.at_level(logging.WARNING):
        mine = build(ModelSettings(name=name, weights=str(file)), 3, 3, SIZE).state_dict()
    width = mine["model.enc_score_head.weight"].shape[1]
    held = sum(key.startswith("backbone.") and key.endswith("num_batches_tracked") for key in mine)  # not in theirs
    assert f"{len(mine) - held - 8} of {len(mine)} tensors are taken as they are" in caplog.text
    assert f"model.enc_score_head.weight (3, {width}), not ({COCO}, {width})" in caplog.text
    assert f"model.decoder.class_embed.2.bias (3), not ({COCO})" in caplog.text
    assert torch.equal(mine["model.enc_output.0.weight"], whole.model.enc_output[0].weight)


@pytest.mark.parametrize("name", ["rtdetr_v2:csp", "dfine:csp"])
def test_any_backbone_of_ours_will_do(name: str) -> None:
    model = build(ModelSettings(name=name, options=SMALL), 5, 1, SIZE).eval()
    logits, boxes, *_ = model(torch.rand(2, 1, *SIZE))
    assert logits.shape[2:] == (20, 5) and boxes.shape[2:] == (20, 4)
    assert next(iter(model.backbone.body.parameters())).shape[1] == 1


@pytest.mark.parametrize("name", ["rtdetr_v2:csp", "dfine:csp"])
def test_the_answer_is_of_the_same_kind_in_training_and_in_judging(name: str) -> None:
    model = build(ModelSettings(name=name, options=SMALL), 5, 3, SIZE)
    shapes = [[t.shape for t in copy.deepcopy(model).train(mode)(torch.rand(2, 3, *SIZE))] for mode in (True, False)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["rtdetr_v2:csp", "dfine:csp"])
def test_fresh_weights_depend_on_the_seed_alone_and_leave_room_to_learn(name: str) -> None:
    one, same, another = (
        build(ModelSettings(name=name, options=SMALL), 1, 3, SIZE, seed=seed).eval() for seed in (3, 3, 4)
    )
    torch.testing.assert_close(one.state_dict(), same.state_dict())
    assert not torch.equal(one.model.enc_output[0].weight, another.model.enc_output[0].weight)
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    logits = one(images)[0]
    assert logits.sigmoid().mean() < 0.1, "nearly nothing is found before anything was learned, also of a single class"
    heads = one.model.decoder.class_embed
    assert not torch.equal(heads[0].weight, heads[1].weight)
    assert all(layer.weight.mean() == 1 for layer in one.modules() if isinstance(layer, torch.nn.BatchNorm2d))


def test_no_number_of_dfine_that_only_measures_is_trained() -> None:
    model = build(ModelSettings(name="dfine:csp", options=SMALL), 1, 3, SIZE)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {"model.decoder.up", "model.decoder.reg_scale"} <= dict(model.named_buffers()).keys()


def test_the_steps_of_a_side_are_transformers_own() -> None:
    from transformers.loss.loss_d_fine import weighting_function

    from visus.models.detectors.dfine import BINS, CURVE, steps

    expected = weighting_function(BINS, torch.tensor([0.5]), 1 / CURVE) * CURVE
    torch.testing.assert_close(steps().float(), expected)


def test_a_picture_whose_sides_no_stride_divides_is_one_that_ends_in_black() -> None:
    images = torch.rand(1, 3, 70, 96)
    model = build(ModelSettings(name="dfine:nano", options={"queries": 12}), 3, 3, (70, 96)).eval()
    black = torch.nn.functional.pad(images, (0, 0, 0, 26))
    torch.testing.assert_close(model(images), model(black), rtol=0, atol=0)


def test_a_small_picture_is_asked_no_more_than_it_has_places() -> None:
    model = build(ModelSettings(name="rtdetr_v2:csp", options={**SMALL, "queries": 300}), 5, 3, (64, 64)).eval()
    assert model(torch.rand(1, 3, 64, 64))[0].shape[2] == 64 + 16 + 4


@pytest.mark.parametrize("name", NAMES)
def test_published_weights_are_known_with_their_licence_and_never_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    card = card_of(ModelSettings(name=name, weights="default"))
    assert (card.licence, card.commercial, card.trained_on, card.outputs) == ("apache-2.0", True, "COCO", 80)
    assert card.file is None and card.mean == (0.0,) and card.std == (1.0,)
    with pytest.raises(UsageError, match="not on this machine") as caught:
        build(ModelSettings(name=name, weights="default"), 3, 3, SIZE)
    assert str(tmp_path) in str(caught.value) and card.name in str(caught.value)


def test_default_weights_come_from_the_local_cache_of_hugging_face(
    other: tuple[str, torch.nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    name, whole = other
    kind, size = name.split(":")
    folder = tmp_path / f"models--{DETECTORS[kind].own[size].replace('/', '--')}"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file({key: tensor.clone() for key, tensor in whole.state_dict().items()}, snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    mine = build(ModelSettings(name=name, weights="default"), COCO, 3, SIZE).state_dict()
    assert torch.equal(mine["model.enc_score_head.weight"], whole.model.enc_score_head.weight)


def test_a_backbone_with_weights_of_its_own_brings_them() -> None:
    card = card_of(ModelSettings(name="rtdetr_v2", weights="default"))
    assert card.file is not None and "lite0" in card.name


def test_where_transformers_is_missing_the_error_names_the_extra_and_the_listing_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match="transformers is not installed") as caught:
        build(ModelSettings(name="dfine:nano"), 3, 3, SIZE)
    assert "visus[detr]" in str(caught.value.fix)
    monkeypatch.setattr("visus.models.listing.find_spec", lambda name: None)
    assert "own: nano, small, medium, large, xlarge; needs visus[detr]" in available("dfine")[0].summary


def test_no_module_loads_transformers_before_a_network_is_built() -> None:
    folder = Path(parts.__file__).parents[1]
    lines = [line for file in folder.rglob("*.py") for line in file.read_text().splitlines()]
    assert not [line for line in lines if line.startswith(("import transformers", "from transformers"))]


def test_tensors_left_out_on_purpose_are_those_of_another_kind_of_training() -> None:
    tensors = {"model.denoising_class_embed.weight": torch.zeros(1), "model.enc_output.0.bias": torch.zeros(1)}
    assert list(parts.renamed(tensors, ("a", "b"))) == ["model.enc_output.0.bias"]


def test_the_gradient_of_a_single_picture_is_right_though_it_comes_back_from_a_list_of_places() -> None:
    layers = parts.Straight(torch.nn.Conv2d(3, 8, 1), torch.nn.BatchNorm2d(8)).eval()
    back = torch.rand(1, 20, 8)
    (layers(torch.rand(1, 3, 4, 5)).flatten(2).transpose(1, 2) * back).sum().backward()
    torch.testing.assert_close(layers[1].bias.grad, back.sum((0, 1)))
