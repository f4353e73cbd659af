"""What a run was made with: versions, machine and threads, on which its bits depend."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from visus.core.errors import IntegrityError
from visus.core.recipe import Recipe
from visus.verbs.runs import read_document

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "visus")

BITS = ("python", *LIBRARIES, "machine", "processor", "kernels", "device", "threads", "world", "code")
"""A change of any of these may change a run's last bits, so a resume refuses it unless told otherwise."""


def environment(recipe: Recipe, world: int = 1) -> dict[str, Any]:
    """Return the versions, the machine and the threads of this process."""
    import torch

    from visus.models.origins.user_code import is_code, source_of

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if recipe.device == "cuda" else recipe.device,
        "threads": recipe.threads,
        "world": world,
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "code": source_of(recipe.model.name)[1] if is_code(recipe.model.name) else "",
    }


def check_environment(path: Path, now: dict[str, Any], *, accept: bool) -> list[str]:
    """Return how this process differs from the one that wrote ``path`` where that may change bits.

    Raises:
        IntegrityError: it differs, and ``accept`` is false.
    """
    then = read_document(path)
    changed = [
        f"{name}: {then.get(name)} then, {now.get(name)} now" for name in BITS if then.get(name) != now.get(name)
    ]
    if changed and not accept:
        raise IntegrityError(
            "RUN-007", "this is not the machine or the software the run began with, so it could not go on bit for bit",
            where="; ".join(changed[:4]), fix="visus resume RUN --accept-changes goes on all the same",
        )  # fmt: skip
    return changed


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform module knows a shorter name
    return platform.processor()
