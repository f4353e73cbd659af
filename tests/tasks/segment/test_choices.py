"""What segmentation chooses for data like that of streets, and for other data."""

from __future__ import annotations

import pytest

from visus.core.recipe import Choice, Draft, Facts
from visus.tasks.segment.choices import choices, picture_size
from visus.tasks.segment.task import Segment

STREETS = ("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "Sign", "Fence", "Car", "Pedestrian", "Bicyclist")


def facts(**changes):
    usual = {"annotation": "class_map", "classes": STREETS, "counts": tuple(range(1, 12)), "train": 367,
             "sizes": ((360, 480),) * 20, "channels": 3}  # fmt: skip
    return Facts(**{**usual, **changes})


def chosen(of):
    draft = Draft(Choice(key, value, "the test") for key, value in of.wanted.items())
    for choice in choices(of):
        draft.choose(choice)
    return draft.finish()


def test_streets_are_read_near_their_own_size_by_a_network_with_weights_of_imagenet():
    recipe = chosen(facts())
    assert recipe.input.size == (352, 480) and recipe.input.fit == "pad"
    assert (recipe.model.name, recipe.model.weights) == ("fast:efficientnet_lite0", "default")
    assert recipe.augment.flip == 0.5 and recipe.augment.crop == (0.3, 1.0) and recipe.batch == 8
    assert recipe.augment.mixup == recipe.augment.cutmix == recipe.augment.mosaic == 0


@pytest.mark.parametrize(
    ("sizes", "device", "expected"),
    [
        (((1024, 2048),), "cpu", (256, 512)),
        (((1024, 2048),), "cuda", (512, 1024)),
        (((48, 64),), "cpu", (64, 64)),
        (((20, 20),), "cpu", (32, 32)),
        ((), "cpu", (320, 320)),
    ],
)
def test_the_size_is_a_multiple_of_32_that_the_machine_has_time_for(sizes, device, expected):
    assert picture_size(facts(sizes=sizes, device=device))[0] == expected


def test_where_pictures_are_read_in_tiles_no_crop_is_told_that_none_takes():
    recipe = chosen(facts(wanted={"input.tiles": 320}))
    assert recipe.augment.crop == (1.0, 1.0) and recipe.augment.scale == (0.75, 1.25)


@pytest.mark.parametrize(("size", "expected"), [(None, 0), ((192, 256), 0), ((96, 128), 128), ((128, 96), 96)])
def test_tiles_are_chosen_by_how_much_the_size_that_was_asked_for_would_shrink_pictures(size, expected):
    wanted = {"input.tiles": "auto", **({"input.size": size} if size else {})}
    assert chosen(facts(wanted=wanted)).input.tiles == expected


def test_names_that_speak_against_mirroring_are_heard():
    assert chosen(facts(classes=("left lane", "right lane"), counts=(1, 1))).augment.flip == 0


def test_colours_of_the_data_go_into_the_recipe_unless_two_classes_share_one():
    assert chosen(facts(classes=("a", "b"), palette=((0, 0, 0), (255, 0, 9)))).segment.palette == ("#000000", "#ff0009")
    assert chosen(facts(classes=("a", "b"), palette=((0, 0, 0), (0, 0, 0)))).segment.palette == ()


def test_balanced_weights_bring_the_counts_of_pixels_into_the_recipe():
    recipe = chosen(facts(wanted={"loss.class_weights": "balanced"}))
    assert recipe.target.counts == tuple(range(1, 12))
    assert Segment(recipe, STREETS).model() is not None


def test_a_network_from_scratch_is_not_frozen():
    recipe = chosen(facts(wanted={"model.name": "fast"}))
    assert recipe.model.weights == "none" and not recipe.model.freeze and recipe.model.layer_decay == 1
