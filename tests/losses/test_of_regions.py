import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from visus.core.errors import UsageError
from visus.core.pixels import IGNORE
from visus.core.recipe import LossSettings
from visus.losses import LOSSES, reads, settled
from visus.losses.boundary import boundary
from visus.losses.dice import dice
from visus.losses.lovasz import _descending, lovasz
from visus.losses.tversky import tversky

OF_REGIONS = [name for name in LOSSES if reads(name) == "classes"]


def halves(height=8, width=8):
    """Return a picture whose upper half is class 1."""
    classes = torch.zeros(1, height, width, dtype=torch.uint8)
    classes[:, : height // 2] = 1
    return classes


def sure(classes, k=2, by=50.0):
    """Return logits that are sure of the classes."""
    return by * (2 * F.one_hot(classes.long().clamp(max=k - 1), k).movedim(-1, 1).double() - 1)


def pictures(seed, b=3, k=4, height=5, width=7, ignored=0.2):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(k, (b, height, width), generator=generator).to(torch.uint8)
    classes[torch.rand(b, height, width, generator=generator) < ignored] = IGNORE
    return 3 * torch.randn(b, k, height, width, generator=generator, dtype=torch.float64), classes


def test_the_losses_of_regions_are_four():
    assert OF_REGIONS == ["boundary", "dice", "lovasz", "tversky"]


@pytest.mark.parametrize("name", OF_REGIONS)
def test_a_perfect_answer_costs_nothing(name):
    assert LOSSES[name](sure(halves()), halves()).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", OF_REGIONS)
@given(seed=st.integers(0, 2**20))
@settings(max_examples=25)
def test_a_value_is_a_share_and_the_order_of_classes_does_not_matter(name, seed):
    logits, classes = pictures(seed)
    values = LOSSES[name](logits, classes)
    assert ((values >= 0) & (values <= 1)).all()
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    renamed = torch.full((256,), IGNORE, dtype=torch.uint8)
    renamed[order] = torch.arange(4, dtype=torch.uint8)
    torch.testing.assert_close(LOSSES[name](logits[:, order], renamed[classes.long()]), values)


@pytest.mark.parametrize("name", OF_REGIONS)
def test_what_is_said_of_ignored_pixels_does_not_matter(name):
    logits, classes = pictures(1)
    other = torch.where((classes == IGNORE)[:, None], -3 * logits, logits)
    torch.testing.assert_close(LOSSES[name](other, classes), LOSSES[name](logits, classes))


@pytest.mark.parametrize("name", OF_REGIONS)
def test_a_mirrored_picture_costs_the_same(name):
    logits, classes = pictures(2)
    torch.testing.assert_close(LOSSES[name](logits.flip(3), classes.flip(2)), LOSSES[name](logits, classes))


@pytest.mark.parametrize("name", OF_REGIONS)
@pytest.mark.parametrize("classes", [torch.full((2, 4, 4), IGNORE), torch.zeros(2, 4, 4, dtype=torch.long)])
def test_pictures_without_a_known_pixel_or_with_one_class_have_finite_slopes(name, classes):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    values = LOSSES[name](logits, classes)
    values.sum().backward()
    assert values.isfinite().all() and logits.grad.isfinite().all()
    assert (classes != IGNORE).any() or (values == 0).all()


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("name", OF_REGIONS)
def test_the_type_of_the_classes_does_not_matter(name, kind):
    logits, classes = pictures(3)
    torch.testing.assert_close(LOSSES[name](logits, classes.to(kind)), LOSSES[name](logits, classes))


def test_dice_of_an_inverted_answer_is_all_but_the_smoothing():
    assert dice(-sure(halves()), halves()).item() == pytest.approx(1 - 1 / 65)  # 1 / (32 + 32 + 1)


def test_dice_by_hand():
    logits = torch.zeros(1, 2, 2, 2)  # one half everywhere
    classes = torch.tensor([[[0, 1], [1, IGNORE]]])
    of_0, of_1 = 1 - (2 * 0.5 + 1) / (1.5 + 1 + 1), 1 - (2 * 1.0 + 1) / (1.5 + 2 + 1)
    assert dice(logits, classes).item() == pytest.approx((of_0 + of_1) / 2)


def test_a_class_that_is_not_shown_is_left_out_of_the_mean():
    logits, classes = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    assert dice(logits, classes).item() == pytest.approx(1 - (2 * 16 / 3 + 1) / (16 / 3 + 16 + 1))


def test_tversky_by_hand():
    logits = torch.zeros(1, 2, 2, 2)
    classes = torch.tensor([[[0, 1], [1, 1]]])
    of_0 = 1 - (0.5 + 1) / (0.5 + 0.3 * 1.5 + 0.7 * 0.5 + 1)
    of_1 = 1 - (1.5 + 1) / (1.5 + 0.3 * 0.5 + 0.7 * 1.5 + 1)
    assert tversky(logits, classes).item() == pytest.approx((of_0 + of_1) / 2)


def test_tversky_of_a_large_alpha_minds_false_alarms_more_than_misses():
    classes = 2 * halves().long()
    missed = torch.where(classes == 2, 1, 0)  # class 2 is called 1, which is not shown
    everywhere = torch.full_like(classes, 2)
    shy, bold = ([tversky(sure(said, 3), classes, alpha=a) for a in (0.1, 0.9)] for said in (missed, everywhere))
    assert shy[0] > shy[1]
    assert bold[0] < bold[1]


def test_an_alpha_that_is_no_share_is_refused():
    with pytest.raises(UsageError, match="alpha is 1") as caught:
        tversky(*pictures(0), alpha=1.5)
    assert caught.value.code == "LOSS-003"


def test_the_recipes_alpha_reaches_tversky_and_its_own_is_taken_where_none_is_named():
    logits, classes = pictures(5)
    loss = settled(LossSettings(name="tversky", alpha=0.8), ("classes",))
    torch.testing.assert_close(loss(logits, classes), tversky(logits, classes, alpha=0.8))
    loss = settled(LossSettings(name="tversky"), ("classes",))
    torch.testing.assert_close(loss(logits, classes), tversky(logits, classes, alpha=0.3))


@pytest.mark.parametrize("column", ["label", "labels", "numbers"])
@pytest.mark.parametrize("name", OF_REGIONS)
def test_what_learns_from_regions_is_not_taken_for_whole_pictures(name, column):
    with pytest.raises(UsageError, match="learns from 'classes'") as caught:
        settled(LossSettings(name=name), (column,))
    assert name not in caught.value.fix


def jaccard(classes, decided, k):
    """Return one minus the IoU of the classes a picture shows, by sets of pixels."""
    known = classes != IGNORE
    found = []
    for c in range(k):
        true, said = (classes == c) & known, (decided == c) & known
        if true.any():
            found.append(1 - (true & said).sum().item() / (true | said).sum().item())
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(4))
def test_lovasz_of_decisions_is_one_minus_their_iou(seed):
    logits, classes = pictures(seed, b=2)
    decided = logits.argmax(1)
    expected = [jaccard(classes[i], decided[i], 4) for i in range(2)]
    torch.testing.assert_close(lovasz(sure(decided, 4), classes), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("numbers", [torch.rand(3, 5000), (9 * torch.rand(3, 5000)).floor() / 8, torch.zeros(2, 7)])
def test_errors_are_sorted_as_torch_sorts_them(numbers):
    assert torch.equal(_descending(numbers), numbers.argsort(dim=1, descending=True, stable=True))


def published_lovasz(probability, classes, k):
    """Return algorithm 1 of the paper, by differences of the Jaccard loss."""
    probability, classes = probability.flatten(1), classes.flatten()
    probability, classes = probability[:, classes != IGNORE], classes[classes != IGNORE]
    found = []
    for c in range(k):
        true = (classes == c).double()
        if true.sum() == 0:
            continue
        errors, order = (true - probability[c]).abs().sort(descending=True)
        true = true[order]
        loss = 1 - (true.sum() - true.cumsum(0)) / (true.sum() + (1 - true).cumsum(0))
        loss[1:] = loss[1:] - loss[:-1].clone()
        found.append(errors @ loss)
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(4))
def test_lovasz_is_the_published_algorithm(seed):
    logits, classes = pictures(seed, b=2)
    expected = [published_lovasz(p, c, 4) for p, c in zip(logits.softmax(1), classes, strict=True)]
    torch.testing.assert_close(lovasz(logits, classes), torch.stack(expected))


def by_hand(probability, classes):
    """Return the boundary loss by measuring from every pixel to every other one."""
    places = list(itertools.product(range(classes.shape[0]), range(classes.shape[1])))
    known = [p for p in places if classes[p] != IGNORE]
    shown = sorted({int(classes[p]) for p in known})
    total = 0.0
    for c in shown:
        for p in known:
            other = [q for q in known if (classes[q] == c) != (classes[p] == c)]
            distance = min(math.dist(p, q) for q in other) - 0.5
            total += distance * abs(float(classes[p] == c) - float(probability[c][p]))
    return total / len(known) / len(shown) / math.hypot(*classes.shape)


@pytest.mark.parametrize("seed", range(3))
def test_boundary_is_what_one_measures_from_pixel_to_pixel(seed):
    logits, classes = pictures(seed, b=2)
    expected = [by_hand(p, c) for p, c in zip(logits.softmax(1), classes, strict=True)]
    torch.testing.assert_close(
        boundary(logits, classes), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9
    )


def test_a_mistake_far_from_the_contour_costs_more_than_one_beside_it():
    near, far = sure(halves()), sure(halves())
    near[:, :, 4], far[:, :, 7] = near[:, :, 3].clone(), far[:, :, 3].clone()
    assert boundary(far, halves()) > 3 * boundary(near, halves())


def test_dice_and_tversky_of_float32_hold_on_a_large_picture():
    logits, classes = pictures(6, b=1, height=600, width=800)
    for name in ("dice", "tversky", "lovasz"):
        assert LOSSES[name](logits.float(), classes).item() == pytest.approx(
            LOSSES[name](logits, classes).item(), rel=1e-5
        )


def planes(classes, k=4):
    """Return 1 and 0 of every class, 255 where nothing is known."""
    shown = F.one_hot(classes.long().clamp(max=k - 1), k).movedim(-1, 1)
    return torch.where((classes == IGNORE)[:, None], IGNORE, shown).byte()


@pytest.mark.parametrize("name", OF_REGIONS)
def test_weights_make_the_mean_of_a_pictures_classes_and_leave_the_others_out(name):
    logits, classes = pictures(7)
    each = [LOSSES[name](logits, classes, class_weights=row) for row in torch.eye(4, dtype=torch.float64)]
    weights = torch.tensor([1.0, 0.0, 5.0, 2.0], dtype=torch.float64)
    expected = sum(weight * value for weight, value in zip(weights, each, strict=True)) / weights.sum()
    torch.testing.assert_close(LOSSES[name](logits, classes, class_weights=weights), expected)
    torch.testing.assert_close(LOSSES[name](logits, classes, class_weights=3 * weights), expected)
    classes[classes == 2] = 1  # now class 2 is not shown, and its weight counts nowhere
    without = torch.tensor([1.0, 0.0, 9.0, 2.0], dtype=torch.float64)
    weighted = [LOSSES[name](logits, classes, class_weights=each) for each in (weights, without)]
    torch.testing.assert_close(*weighted)


@pytest.mark.parametrize("name", OF_REGIONS)
def test_classes_that_all_weigh_nothing_cost_nothing_with_finite_slopes(name):
    logits, classes = pictures(8)
    logits.requires_grad_()
    values = LOSSES[name](logits, classes, class_weights=torch.zeros(4))
    values.sum().backward()
    assert (values == 0).all() and (logits.grad == 0).all()


@pytest.mark.parametrize("name", OF_REGIONS)
def test_several_classes_a_pixel_are_judged_each_against_the_rest_of_the_picture(name):
    logits, classes = pictures(9)
    several = planes(classes)
    several[:, 3] = torch.where(several[:, 3] == IGNORE, IGNORE, several[:, 3] | several[:, 0])  # 0 is also 3
    apart = []
    for k in range(4):
        two = torch.stack([torch.zeros_like(logits[:, k]), logits[:, k]], 1)  # its softmax is the sigmoid
        only = torch.tensor([0.0, 1.0], dtype=torch.float64)
        apart.append(LOSSES[name](two, several[:, k], class_weights=only))
    torch.testing.assert_close(LOSSES[name](logits, several), torch.stack(apart).mean(0))


@pytest.mark.parametrize("name", OF_REGIONS)
def test_several_classes_a_pixel_that_are_surely_right_cost_nothing_and_ignored_ones_do_not_matter(name):
    logits, classes = pictures(10)
    several = planes(classes)
    several[:, 1] |= several[:, 0]
    perfect = torch.where(several == 1, 50.0, -50.0).double()
    assert LOSSES[name](perfect, several).abs().max() < 1e-9
    other = torch.where(several == IGNORE, -3 * logits, logits)
    torch.testing.assert_close(LOSSES[name](other, several), LOSSES[name](logits, several))
