"""What a transform and a metric are given of the objects marked on pictures."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.plain import Brighten, odd_sizes, of_files

from visus.core.annotations import Boxes, Stated
from visus.core.run_lengths import compress, encode
from visus.core.task import Batch
from visus.data.feed import Feed
from visus.data.marked import columns, light
from visus.data.objects import Mark, Objects, Original

SQUARE = np.array([[4.0, 8], [12, 8], [12, 16], [4, 16]])
MARKS = [
    [],
    [Mark((4, 8, 12, 16), 1, id=7, polygons=[SQUARE, SQUARE + 20]), Mark((0, 0, 30, 20), 0, crowd=True, area=99.0)],
    [Mark((2.5, 1, 8, 9), 2)],
]


def marked(indices, stored=(20, 10), original=(40, 30), objects=None):
    n = len(indices)
    found = columns(objects or Objects.of(MARKS), np.array(indices), np.array([original] * n), [stored] * n)
    return found["boxes"], found["stated"]


def test_boxes_are_given_in_present_pixels_and_stated_in_original_ones():
    boxes, stated = marked([1, 0, 2])
    assert boxes[0].xyxy.tolist() == pytest.approx(np.array([[4 / 3, 4, 4, 8], [0, 0, 10, 10]]))
    assert boxes[0].xyxy.dtype == torch.float32 and stated[0].boxes.dtype == torch.float64
    assert stated[0].boxes.tolist() == [[4, 8, 12, 16], [0, 0, 30, 20]]
    assert [len(one) for one in boxes] == [len(one) for one in stated] == [2, 0, 1]
    assert [one.labels.tolist() for one in boxes] == [one.labels.tolist() for one in stated] == [[1, 0], [], [2]]
    assert boxes[0].crowd.tolist() == stated[0].crowd.tolist() == [False, True]


def test_an_area_is_that_stated_else_that_of_the_box():
    assert marked([1])[1][0].area.tolist() == [64, 99]


def test_outlines_come_in_parts_and_in_present_pixels():
    parts = marked([2, 1])[0][1].outlines
    assert [len(one) for one in parts] == [2, 0]
    np.testing.assert_allclose(parts[0][1].numpy(), (SQUARE + 20) / (3, 2), rtol=1e-6)


def test_data_without_outlines_gives_boxes_without():
    assert marked([0, 1], objects=Objects.of([[], [Mark((0, 0, 1, 1), 0)]]))[0][1].outlines is None


def test_data_without_objects_gives_no_columns():
    assert columns(None, np.array([0]), np.array([[2, 2]]), [(2, 2)]) == {}


def test_on_the_way_to_a_worker_an_object_takes_tens_of_bytes():
    n = 100_000
    objects = light(Objects.of([[Mark((0, 0, 1, 1), 0, id=i, mask="abc", more='{"a": 1}')] for i in range(n)]))
    assert len(pickle.dumps(objects)) < 65 * n


def as_they_are(samples):
    """Collate boxes as lists."""
    return Batch(
        (samples.images,), dict(samples.columns), samples.ids, samples.indices, samples.frames,
        originals=samples.originals,
    )  # fmt: skip


def boxed(folder):
    data = of_files(folder, odd_sizes(30))
    return data.with_(columns={}, objects=Objects.of([MARKS[i % 3] for i in range(30)]))


def values(batch):
    """Return every tensor of a batch with boxes."""
    found = [*batch.inputs, batch.frames, batch.originals]
    for one, stated in zip(batch.targets["boxes"], batch.targets["stated"], strict=True):
        assert isinstance(one, Boxes) and isinstance(stated, Stated)
        found += [one.xyxy, one.labels, one.crowd, *(part for parts in one.outlines for part in parts)]
        found += [stated.boxes, stated.labels, stated.crowd, stated.area]
    return found


def test_boxes_have_the_same_bits_from_no_workers_and_from_two(tmp_path):
    data = boxed(tmp_path)

    def feed(workers):
        return Feed(data, np.arange(30), Brighten(1), as_they_are, batch=8, seed=3, train=True, channels=3,
                    workers=workers, stored=9)  # fmt: skip

    with feed(0) as none, feed(2) as two:
        for step in [0, 1, 5, 2]:
            pairs = zip(values(none.batch(step)), values(two.batch(step)), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
        assert [len(values(part)) for part in none.sweep()] == [len(values(part)) for part in two.sweep()]


def test_a_picture_whose_masks_were_drawn_on_another_size_is_left_out_where_masks_are_looked_at(tmp_path):
    sizes = np.array([picture.shape[:2] for picture in odd_sizes(3)])
    masks = [compress(encode(np.ones(size, np.bool_))) for size in sizes]
    stated = sizes + np.array([[0, 0], [1, 0], [0, 2]])
    objects = Objects.of([[Mark((0, 0, 1, 1), 0, mask=runs)] for runs in (masks[0], masks[1], "")])
    data = of_files(tmp_path, odd_sizes(3)).with_(columns={}, objects=objects, original=Original(stated))

    def bad(masks):
        options = {"batch": 3, "seed": 0, "train": False, "channels": 3, "masks": masks}
        with Feed(data, np.arange(3), Brighten(), as_they_are, **options) as feed:
            (batch,) = feed.sweep()
        return batch.indices.tolist(), [why for _, why in batch.bad]

    (high, wide), told = sizes[1].tolist(), stated[1].tolist()
    why = f"its masks were drawn on {told[1]} x {told[0]} pixels, the picture has {wide} x {high}"
    assert bad(True) == ([0, 2], [why]) and bad(False) == ([0, 1, 2], [])


def test_a_batch_knows_the_original_sizes_and_its_parts_keep_theirs(tmp_path):
    data = boxed(tmp_path)
    with Feed(data, np.arange(30), Brighten(), as_they_are, batch=6, seed=0, train=False, channels=3, stored=8) as feed:
        batch = feed.batch(0)
    assert batch.originals.tolist() == [list(picture.shape[:2]) for picture in odd_sizes(30)[:6]]
    assert torch.equal(batch.rows(2, 4).originals, batch.originals[2:4])
    unknown = replace(batch, originals=torch.zeros(0, 2, dtype=torch.int64))
    assert unknown.originals.tolist() == [[0, 0]] * 6
