"""What a transform and a metric are given of the class of each pixel of some pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.plain import Brighten, in_folder, of_array

from visus.core.task import Batch
from visus.data.cache import Plan, build
from visus.data.dataset import Strings
from visus.data.feed import Feed
from visus.data.mapped import columns, pixels, with_maps
from visus.data.objects import ClassMaps
from visus.data.pixels import pictures

VALUES = np.array([0, 7, 9])
"""In the files, of the classes 0, 1 and 2."""


def mapped(folder, n=6, size=(30, 40)):
    """Return pictures in files, all but the last with a map of three classes in which some pixels are ignored."""
    random = np.random.default_rng(0)
    names = []
    for i in range(n):
        names.append(f"{i}.png")
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(folder / names[-1])
        Image.fromarray(random.choice([0, 7, 9, 255], size).astype(np.uint8)).save(folder / f"{i}.map.png")
    paths = Strings([*(f"{i}.map.png" for i in range(n - 1)), ""])
    maps = ClassMaps(folder, paths, VALUES, pictures=Strings(names))
    return in_folder(folder, names).with_(columns={}, maps=maps, classes=("a", "b", "c"), root=folder)


def collate(samples):
    """Return maps as they are."""
    targets = {name: [one.classes for one in column] for name, column in samples.columns.items()}
    return Batch((samples.images,), targets, samples.ids, samples.indices, samples.frames)


def feed(data, **options):
    chosen = {"batch": 4, "seed": 3, "train": True, "channels": 3} | options
    return Feed(data, np.arange(len(data)), chosen.pop("transform", Brighten()), collate, **chosen)


def stored(folder, i):
    """Return the dense classes of a file."""
    values = np.asarray(Image.open(folder / f"{i}.map.png"))
    return torch.from_numpy(np.select([values == value for value in VALUES], range(3), 255).astype(np.uint8))


def test_maps_come_with_their_pictures_and_what_is_ignored_is_255(tmp_path):
    with feed(mapped(tmp_path)) as batches:
        batch = batches.batch(0)
    for i, classes in zip(batch.indices.tolist(), batch.targets["class_map"], strict=True):
        assert classes.dtype == torch.uint8
        assert torch.equal(classes, stored(tmp_path, i) if i < 5 else torch.full((30, 40), 255, dtype=torch.uint8))


def test_the_stated_map_is_given_for_judging_alone(tmp_path):
    data = mapped(tmp_path)
    with feed(data) as training, feed(data, train=False) as judging:
        assert set(training.batch(0).targets) == {"class_map"}
        assert set(judging.batch(0).targets) == {"class_map", "stated_map"}


def test_a_picture_stored_smaller_has_a_smaller_map_of_the_same_pixels_and_the_stated_one_is_whole(tmp_path):
    with feed(mapped(tmp_path), train=False, stored=15) as batches:
        batch = batches.batch(0)
    for i in range(4):
        whole = stored(tmp_path, i)
        assert torch.equal(batch.targets["stated_map"][i], whole)
        assert torch.equal(batch.targets["class_map"][i], whole[1::2, 1::2])


def test_workers_and_a_cache_change_no_bit(tmp_path):
    data = mapped(tmp_path)
    kept = build(Plan("memory", 1 << 20, "the test", 0, 3), data, np.arange(len(data)))[0]
    with feed(data) as plain, feed(data, workers=2) as apart, feed(data, cache=kept) as cached:
        for step in range(3):
            first, *others = (batches.batch(step) for batches in (plain, apart, cached))
            for other in others:
                assert torch.equal(first.inputs[0], other.inputs[0]) and first.ids == other.ids
                assert all(map(torch.equal, first.targets["class_map"], other.targets["class_map"]))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda file: file.write_bytes(b"no picture"), "not an image"),
        (lambda file: Image.new("L", (40, 30), 8).save(file), "the value 8 stands for no class"),
        (lambda file: Image.new("L", (20, 30)).save(file), "the mask has 20 x 30 pixels, its picture 40 x 30"),
        (lambda file: Image.new("RGB", (40, 30)).save(file), "a mask has one number a pixel"),
        (lambda file: file.unlink(), ""),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_map_that_cannot_be_read_is_a_bad_sample_with_its_reason_and_the_others_keep_their_bits(
    tmp_path, damage, why, workers
):
    data = mapped(tmp_path)
    with feed(data, train=False, batch=5) as batches:
        whole = batches.batch(0)
    damage(tmp_path / "2.map.png")
    with feed(data, train=False, batch=5, workers=workers) as batches:
        batch = batches.batch(0)
    assert batch.indices.tolist() == [0, 1, 3, 4]
    ((name, said),) = batch.bad
    assert name == "2.png" and said.startswith("its mask 2.map.png: ") and why in said
    assert torch.equal(batch.inputs[0], whole.inputs[0][[0, 1, 3, 4]])
    assert all(map(torch.equal, batch.targets["class_map"], [whole.targets["class_map"][i] for i in (0, 1, 3, 4)]))


def test_a_map_of_an_array_of_pictures_must_have_their_size(tmp_path):
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "0.map.png")
    maps = ClassMaps(tmp_path, Strings(["0.map.png", ""]), VALUES)
    taken = with_maps(pictures(of_array(2).images, 3), maps).take(np.array([0, 1, 0]), lambda index: None)
    assert list(taken.bad) == [0] and len(taken.images) == len(taken.maps) == len(taken.originals) == 1
    assert "9 x 8" in taken.bad[0] and bool((taken.maps[0] == 255).all())


def test_a_map_asked_for_twice_is_read_once(tmp_path):
    data, read = mapped(tmp_path), []
    taken = with_maps(pictures(data.images, 3), data.maps).take(np.array([1, 1, 2]), read.append)
    assert read.count(1) == 2 and torch.equal(taken.maps[0], taken.maps[1])  # a picture, and its map


def test_data_without_maps_gives_no_columns():
    taken = pictures(of_array(2).images, 3).take(np.arange(2), lambda index: None)
    assert with_maps(pictures(of_array(2).images, 3), None).take(np.arange(2), lambda index: None).maps is None
    assert columns(taken, [(8, 8)] * 2, judged=True) == {}
    assert columns(replace(taken, maps=[torch.zeros(8, 8)] * 2), [(8, 8)] * 2, judged=False).keys() == {"class_map"}


def test_pixels_of_each_class_are_counted_without_maps_that_cannot_be_read(tmp_path):
    data = mapped(tmp_path)
    (tmp_path / "1.map.png").write_bytes(b"no picture")
    expected = sum(torch.bincount(stored(tmp_path, i).flatten().long(), minlength=256)[:3] for i in (0, 2))
    assert pixels(data, np.array([0, 1, 2, 5])).tolist() == expected.tolist()
