import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops

from visus.core.catalog import UnknownName
from visus.core.suppression import SUPPRESSIONS, best, fusion, nms, nms_agnostic, soft_nms, suppress, top

names = pytest.mark.parametrize("name", SUPPRESSIONS)


@st.composite
def candidates(draw, most=12):
    """Return crowded boxes on a grid, all scores different, two classes."""
    n = draw(st.integers(0, most))
    corner, side = st.integers(-10, 10), st.integers(1, 12)
    rows = draw(st.lists(st.tuples(corner, corner, side, side), min_size=n, max_size=n))
    order = draw(st.permutations(range(n)))
    boxes = torch.tensor([(x, y, x + w, y + h) for x, y, w, h in rows], dtype=torch.float64).reshape(-1, 4)
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    return boxes, (torch.tensor(order, dtype=torch.float64) + 1) / (n + 1), torch.tensor(labels, dtype=torch.int64)


def chance(n, k=3, seed=0, dtype=torch.float64, extent=100.0):
    generator = torch.Generator().manual_seed(seed)
    corners = extent * torch.rand(n, 2, generator=generator, dtype=dtype)
    boxes = torch.cat([corners, corners + 10 + 30 * torch.rand(n, 2, generator=generator, dtype=dtype)], 1)
    scores = torch.rand(n, generator=generator, dtype=dtype)
    return boxes, scores, torch.randint(k, (n,), generator=generator)


def same(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def iou(a, b):
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def soft_nms_of_the_paper(boxes, scores, labels, decay):
    """Bodla et al., figure 2: B are the boxes left, D the detections."""
    b = list(zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True))
    d = []
    while b:
        m = max(range(len(b)), key=lambda i: b[i][1])
        d.append(b.pop(m))
        b = [(box, s * decay(iou(box, d[-1][0])) if label == d[-1][2] else s, label) for box, s, label in b]
    return columns(d)


def fusion_of_the_paper(boxes, scores, labels, threshold, n):
    """Solovyev et al., section 3: lists of clusters L and of fused boxes F."""
    b = sorted(zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True), key=lambda row: -row[1])
    clusters, f = [], []
    for box, score, label in b:
        matches = [(iou(box, fused[0]), i) for i, fused in enumerate(f) if fused[2] == label]
        overlap, pos = max(matches, default=(0, -1), key=lambda match: match[0])
        if overlap <= threshold:
            clusters.append([])
            f.append(None)
            pos = len(f) - 1
        clusters[pos].append((box, score))
        mass = sum(s for _, s in clusters[pos])
        mean = [sum(s * member[i] for member, s in clusters[pos]) / mass for i in range(4)]
        f[pos] = (mean, mass / len(clusters[pos]), label)
    f = [(box, s * min(len(c), n) / n, label) for (box, s, label), c in zip(f, clusters, strict=True)]
    return columns(sorted(f, key=lambda row: -row[1]))


def columns(rows):
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return (
        torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(labels, dtype=torch.int64),
    )


@pytest.mark.parametrize("n", [0, 1, 200, 3000])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7, 1.0])
def test_nms_by_class_is_torchvisions(n, overlap):
    boxes, scores, labels = chance(n)
    rows = ops.batched_nms(boxes, scores, labels, overlap)
    same(nms(boxes, scores, labels, overlap), (boxes[rows], scores[rows], labels[rows]), rtol=0, atol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7, 1.0])
def test_agnostic_nms_is_torchvisions(overlap):
    boxes, scores, labels = chance(200)
    rows = ops.nms(boxes, scores, overlap)
    same(nms_agnostic(boxes, scores, labels, overlap), (boxes[rows], scores[rows], labels[rows]), rtol=0, atol=0)


@given(candidates())
def test_classes_do_not_suppress_each_other_left_of_zero_either(found):
    boxes, scores, labels = found
    together = nms(boxes, scores, labels, 0.3)
    for label in (0, 1):
        alone = nms(boxes[labels == label], scores[labels == label], labels[labels == label], 0.3)
        same([column[together[2] == label] for column in together], alone)


def test_many_classes_in_a_large_picture_are_as_exact_as_one():
    boxes = torch.tensor([[20000.0, 20000.0, 20003.0, 20001.0], [20000.0, 20000.0, 20003.125, 20001.0]])  # IoU 0.96
    boxes, scores, labels = boxes.repeat(100, 1), torch.linspace(1, 0.5, 200), torch.arange(100).repeat_interleave(2)
    assert len(nms(boxes, scores, labels, 0.95)[0]) == 100
    assert len(nms(boxes, scores, labels, 0.97)[0]) == 200


@pytest.mark.parametrize("method", [nms, nms_agnostic])
@given(found=candidates(), overlap=st.sampled_from([0.0, 0.3, 0.7]))
def test_nms_twice_is_nms_once(method, found, overlap):
    once = method(*found, overlap)
    same(method(*once, overlap), once)


@given(candidates(), st.sampled_from([0.1, 0.3, 0.6]))
def test_linear_soft_nms_is_that_of_the_paper(found, overlap):
    theirs = soft_nms_of_the_paper(*found, lambda u: 1 - u if u >= overlap else 1)
    agree(soft_nms(*found, overlap), theirs)


@given(candidates(), st.sampled_from([0.1, 0.5, 2.0]))
def test_gaussian_soft_nms_is_that_of_the_paper(found, sigma):
    theirs = soft_nms_of_the_paper(*found, lambda u: math.exp(-u * u / sigma))
    agree(soft_nms(*found, decay="gaussian", sigma=sigma), theirs)


@given(candidates(), st.integers(0, 12))
def test_soft_nms_that_stops_early_returns_the_first_of_all(found, most):
    same(soft_nms(*found, 0.3, most=most), [column[:most] for column in soft_nms(*found, 0.3)])


@given(candidates(), st.sampled_from([0.1234, 0.3456, 0.5432]), st.integers(1, 4))  # no overlap is at the border
def test_fusion_is_that_of_the_paper(found, overlap, views):
    agree(fusion(*found, overlap, views=views), fusion_of_the_paper(*found, overlap, views))


def agree(ours, theirs):
    """Assert that both found the same by falling score; equal scores, or nearly, may stand in any order."""
    torch.testing.assert_close(ours[1], theirs[1])
    assert rounded(ours) == rounded(theirs)


def rounded(found):
    rows = zip(*(column.tolist() for column in found), strict=True)
    return sorted((label, round(score, 9), [round(x, 6) + 0.0 for x in box]) for box, score, label in rows)


def test_fusion_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
    found = fusion(boxes, torch.tensor([0.6, 0.3, 0.8]), torch.tensor([0, 0, 0]), views=2)
    expected = torch.tensor([[2 / 3, 0, 32 / 3, 10], [50, 50, 60, 60]])
    same(found, (expected, torch.tensor([0.45, 0.4]), torch.tensor([0, 0])))


def test_boxes_without_any_score_are_fused_evenly():
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10]])
    found = fusion(boxes, torch.zeros(2), torch.zeros(2, dtype=torch.int64))
    same(found, (torch.tensor([[1.0, 0, 11, 10]]), torch.zeros(1), torch.zeros(1, dtype=torch.int64)))


@names
@settings(max_examples=30)
@given(found=candidates(), seed=st.integers(0, 99))
def test_the_order_of_the_candidates_does_not_matter(name, found, seed):
    shuffled = torch.randperm(len(found[1]), generator=torch.Generator().manual_seed(seed))
    ours, theirs = suppress(*found, name, overlap=0.4567), suppress(*(c[shuffled] for c in found), name, overlap=0.4567)
    assert rounded(ours) == rounded(theirs)


@names
@settings(max_examples=30)
@given(found=candidates(), power=st.integers(-3, 6), x=st.integers(-30, 30), y=st.integers(-30, 30))
def test_moving_and_scaling_the_picture_moves_and_scales_what_is_found(name, found, power, x, y):
    boxes, scores, labels = found
    by, scale = torch.tensor([x, y, x, y], dtype=torch.float64), 2.0**power
    moved, ours, theirs = suppress(scale * (boxes + by), scores, labels, name, overlap=0.4567)
    assert rounded((moved / scale - by, ours, theirs)) == rounded(suppress(*found, name, overlap=0.4567))


@names
@settings(max_examples=30)
@given(found=candidates())
def test_what_is_found_is_by_falling_score_and_no_surer_than_the_candidates(name, found):
    boxes, scores, labels = suppress(*found, name)
    assert boxes.shape == (len(scores), 4)
    assert labels.shape == scores.shape
    assert (scores.diff() <= 0).all()
    if len(found[1]):
        assert scores[0] <= found[1].max()


@names
def test_nothing_is_found_where_there_is_nothing(name):
    boxes, scores, labels = suppress(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), name)
    assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (torch.float32, torch.float32, torch.int64)


@names
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_are_kept_and_a_single_object_comes_through(name, dtype):
    one = torch.tensor([[1, 2, 3, 5]], dtype=dtype), torch.tensor([0.5], dtype=dtype), torch.tensor([7])
    same(suppress(*one, name), one)


@names
def test_padding_and_what_is_not_a_number_is_no_candidate(name):
    boxes, scores, labels = chance(30)
    padded = scores.clone()
    padded[::3], padded[1::3] = -1, torch.nan
    known = padded >= 0
    same(suppress(boxes, padded, labels, name), suppress(boxes[known], scores[known], labels[known], name))


@names
def test_no_score_below_the_least_is_returned_and_no_more_than_the_most(name):
    boxes, scores, labels = chance(200, extent=30)
    found = suppress(boxes, scores, labels, name, least=0.4, most=5)
    assert 0 < len(found[1]) <= 5
    assert (found[1] >= 0.4).all()


def test_only_the_best_candidates_are_looked_at():
    boxes, scores, labels = chance(500, extent=1e4)
    assert torch.equal(suppress(boxes, scores, labels, "none", candidates=20)[1], scores.sort(descending=True)[0][:20])


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_of_equal_scores_the_first_are_the_best(count):
    scores = torch.tensor([0.5, 0.9, 0.5, -1.0, 0.5, 0.7])
    assert best(scores, count).tolist() == [1, 5, 0, 2, 4][:count]


@names
def test_boxes_that_ask_for_a_gradient_are_taken(name):
    boxes, scores, labels = chance(20)
    found = suppress(boxes.requires_grad_(), scores.requires_grad_(), labels, name)
    assert len(found[0]) > 0


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="no suppression named 'soft_nsm'") as caught:
        suppress(*chance(3), "soft_nsm")
    assert "soft_nms" in caught.value.fix


@pytest.mark.device
@names
def test_on_an_accelerator_the_same_is_found_and_stays_there(name):
    here = chance(2000)
    there = suppress(*(column.cuda() for column in here), name)
    assert all(column.is_cuda for column in there)
    same([column.cpu() for column in there], suppress(*here, name))


def test_of_equal_scores_the_first_are_the_highest_and_what_is_no_number_is_the_lowest():
    scores = torch.tensor([[0.5, math.nan, 0.9, 0.5, 0.5], [math.nan] * 5, [-math.inf, math.inf, 0, 0, -1]])
    assert top(scores, 3).tolist() == [[2, 0, 3], [0, 1, 2], [1, 2, 3]]
    assert top(scores, 5).tolist() == [[2, 0, 3, 4, 1], [0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]
    assert top(scores[:0], 3).shape == (0, 3)
