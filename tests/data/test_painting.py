"""Classes of pixels painted from the outlines and masks of objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.drawings import SIZE, drawing
from tests.data.test_mapped import feed

from visus.core.errors import DataError
from visus.core.run_lengths import compress, encode
from visus.data.mapped import pixels
from visus.data.objects import Mark, Original
from visus.data.painting import paintable, painted

BOX = (0.0, 0.0, 1.0, 1.0)
RED, BLUE = 1, 2
"""The classes of pixels that objects of the classes 0 and 1 become."""


def square(x, y, side):
    return (np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], np.float64),)


def region(x, y, side):
    pixels = np.zeros(SIZE, np.bool_)
    pixels[y : y + side, x : x + side] = True
    return pixels


def run(pixels):
    return compress(encode(pixels))


def of(tmp_path, *marks, reads=("class_map",), **rest):
    return painted(drawing(tmp_path, "coco", [marks], **rest), reads)


@pytest.mark.parametrize("turn", [1, -1])
def test_smaller_objects_lie_on_larger_ones_in_whatever_order_they_were_drawn(tmp_path, turn):
    marks = [Mark(BOX, 0, polygons=square(4, 4, 20)), Mark(BOX, 1, mask=run(region(10, 10, 6)))][::turn]
    data = of(tmp_path, *marks)
    expected = np.where(region(10, 10, 6), BLUE, np.where(region(4, 4, 20), RED, 0))
    assert np.array_equal(data.drawn.read(0, SIZE), expected)
    assert data.classes == ("background", "cat", "dog") and data.known() == ("class_map",)


def test_crowds_and_mere_boxes_are_ignored_except_where_an_object_lies(tmp_path):
    marks = [
        Mark(BOX, 0, polygons=square(4, 4, 8)), Mark(BOX, 1, crowd=True, polygons=square(0, 0, 10)),
        Mark((30.0, 30.0, 40.5, 40.0), 1), Mark(BOX, -1, polygons=square(50, 2, 5)),
    ]  # fmt: skip
    expected = np.where(region(0, 0, 10) | region(50, 2, 5), 255, 0)
    expected[30:40, 30:41] = 255
    expected[region(4, 4, 8)] = RED
    assert np.array_equal(of(tmp_path, *marks).drawn.read(0, SIZE), expected)


def test_where_several_classes_may_be_each_object_keeps_its_pixels_and_what_is_not_sure_is_left_out(tmp_path):
    marks = [
        Mark(BOX, 0, polygons=square(4, 4, 20)), Mark(BOX, 1, polygons=square(10, 10, 20)),
        Mark(BOX, 1, crowd=True, polygons=square(0, 0, 6)),
    ]  # fmt: skip
    data = of(tmp_path, *marks, reads=("class_sets",))
    expected = region(4, 4, 20) * 1 + region(10, 10, 20) * 2
    assert np.array_equal(data.drawn.read(0, SIZE), np.where(region(0, 0, 6), -1, expected))
    assert data.classes == ("cat", "dog") and data.known() == ("class_sets",)


def test_a_class_called_background_is_what_nothing_covers(tmp_path):
    data = of(tmp_path, Mark(BOX, 0, polygons=square(4, 4, 8)), classes=("cat", "Background"))
    assert data.classes == ("cat", "Background")
    assert np.array_equal(data.drawn.read(0, SIZE), np.where(region(4, 4, 8), 0, 1))


def test_classes_can_be_called_by_other_numbers(tmp_path):
    marks = [Mark(BOX, 0, polygons=square(4, 4, 8)), Mark(BOX, -1, polygons=square(30, 20, 8))]
    place = np.array([2, 0, 1])
    before = of(tmp_path, *marks).drawn
    now = before.renamed(place, 3).read(0, SIZE)
    assert np.array_equal(now, np.append(place, [255] * 253)[before.read(0, SIZE)])


def test_data_that_says_what_is_asked_for_or_has_no_outlines_stays_as_it_is(tmp_path):
    boxes = drawing(tmp_path, "coco", [[Mark((1.0, 1.0, 9.0, 9.0), 0)]])
    assert paintable(boxes) == () and painted(boxes, ("class_map",)) is boxes
    outlined = drawing(tmp_path, "coco", [[Mark(BOX, 0, polygons=square(4, 4, 8))]])
    assert painted(outlined, ("objects", "class_map")) is outlined and painted(outlined, ("label",)) is outlined


def test_more_classes_than_pixels_can_have_are_refused(tmp_path):
    names = [f"c{k}" for k in range(64)]
    mark = Mark(BOX, 0, polygons=square(4, 4, 8))
    assert len(of(tmp_path, mark, classes=names).classes) == 65
    with pytest.raises(DataError, match="64 classes with background; pixels can have 63") as caught:
        of(tmp_path, mark, classes=names, reads=("class_sets",))
    assert caught.value.code == "DATA-283"


def test_the_feed_paints_what_it_shows_and_keeps_original_pixels_for_judging(tmp_path):
    marks = [[Mark(BOX, i % 2, polygons=square(4 + i, 6, 20))] for i in range(4)]
    for reads, ignore in (("class_map", 255), ("class_sets", -1)):
        data = painted(drawing(tmp_path, "coco", marks), (reads,))
        with feed(data, train=False, stored=24) as batches:
            batch = batches.batch(0)
        for i in range(4):
            whole = torch.from_numpy(data.drawn.read(i, SIZE))
            assert torch.equal(batch.targets["stated_map"][i], whole) and int(whole.max()) < 3
            assert torch.equal(batch.targets["class_map"][i], whole[1::2, 1::2]), ignore


def test_painted_pixels_are_counted_and_what_is_painted_is_part_of_the_fingerprint(tmp_path):
    data = of(tmp_path, Mark(BOX, 1, polygons=square(4, 4, 8)))
    assert pixels(data, np.array([0])).tolist() == [SIZE[0] * SIZE[1] - 64, 0, 64]
    moved = of(tmp_path, Mark(BOX, 1, polygons=square(5, 4, 8)))
    assert data.fingerprint() != moved.fingerprint()
    assert data.fingerprint() != data.with_(drawn=replace(data.drawn, several=True)).fingerprint()


def test_a_picture_whose_masks_were_drawn_on_another_size_is_left_out_with_the_reason(tmp_path):
    marks = [[Mark(BOX, 0, mask=run(region(10, 10, 6)))]] * 3
    sizes = np.array([SIZE, (64, 48), SIZE])  # as many pixels
    data = painted(drawing(tmp_path, "coco", marks, original=Original(sizes)), ("class_map",))
    with feed(data, train=False) as batches:
        (batch,) = batches.sweep()
    assert batch.bad == (("1.png", "its masks were drawn on 48 x 64 pixels, the picture has 64 x 48"),)
    assert batch.ids == ("0.png", "2.png") and len(batch.targets["class_map"]) == 2
    assert pixels(data, np.arange(3)).tolist() == [2 * (48 * 64 - 36), 2 * 36, 0]


def test_outlines_are_painted_on_a_picture_of_whatever_size(tmp_path):
    marks = [[Mark(BOX, 0, polygons=square(4, 4, 8))]]
    data = painted(drawing(tmp_path, "coco", marks, original=Original(np.array([[9, 9]]))), ("class_map",))
    assert np.array_equal(data.drawn.read(0, SIZE) == RED, region(4, 4, 8))
