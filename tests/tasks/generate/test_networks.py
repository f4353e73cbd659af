"""Every network under the task with all that can be asked of it: split batches give the gradient of the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from visus.core.recipe import Choice, Draft
from visus.core.task import Batch
from visus.tasks import TASKS

CLASSES = ("ant", "bee", "wasp")
B = 10
SMALL = {"latent": 5, "width": 4, "widest": 8}
NETWORKS = {
    "stylegan2": SMALL | {"style": 6, "depth": 2},
    "r3gan": SMALL | {"blocks": 1, "group": 4},
}
EVERYTHING = {
    "generate.r1": 0.3, "generate.r2": 0.2, "generate.path_length": 1.5, "generate.path_every": 1,
    "generate.mixing": 0.9, "generate.target": 0.0, "generate.p": 0.5,
}  # fmt: skip


def task_for(name: str, **settings: object):
    wanted = {"task": "generate", "target.column": "label", "input.size": 16, "input.channels": 3, "model.name": name,
              "loss.name": "non_saturating", "batch": B, "model.options": NETWORKS[name], **settings}  # fmt: skip
    recipe = Draft(Choice(key, value, "the test") for key, value in wanted.items()).finish()
    return TASKS["generate"](recipe, CLASSES)


def batch() -> Batch:
    images = torch.rand(B, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    frames = torch.eye(3, dtype=torch.float64).repeat(B, 1, 1)
    ids = tuple(f"{i}.png" for i in range(B))
    return Batch((images,), {"label": torch.arange(B) % 3}, ids, torch.arange(B), frames, seed=11, start=0, whole=B)


def gradient(task, model, parts, player) -> torch.Tensor:
    model.zero_grad()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(task.players[player]))
    for part in parts:
        terms = task.losses(model, part, player, 0)
        sum(term.sum for term in terms.values() if not term.told).backward()
    own = [p for name, p in model.named_parameters() if name.startswith(task.players[player])]
    assert all(parameter.grad is not None for parameter in own)
    return torch.cat([parameter.grad.flatten() for parameter in own])


@pytest.mark.parametrize("augment", ["none", "ada", "diffaugment"])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("name", NETWORKS)
def test_parts_of_whole_groups_give_the_gradient_of_the_whole(name, player, augment):
    task = task_for(name, **EVERYTHING, **{"generate.augment": augment})
    model = task.model().double()
    ends = [0, task.group, 2 * task.group, B]
    parts = [batch().rows(start, end) for start, end in pairwise(ends)]
    whole, split = gradient(task, model, [batch()], player), gradient(task, task.model().double(), parts, player)
    assert bool(whole.abs().sum() > 0) and np.isfinite(whole.numpy()).all()
    assert torch.linalg.vector_norm(whole - split) <= 1e-10 * torch.linalg.vector_norm(whole)
