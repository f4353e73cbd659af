import pytest
import torch

from visus.core.errors import UsageError
from visus.core.recipe import LossSettings
from visus.losses import LOSSES, reads, settled
from visus.losses.cross_entropy import cross_entropy
from visus.losses.varifocal import varifocal


def test_the_numbers_of_the_recipe_reach_the_loss():
    logits, label = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    loss = settled(LossSettings(name="cross_entropy", smoothing=0.2), ("label",))
    torch.testing.assert_close(loss(logits, label), cross_entropy(logits, label, smoothing=0.2))


def test_a_loss_of_numbers_is_refused_for_classes_with_the_fitting_ones():
    with pytest.raises(UsageError, match="learns from 'numbers'") as caught:
        settled(LossSettings(name="huber"), ("label",))
    assert caught.value.code == "LOSS-001"
    assert "cross_entropy" in caught.value.fix


def test_a_number_the_loss_does_not_take_is_refused_with_one_that_does():
    with pytest.raises(UsageError, match="takes no gamma") as caught:
        settled(LossSettings(name="cross_entropy", gamma=3), ("label",))
    assert caught.value.fix == "leave it out, or --set loss=focal"


def test_weights_of_classes_are_refused_by_a_loss_of_numbers():
    with pytest.raises(UsageError, match="takes no class_weights"):
        settled(LossSettings(name="huber"), ("numbers",), torch.ones(3))


def test_a_misspelt_loss_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        settled(LossSettings(name="cros_entropy"), ("label",))
    assert "cross_entropy" in caught.value.fix


def test_a_number_that_the_recipe_leaves_open_is_the_losses_own():
    logits, quality = torch.randn(4, 3), torch.zeros(4, 3)
    loss = settled(LossSettings(name="varifocal"), ("quality",))
    torch.testing.assert_close(loss(logits, quality), varifocal(logits, quality, alpha=0.75))
    loss = settled(LossSettings(name="varifocal", alpha=0.5), ("quality",))
    torch.testing.assert_close(loss(logits, quality), varifocal(logits, quality, alpha=0.5))


@pytest.mark.parametrize("column", ["label", "labels", "numbers"])
@pytest.mark.parametrize("name", [name for name in LOSSES if reads(name) in ("boxes", "quality", "distances")])
def test_what_learns_from_boxes_is_neither_taken_nor_offered_for_whole_pictures(name, column):
    with pytest.raises(UsageError, match=f"learns from '{reads(name)}'") as caught:
        settled(LossSettings(name=name), (column,))
    assert all(reads(other) == column for other in caught.value.fix.removeprefix("one of: ").split(", "))
