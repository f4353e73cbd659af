"""What every detector keeps because its file is there: tensors of B rows, the same in training, of any picture size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from visus.core.errors import UsageError
from visus.core.recipe import DetectSettings, Facts, LossSettings, ModelSettings, Recipe
from visus.core.task import Batch
from visus.models.building import build
from visus.models.detectors import DETECTORS
from visus.models.detectors.anchor_free import places
from visus.models.freezing import frozen, layers
from visus.models.heads import below, head_prefixes
from visus.models.origins import standing
from visus.tasks.detect.choices import losses
from visus.tasks.detect.task import Detect

OUTPUTS = 5
SMALL = {name: {"proposals": 20, "hidden": 32} for name in ("faster_rcnn", "mask_rcnn")}
"""Options without which a network would take long here."""


STANDING = [name for name in DETECTORS if DETECTORS[name].backbone]
"""Those that stand on any backbone."""


def network(name: str, size: tuple[int, int] = (96, 64), **settings: object) -> torch.nn.Module:
    options = SMALL.get(name.partition(":")[0], {})
    return build(ModelSettings(name=name, options=options, **settings), OUTPUTS, 3, size)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("size", [(96, 64), (64, 160)])
def test_the_answer_has_a_row_a_picture_in_training_as_in_judging(name: str, size: tuple[int, int]) -> None:
    model = network(name, size)
    images = torch.rand(2, 3, *size)
    trained, judged = model.train()(images), model.eval()(images)
    assert [part.shape for part in trained] == [part.shape for part in judged]
    assert all(len(part) == 2 for part in judged)


@pytest.mark.parametrize("name", STANDING)
@pytest.mark.parametrize("backbone", ["csp", "convnextv2_atto"])
def test_places_lie_where_they_would_in_a_picture_that_the_strides_divide(name: str, backbone: str) -> None:
    images = torch.rand(1, 3, 100, 130)
    whole = F.pad(images, (0, 160 - 130, 0, 128 - 100))
    model = network(f"{name}:{backbone}", (100, 130)).eval()
    if hasattr(model, "propose"):
        said, expected = (model.propose(each, model.maps(each))[:3] for each in (images, whole))
    else:
        said, expected = model(images), model(whole)
    torch.testing.assert_close(said, expected)


@pytest.mark.parametrize("size", [(100, 130), (64, 96), (33, 31)])
def test_every_answer_of_ours_has_its_place(size: tuple[int, int]) -> None:
    points, _ = places(size)
    assert network("anchor_free:convnextv2_atto", size).eval()(torch.rand(1, 3, *size))[0].shape[1] == len(points)


@pytest.mark.parametrize("name", DETECTORS)
def test_fresh_weights_depend_on_the_seed_alone(name: str) -> None:
    one, two = (network(name).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())


@pytest.mark.parametrize("name", DETECTORS)
def test_what_starts_fresh_is_stated_and_all_else_is_the_backbone(name: str) -> None:
    model = network(name)
    heads = head_prefixes(model)
    held = frozen(model, ["backbone"])
    names = {key for key, _ in model.named_parameters()}
    assert held == {key for key in names if not any(below(key, head) for head in heads)}
    assert all(key.startswith("backbone.body.") for key in held) and held


@pytest.mark.parametrize("name", DETECTORS)
def test_stages_hold_every_parameter_once_and_the_head_comes_last(name: str) -> None:
    model = network(name)
    stages = layers(model)
    assert sorted(key for stage in stages for key in stage) == sorted(key for key, _ in model.named_parameters())
    assert len(stages) > 3 and not any(key.startswith("backbone.body.") for key in stages[-1])


@pytest.mark.parametrize("name", STANDING)
def test_the_weights_of_a_backbone_alone_start_it(name: str) -> None:
    model = network(f"{name}:efficientnet_lite0", weights="default")
    plain = build(ModelSettings(name="efficientnet_lite0", weights="default"), 1000, 3, (96, 64)).state_dict()
    own = {key.removeprefix("backbone.body."): tensor for key, tensor in model.state_dict().items()}
    shared = own.keys() & plain.keys()
    assert "conv_stem.weight" in shared and "blocks.6.0.conv_pwl.weight" in shared
    assert all(torch.equal(own[key], plain[key]) for key in shared)


@pytest.mark.parametrize("name", DETECTORS)
def test_weights_of_a_whole_detector_start_one_of_other_classes(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import save_file

    trained = network(name)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.01)
    save_file(
        {key: value.contiguous() for key, value in trained.state_dict().items()}, tmp_path / "weights.safetensors"
    )
    settings = ModelSettings(name=name, options=SMALL.get(name, {}), weights=str(tmp_path / "weights.safetensors"))
    other = build(settings, 2, 3, (96, 64))
    mine, theirs = other.state_dict(), trained.state_dict()
    same = [key for key in mine if mine[key].shape == theirs[key].shape]
    assert len(same) >= len(mine) - 12
    assert all(torch.equal(mine[key], theirs[key]) for key in same)


@pytest.mark.parametrize("name", STANDING)
def test_a_backbone_without_such_maps_is_refused_in_words(name: str) -> None:
    with pytest.raises(UsageError, match="vit_tiny_patch16_224 has no map of stride"):
        network(f"{name}:vit_tiny_patch16_224")


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_has_a_reading_whose_usual_losses_fit_it(name: str) -> None:
    facts = Facts("objects", ("a", "b"), (), 8, (), 3, wanted={"model.name": name})
    usual = {choice.key: choice.value for choice in losses(facts)}
    loss = {key.removeprefix("loss."): value for key, value in usual.items() if key.startswith("loss.")}
    detect = {key.removeprefix("detect."): value for key, value in usual.items() if key.startswith("detect.")}
    recipe = Recipe(
        task="detect", model=ModelSettings(name=name), loss=LossSettings(**loss), detect=DetectSettings(**detect)
    )
    assert Detect(recipe, ("a", "b")).model() is not None


@pytest.mark.parametrize("name", DETECTORS)
def test_the_parameters_that_are_stated_are_those_that_there_are(name: str) -> None:
    with torch.device("meta"):
        model = standing.network(name, 80, 3, (320, 320), {})
    assert DETECTORS[name].parameters in (0, sum(parameter.numel() for parameter in model.parameters()))


@pytest.mark.parametrize("name", DETECTORS)
def test_the_score_of_a_box_can_be_explained(name: str) -> None:
    """Gradients flow from the candidate that gave the box back to the pixels."""
    model = network(name).eval()
    loss = "cross_entropy" if DETECTORS[name].reading in ("proposals", "masks") else "quality_focal"
    settings = {"task": "detect", "model": {"name": name}, "loss": {"name": loss}, "input": {"size": (96, 64)}}
    recipe = Recipe.model_validate(settings)
    task = Detect(recipe, [f"c{k}" for k in range(OUTPUTS)])
    task.calibrate({"threshold": 1e-6})
    images = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch = Batch((images,), {}, ("a",), torch.zeros(1, dtype=torch.int64), torch.eye(3)[None])
    raw = task.raw(model, batch)
    target = task.targets({key: said.detach() for key, said in raw.items()})[0]
    (value,) = target.value(raw)
    value.backward()
    assert value.item() == pytest.approx(target.score, rel=1e-4)
    assert images.grad is not None and images.grad.abs().sum() > 0
