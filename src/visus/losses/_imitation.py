"""How far what a network says is from what its teacher says of the same: one value a row, 0 where they say the same."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visus.core.boxes import overlaps


def softened(
    logits: Float[Tensor, "N K"], teacher: Float[Tensor, "N K"], temperature: float = 1.0
) -> Float[Tensor, "N"]:
    """Return the divergence of softened class probabilities from the teacher's, times the squared temperature.

    The square keeps the size of the gradient where the temperature changes.

    Args:
        logits: unnormalised scores of the classes; half precision is computed in float32.
        teacher: the teacher's; no gradient flows into them.
        temperature: which divides both before softmax: the higher, the more the small scores count.

    Returns:
        Kullback-Leibler divergences in nats, times the square, from 0 upward.

    Source:
        Hinton et al., Distilling the knowledge in a neural network, 2015, section 2.
    """
    said, wanted = _precise(logits) / temperature, _precise(teacher).detach() / temperature
    apart = F.kl_div(said.log_softmax(1), wanted.log_softmax(1), reduction="none", log_target=True)
    return temperature**2 * apart.sum(1)


def softened_each(
    logits: Float[Tensor, "N K"], teacher: Float[Tensor, "N K"], temperature: float = 1.0
) -> Float[Tensor, "N"]:
    """Return the same where each class is shown or not, whatever the others: the mean over the classes.

    Arguments as those of ``softened``.
    """
    said, wanted = _precise(logits) / temperature, _precise(teacher).detach() / temperature
    probability = wanted.sigmoid()
    apart = probability * (F.logsigmoid(wanted) - F.logsigmoid(said))
    apart = apart + (1 - probability) * (F.logsigmoid(-wanted) - F.logsigmoid(-said))
    return temperature**2 * apart.mean(1)


def at_places(
    scores: Float[Tensor, "B A K"],
    boxes: Float[Tensor, "B A 4"],
    teacher_scores: Float[Tensor, "B A K"],
    teacher_boxes: Float[Tensor, "B A 4"],
) -> Float[Tensor, "B"]:
    """Return how far what a detector says of each place is from what its teacher says there.

    Places count by how much the two differ, classes by binary cross entropy beyond the teacher's own and boxes by one
    minus their overlap; each picture is divided by the number of objects that the teacher expects in it, one at least.

    Args:
        scores: of each class at each place, in [0, 1].
        boxes: of each place, xyxy.
        teacher_scores: the teacher's; no gradient flows into them.
        teacher_boxes: the teacher's; no gradient flows into them.

    Source:
        Yang et al., Bridging cross-task protocol inconsistency for distillation in dense object detection, ICCV 2023,
        equations 5 to 8; the weights are numbers to the gradient here, and the entropy of the teacher is taken off.
    """
    said, wanted = _precise(scores), _precise(teacher_scores).detach()
    weight = (wanted - said.detach()).abs()  # (B, A, K)
    surprise = F.binary_cross_entropy(said, wanted, reduction="none")
    surprise = surprise - F.binary_cross_entropy(wanted, wanted, reduction="none")
    apart = 1 - overlaps(_precise(boxes), _precise(teacher_boxes).detach(), "giou")  # (B, A)
    together = (weight * surprise).sum((1, 2)) + (weight.amax(2) * apart).sum(1)
    return together / wanted.amax(2).sum(1).clamp(min=1)


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
