"""Networks that make pictures, one a file: ``dcgan.py`` is "dcgan".  Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from visus.core.catalog import Catalog
from visus.core.recipe import Choice


@dataclass(frozen=True)
class Implied:
    """What the weights of a generator say of it.

    Attributes:
        classes: that it makes; 0 where it knows none.
        channels: of its pictures.
        size: (height, width) of its pictures.
        options: of the network.
    """

    classes: int
    channels: int
    size: tuple[int, int]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Generator:
    """What a file of this folder offers as ``GENERATOR``.

    It builds one module, a ``_pair.Pair``: a ``generator`` and the ``discriminator`` that it learns from, and nothing
    else that learns.  ``forward(latents (B, Z), labels (B,)) -> images (B, C, H, W)`` in [-1, 1] is the generator.

    - ``generator(latents, labels, *, truncation=1.0, noise=None)``; ``latent`` is Z.  ``noise`` is a list of
      (B, 1, h, w), one for each of ``noise_shapes``; None is the noise that its buffers hold.
    - ``generator.styles(latents, labels, truncation) -> (B, L, W)`` and ``generator.draw(styles, noise) -> images``
      are the same in two steps, between which latents are mixed, moved and searched.
    - ``discriminator(images, labels) -> (B,)`` logits; ``group`` is how many rows see each other in it, or 1.

    Attributes:
        build: ``(classes, channels, size, *, options) -> Pair`` with fresh weights; no class is unconditional.  Its
            keyword-only arguments, with their types and defaults, are what ``model.options`` may hold.
        description: one line for a listing.
        choices: ``(device, side)`` -> settings of the recipe that suit it where it makes pictures of so many pixels on
            such a machine, each with its reason.
        licence: of the code.
        renamed: tensors as they were published -> the same by the network's own names.
        implied: tensors of a generator by its own names -> what they are for; None where no published ones are known.
        layered: its layers have styles of their own, so that those of two latents can be mixed: L above is not 1.
    """

    build: Callable[..., Any]
    description: str
    choices: Callable[[str, int], Iterable[Choice]] = lambda device, side: ()
    _: KW_ONLY
    licence: str = "Apache-2.0"
    renamed: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    implied: Callable[[Mapping[str, Any]], Implied] | None = None
    layered: bool = False


GENERATORS: Catalog[Generator] = Catalog("visus.models.generators", "GENERATOR")
