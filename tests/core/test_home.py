import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from visus.core.home import at_home, classes_at_home


def scores(k, height, width, seed=0):
    return torch.randn(k, height, width, generator=torch.Generator().manual_seed(seed))


def blobs(k, height, width, seed=0):
    """Return scores that agree over wide areas, as those of a network do."""
    coarse = scores(k, -(-height // 6), -(-width // 6), seed)
    return F.interpolate(coarse[None], (height, width), mode="nearest")[0] + 0.2 * scores(k, height, width, seed + 1)


def stretching(present, original):
    """Return the frame of a picture that was resized as a whole."""
    return torch.diag(torch.tensor([original[1] / present[1], original[0] / present[0], 1.0], dtype=torch.float64))


def interpolated(maps, size):
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


SIZES = [((12, 16), (24, 32)), ((12, 16), (37, 29)), ((30, 20), (11, 13)), ((9, 9), (9, 9)), ((1, 1), (5, 4))]


@pytest.mark.parametrize(("present", "original"), SIZES)
def test_a_resized_picture_comes_home_as_interpolate_brings_it(present, original):
    maps = scores(5, *present)
    ours = at_home(maps, stretching(present, original), original)
    torch.testing.assert_close(ours, interpolated(maps, original), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("present", "original"), SIZES)
def test_the_classes_are_those_of_the_interpolated_scores(present, original):
    maps = blobs(5, *present)
    ours = classes_at_home(maps, stretching(present, original), original)
    assert ours.dtype == torch.uint8
    assert torch.equal(ours.long(), interpolated(maps, original).argmax(0))


@given(
    present=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    original=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    k=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_classes_and_scores_agree_at_any_size(present, original, k, seed):
    maps, frame = blobs(k, *present, seed).double(), stretching(present, original)
    assert torch.equal(classes_at_home(maps, frame, original).long(), at_home(maps, frame, original).argmax(0))


def test_what_was_padded_is_cut():
    picture = scores(3, 12, 20)
    padded = F.pad(picture, (0, 0, 4, 4), value=1e6)  # a letterbox: four rows above and below
    frame = torch.tensor([[2, 0, 0], [0, 2, -8], [0, 0, 1]], dtype=torch.float64)
    whole = stretching((12, 20), (24, 40))
    torch.testing.assert_close(at_home(padded, frame, (24, 40)), at_home(picture, whole, (24, 40)))
    assert torch.equal(classes_at_home(padded, frame, (24, 40)), classes_at_home(picture, whole, (24, 40)))


def test_a_mirrored_picture_is_mirrored_back():
    picture = scores(3, 6, 8)
    frame = torch.tensor([[-2, 0, 16], [0, 2, 0], [0, 0, 1]], dtype=torch.float64)
    ours = at_home(picture.flip(2), frame, (12, 16))
    torch.testing.assert_close(ours, at_home(picture, stretching((6, 8), (12, 16)), (12, 16)))


def test_beyond_what_a_crop_shows_its_edge_speaks():
    picture = scores(2, 4, 4)
    frame = torch.tensor([[1, 0, 2], [0, 1, 3], [0, 0, 1]], dtype=torch.float64)  # the middle of a larger picture
    ours = at_home(picture, frame, (10, 9))
    assert torch.equal(ours[:, 3:7, 2:6], picture)
    assert torch.equal(ours[:, 0], ours[:, 3])
    assert torch.equal(ours[:, :, 8], ours[:, :, 5])


@pytest.mark.parametrize("columns", [slice(None), slice(2, None, 4)])
@pytest.mark.parametrize("rows", [slice(1, None, 3), slice(4, 9), slice(18, 40)])
def test_some_rows_and_columns_are_those_of_the_whole(rows, columns):
    maps, frame = scores(3, 7, 5), stretching((7, 5), (20, 31))
    few = at_home(maps, frame, (20, 31), rows, columns)
    torch.testing.assert_close(few, interpolated(maps, (20, 31))[:, rows, columns], rtol=1e-5, atol=1e-5)


def test_nothing_is_said_where_scores_are_not_finite():
    maps = scores(3, 6, 6)
    maps[1, 2, 2] = torch.nan
    maps[0, 4, 4] = torch.inf
    same = classes_at_home(maps, torch.eye(3), (6, 6))
    assert (same == 3).nonzero().tolist() == [[2, 2], [4, 4]]
    assert (classes_at_home(maps, stretching((6, 6), (12, 12)), (12, 12))[4:6, 4:6] == 3).all()


def test_a_picture_that_was_turned_is_refused():
    frame = torch.tensor([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="stretch, shift and mirror"):
        at_home(scores(2, 4, 4), frame, (4, 4))
