"""visus: from a folder of pictures to a trained, judged, explained and served model, with proof on the way.

``import visus`` loads no PyTorch; each verb loads what it needs when it is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from visus.core.errors import VisusError
    from visus.verbs.adopt import adopt
    from visus.verbs.check import check
    from visus.verbs.compare import compare
    from visus.verbs.compress import compress
    from visus.verbs.convert import convert
    from visus.verbs.demo import demo
    from visus.verbs.evaluate import evaluate
    from visus.verbs.explain import explain
    from visus.verbs.export import export
    from visus.verbs.fix import fix
    from visus.verbs.generate import generate
    from visus.verbs.info import info
    from visus.verbs.list import list
    from visus.verbs.load import Model, load
    from visus.verbs.predict import predict
    from visus.verbs.resume import resume
    from visus.verbs.runs import Run
    from visus.verbs.serve import serve
    from visus.verbs.split import split
    from visus.verbs.stylize import stylize
    from visus.verbs.train import train

__all__ = [
    "Model",
    "Run",
    "VisusError",
    "adopt",
    "check",
    "compare",
    "compress",
    "convert",
    "demo",
    "evaluate",
    "explain",
    "export",
    "fix",
    "generate",
    "info",
    "list",
    "load",
    "predict",
    "resume",
    "serve",
    "split",
    "stylize",
    "train",
]

_HOMES = {"Model": "visus.verbs.load", "Run": "visus.verbs.runs", "VisusError": "visus.core.errors"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'visus' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, f"visus.verbs.{name}")), name)


def __dir__() -> Any:
    return sorted(__all__)
