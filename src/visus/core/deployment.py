"""What leaves the house: a network with all that stands before and behind it as one module, and what it promises.

B pictures of H x W pixels and C channels, one size a batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from visus.core.errors import IntegrityError
from visus.core.modelfile import Card

PICTURES = "pictures"
"""Name of the only input."""

KEY = "visus"
"""Under which a file's metadata hold its contract."""

SCOPES = "pkg.torch.onnx.name_scopes"
"""Under which a node of an ONNX file holds the names of the modules it was made in, the outermost first."""

NETWORK = "network"
"""Name of the network among the modules of ``Deployed``: what stands before and behind it bears another."""


class Deployed(nn.Module):
    """Pictures (B, H, W, C) as they were decoded -> the tensors of ``outputs``, in that order.

    Args:
        prepare: pictures -> images (B, C, h, w) as the network reads them, and where they lie in the original.
        network: reads images.
        read: (network, images, where they lie) -> tensors by name.
        outputs: name -> what it holds, its shape first.
    """

    def __init__(
        self,
        prepare: nn.Module,
        network: nn.Module,
        read: Callable[[nn.Module, Tensor, Any], Mapping[str, Tensor]],
        outputs: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.prepare, self.network, self.read, self.outputs = prepare, network, read, outputs

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of ``outputs``."""
        images, view = self.prepare(pictures)
        said = self.read(self.network, images, view)
        return tuple(said[name] for name in self.outputs)


class Contract(BaseModel):
    """What an exported file reads and says; it stands in the file's metadata, or in a JSON file beside it.

    Attributes:
        visus: version that wrote it; ``target``: name of the exporter; ``format``: its own version, such as an opset.
        dtype: of the pictures, which are (B, H, W, C), as decoded, upright, RGB where there are three channels.
        channels: of the pictures.
        size: (H, W) of all pictures; None for any, one in a batch.
        batch: pictures in a batch; None for any number.
        outputs: name -> what it holds, in the order of the file.
        parity: what was measured between this file and the weights it was made of.
        card: of the weights: task, classes, recipe, scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    visus: str
    target: str
    format: str
    dtype: Literal["uint8", "uint16"]
    channels: int
    size: tuple[int, int] | None
    batch: int | None
    outputs: dict[str, str]
    parity: dict[str, Any] = {}
    card: Card

    @property
    def reads(self) -> str:
        """What a batch of pictures is, in words."""
        size = "any size, one in a batch" if self.size is None else f"{self.size[0]} x {self.size[1]}"
        batch = "any number of" if self.batch is None else str(self.batch)
        return f"{batch} pictures of {size}, {self.channels} channels, {self.dtype}"

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.model_dump(mode="json"))

    @staticmethod
    def of(text: str, file: str) -> Contract:
        """Return what JSON says.

        Raises:
            IntegrityError: it is no contract.
        """
        try:
            return Contract.model_validate_json(text)
        except ValidationError as error:
            raise IntegrityError(
                "EXP-001", f"{file}: what it says of itself is damaged", where=str(error).splitlines()[-2].strip(),
                fix="visus export MODEL --to ... writes it anew",
            ) from error  # fmt: skip


class Runtime(Protocol):
    """An exported file in the library that runs it.

    Attributes:
        contract: what it reads and says.
        threads: from how many it may be called at the same time.
    """

    contract: Contract
    threads: int

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the outputs of a batch of pictures by name."""
        ...
