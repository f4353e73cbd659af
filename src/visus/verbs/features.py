"""What a network that learned to see from ImageNet makes of each picture: vectors in which like pictures lie close."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from visus.core.recipe import InputSettings, ModelSettings, Recipe
from visus.core.sample import Samples
from visus.core.task import Batch
from visus.data.dataset import Dataset
from visus.data.feed import Feed
from visus.engine.device import best_device, fast_bfloat16, place, placed
from visus.models.building import build
from visus.models.weights import card_of
from visus.transforms.pipeline import build as transform

NETWORK = ModelSettings(name="efficientnet_lite0", weights="default")
SIDES = (96, 160)
"""Pixels of a side at which small pictures, of up to 64 pixels, and others are read."""

BATCH = 64


def features(
    dataset: Dataset, readable: NDArray[np.int64], shorter: float, tell: Callable[[str], None]
) -> NDArray[np.float32]:
    """Return (N, D) features of every picture, the mean over its places of the network's last map; zeros for others.

    Args:
        dataset: N pictures.
        readable: those that can be read; others are not tried again.
        shorter: usual shorter side of the pictures, in pixels.
        tell: told what is being done.
    """
    card = card_of(NETWORK)
    side = SIDES[0] if shorter <= 64 else SIDES[1]
    input = InputSettings(size=(side, side), channels=3, fit="squash", mean=card.mean, std=card.std)
    device = best_device()
    said = {"device": device, "precision": "bfloat16" if fast_bfloat16(device) else "float32"}
    here = place(Recipe.model_validate(said | {"memory_format": "channels_last"}))
    network = placed(build(NETWORK, card.outputs, 3, input.size).eval(), here)
    tell(f"asking {card.name} what {len(readable):,} pictures show, at {side} x {side}")
    found: NDArray[np.float32] | None = None
    with Feed(dataset, readable, transform(input), _pictures, batch=BATCH, seed=0, train=False, channels=3,
              stored=2 * side) as feed, torch.inference_mode(), here.autocast():  # fmt: skip
        for batch in feed.sweep():
            if not len(batch):
                continue
            (images,) = batch.to(here.device, here.memory_format).inputs
            pooled = network.forward_features(images).float().mean((2, 3)).cpu().numpy()  # type: ignore[operator]
            if found is None:
                found = np.zeros((len(dataset), pooled.shape[1]), np.float32)
            found[batch.indices.numpy()] = pooled
    return found if found is not None else np.zeros((len(dataset), 1), np.float32)


def _pictures(samples: Samples) -> Batch:
    """Return a batch without targets."""
    assert isinstance(samples.images, torch.Tensor), "the transform makes all pictures one size"
    return Batch((samples.images,), {}, samples.ids, samples.indices, samples.frames, originals=samples.originals)
