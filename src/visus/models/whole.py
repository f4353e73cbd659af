"""What catalogs of whole networks hold: networks of a task that stand on a backbone.  Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Whole:
    """What a file that is a whole network offers.

    The network it builds is a plain ``nn.Module``, the same in training and judging, with a ``backbone`` (see
    ``models/trunks.py``).  It states ``heads``, the prefixes of what starts fresh where the weights are of a backbone
    alone.

    Attributes:
        build: ``(outputs, channels, size, backbone, *, options) -> network`` with fresh weights.  Its keyword-only
            arguments, with their types and defaults, are what ``model.options`` may hold.
        backbone: name of the network it stands on where none is named: ``anchor_free`` is ``anchor_free:csp``; empty
            where it stands on nothing but its own.
        summary: one line for a listing.
        licence: of the code.
        parameters: with the default options and as many classes as its catalog says, where counting them would load
            other libraries; else 0.
        published: by backbone, the name of torchvision's network whose weights fit the whole network.
        renamed: tensors as they were published -> the same by the network's own names.
        implied: tensors as they were published -> the options that they imply.
        usual: of pictures it is given, where it has no backbone that says so: ``mean``, ``std`` and ``size``.
        own: names after the colon that mean backbones of its own -> the repository of Hugging Face in which weights of
            the whole network were published.
        library: that it is made of, where visus is installed without; ``extra`` is what brings it: ``visus[EXTRA]``.
    """

    build: Callable[..., Any]
    backbone: str
    summary: str
    _: KW_ONLY
    licence: str = "Apache-2.0"
    parameters: int = 0
    published: Mapping[str, str] = field(default_factory=dict)
    renamed: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    implied: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda tensors: {}
    usual: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    library: str = ""
    extra: str = ""
