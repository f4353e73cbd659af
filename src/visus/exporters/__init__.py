"""What a trained model is written as for other runtimes, one target a file: ``onnx.py`` is "onnx".  Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visus.core.catalog import Catalog

if TYPE_CHECKING:
    from torch import Tensor

    from visus.core.deployment import Contract, Deployed, Runtime


@dataclass(frozen=True)
class Exporter:
    """What a file of this folder offers as ``EXPORTER``.

    Attributes:
        suffix: of the file.
        export: (module, example pictures (B, H, W, C), contract, path) -> the contract with the file's format.  It
            writes the file and whatever lies beside it; no size of the example is kept where the contract names none.
        stamp: writes a contract into a file, or beside it, in place of the one that is there.
        load: a file that ``recognises`` knows, ready to run.
        recognises: tells by its first bytes whether a file may be of this kind.
        one_picture: the file takes pictures of one size, one at a time.
        layers: (file, pictures) -> what the modules of the network say in that file, by their names; None where a file
            does not tell.
    """

    suffix: str
    export: Callable[[Deployed, Tensor, Contract, Path], Contract]
    stamp: Callable[[Path, Contract], None]
    load: Callable[[Path], Runtime]
    recognises: Callable[[bytes], bool]
    one_picture: bool = False
    layers: Callable[[Path, Tensor], Mapping[str, Tensor]] | None = None


EXPORTERS: Catalog[Exporter] = Catalog("visus.exporters", "EXPORTER")
