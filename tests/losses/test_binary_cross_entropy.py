import torch
import torch.nn.functional as F

from visus.losses.binary_cross_entropy import binary_cross_entropy


def logits_and_labels(n=40, k=5):
    generator = torch.Generator().manual_seed(2)
    logits = 4 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 2, (n, k), generator=generator).double()


def test_it_is_the_mean_over_classes_of_what_torch_says():
    logits, labels = logits_and_labels()
    theirs = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    torch.testing.assert_close(binary_cross_entropy(logits, labels), theirs)


def test_weights_are_those_of_the_shown_classes():
    logits, labels = logits_and_labels()
    weights = torch.tensor([1.0, 2.0, 3.0, 0.5, 0.0], dtype=torch.float64)
    theirs = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none").mean(1)
    torch.testing.assert_close(binary_cross_entropy(logits, labels, class_weights=weights), theirs)


def test_an_image_is_averaged_over_the_classes_known_of_it():
    logits, labels = logits_and_labels()
    partly = labels.clone()
    partly[:, 3:] = torch.tensor([-1.0, torch.nan])
    torch.testing.assert_close(binary_cross_entropy(logits, partly), binary_cross_entropy(logits[:, :3], labels[:, :3]))
