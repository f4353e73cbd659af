import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from visus.losses.binary_cross_entropy import binary_cross_entropy
from visus.losses.binary_focal import binary_focal


def logits_and_labels(n=40, k=5):
    generator = torch.Generator().manual_seed(4)
    logits = 4 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 2, (n, k), generator=generator).double()


@pytest.mark.parametrize("gamma", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.25, 1.0])
def test_it_is_the_mean_over_classes_of_what_torchvision_says(gamma, alpha):
    logits, labels = logits_and_labels()
    theirs = sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=gamma).mean(1)
    torch.testing.assert_close(binary_focal(logits, labels, gamma=gamma, alpha=alpha), theirs)


def test_without_focus_it_is_binary_cross_entropy():
    logits, labels = logits_and_labels()
    weights = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    ours = binary_focal(logits, labels, gamma=0.0, class_weights=weights)
    torch.testing.assert_close(ours, binary_cross_entropy(logits, labels, class_weights=weights))
