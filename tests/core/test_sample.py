import torch

from visus.core.annotations import Boxes, Label
from visus.core.sample import Sample, Samples


def samples(images):
    boxes = [Boxes(torch.tensor([[0.0, 0, i + 1, 1]]), torch.tensor([i])) for i in range(3)]
    return Samples(
        ids=("a", "b", "c"),
        indices=torch.tensor([10, 11, 12]),
        images=images,
        columns={"label": torch.tensor([0, 1, 2]), "boxes": boxes},
        frames=torch.stack([torch.eye(3, dtype=torch.float64) * (i + 1) for i in range(3)]),
    )


def test_the_size_of_a_sample_is_height_and_width():
    assert Sample("a", torch.zeros(3, 4, 5), {"label": Label(1)}).size == (4, 5)


def test_the_size_of_a_clip_is_that_of_its_frames():
    assert Sample("a", torch.zeros(7, 3, 4, 5)).size == (4, 5)


def test_rows_take_every_column_along_in_the_given_order():
    images = torch.arange(3.0)[:, None, None, None].expand(3, 1, 2, 2)
    some = samples(images).rows([2, 0, 2])
    assert some.ids == ("c", "a", "c")
    assert some.indices.tolist() == [12, 10, 12]
    assert some.images[:, 0, 0, 0].tolist() == [2, 0, 2]
    assert some.columns["label"].tolist() == [2, 0, 2]
    assert [boxes.labels.item() for boxes in some.columns["boxes"]] == [2, 0, 2]
    assert some.frames[:, 0, 0].tolist() == [3, 1, 3]
    assert len(some) == 3


def test_rows_of_pictures_of_unequal_sizes_stay_a_list():
    some = samples([torch.zeros(1, side, side) for side in (1, 2, 3)]).rows([1])
    assert [tuple(image.shape) for image in some.images] == [(1, 2, 2)]


def test_no_rows_are_an_empty_batch():
    assert len(samples(torch.zeros(3, 1, 2, 2)).rows([])) == 0
