"""Paintings that a style is learned from: found, read by the one door, and the same over a whole run."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from visus.core.recipe import Recipe, StylizeSettings
    from visus.data.dataset import Dataset
    from visus.verbs.assembly import Tell

MOST = 256
"""Paintings that are learned from; of more, so many are taken, evenly spread over their names."""
SMALLEST = 64
"""Pixels of a side, below which features see nothing of a style."""


def check(said: Recipe, tell: Tell) -> None:
    """Refuse a style that is missing or no picture, before any photo is read; tell where there is next to none in it.

    Raises:
        UsageError: STYLE-021, none is named; STYLE-022, it is too small; DataError: as ``files``, or it cannot be read.
    """
    if not said.stylize.style:
        raise UsageError("STYLE-021", "which painting's style is to be learned is not said", done="nothing was trained",
                         fix="--set style=painting.jpg")  # fmt: skip
    painting, *others = files(said.stylize.style)
    pixels = _large_enough(read(painting), said.stylize.style)
    if not others and (note := remark(pixels, said.stylize.style)):
        tell({"note": note})


def anchored(settings: StylizeSettings, accept: Sequence[str]) -> StylizeSettings:
    """Return the settings as a resumed run must find them: the paintings' place, the features' name, SHA-256 of both.

    Args:
        settings: with a style.
        accept: licences of features accepted beyond the permissive ones.
    """
    from visus.models.perceptual import features, meant

    place, name = str(Path(settings.style).resolve()), meant(settings.features)
    settled = {"style": place, "sha256": settings.sha256 or _digest(place), "features": name}
    settled["features_sha256"] = settings.features_sha256 or features(name, accept=accept).named.sha256
    return settings.model_copy(update=settled)


def studied(task: Any, recipe: Recipe, dataset: Dataset | None = None) -> None:
    """Let a task study the paintings of its recipe, and a few photos that it is judged on.

    Args:
        task: of the recipe.
        recipe: of a run, or of a model that is asked about other paintings.
        dataset: of the run; None where a model is asked.

    Raises:
        UsageError: STYLE-027, the model has a style of its own.
        DataError: as ``files``, or one of them cannot be read.
        IntegrityError: STYLE-024, they are not those that the run began with, or the features are not.
    """
    from visus.models.perceptual import features

    settings = recipe.stylize
    if dataset is None and not task.any_style:
        raise UsageError("STYLE-027", f"{recipe.model.name} is judged by the painting that it keeps",
                         done="nothing was asked", fix="leave stylize.style out")  # fmt: skip
    if dataset is not None and settings.sha256 and _digest(settings.style) != settings.sha256:
        raise IntegrityError("STYLE-024", f"{settings.style}: is not what this run began with",
                             where=f"its SHA-256 is not {settings.sha256[:12]}...", done="nothing was trained",
                             fix="put the paintings back, or train anew")  # fmt: skip
    if dataset is not None and settings.features_sha256:
        now = features(settings.features, accept=recipe.data.accept).named.sha256
        if now != settings.features_sha256:
            raise IntegrityError("STYLE-024", f"features of {settings.features}: not what this run began with",
                                 where=f"their SHA-256 is not {settings.features_sha256[:12]}...",
                                 done="nothing was trained",
                                 fix="the version of visus that the run began with, or train anew")  # fmt: skip
    task.study(_paintings(settings.style, recipe.input.size, _digest(settings.style)), _photos(dataset, recipe))


def files(style: str) -> list[Path]:
    """Return the files of paintings, in the order of their names.

    Raises:
        DataError: STYLE-023, there is no such file or folder, or no picture in it.
    """
    from visus.data.listing import list_pictures

    place = Path(style)
    found = sorted(place / name for name in list_pictures(place).pictures) if place.is_dir() else [place]
    if not found or not place.exists():
        why = "no picture in this folder" if place.exists() else "there is no such painting"
        raise DataError("STYLE-023", f"{style}: {why}", done="nothing was trained",
                        fix="--set style=painting.jpg, or a folder of paintings")  # fmt: skip
    step = len(found) / min(len(found), MOST)
    return [found[int(i * step)] for i in range(min(len(found), MOST))]


def read(file: Path) -> Tensor:
    """Return a picture (1, 3, H, W) in [0, 1]; grey ones as colours, transparent ones on white.

    Raises:
        DataError: it cannot be read.
    """
    import numpy as np
    import torch

    from visus.data.decode import decode

    pixels = decode(file).pixels
    whole = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}.get(pixels.dtype, 1.0)
    array = torch.from_numpy(np.clip(pixels.astype(np.float32) / whole, 0, 1))
    array = array[..., None].expand(-1, -1, 3) if array.dim() == 2 else array
    return array.permute(2, 0, 1)[None].contiguous()


def remark(painting: Tensor, name: str) -> str:
    """Return what is to be said of a painting (1, 3, H, W) in [0, 1] that has next to no style in it; empty for others.

    Args:
        painting: to learn from.
        name: what it is called.
    """
    flat = bool(painting.std((-2, -1)).max() < 1e-3)  # in each channel
    return f"{name} is of one colour: there is no style in it but that" if flat else ""


def covering(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (3, h, w) uint8, the middle of a picture (1, 3, H, W) in [0, 1] at the scale at which it covers a size."""
    import torch.nn.functional as F

    (height, width), (tall, wide) = picture.shape[2:], size
    scale = max(tall / height, wide / width)
    fitted = max(tall, round(height * scale)), max(wide, round(width * scale))
    resized = F.interpolate(picture, fitted, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (fitted[0] - tall) // 2, (fitted[1] - wide) // 2
    return (resized[0, :, top : top + tall, left : left + wide] * 255).round().byte()


def _large_enough(painting: Tensor, name: str) -> Tensor:
    height, width = painting.shape[2:]
    if min(height, width) < SMALLEST:
        raise UsageError("STYLE-022", f"{name}: {width:,} x {height:,} pixels are too few to tell a style on",
                         done="nothing was trained", fix=f"{SMALLEST} pixels a side at least")  # fmt: skip
    return painting


def _digest(style: str) -> str:
    """Return the SHA-256 of all paintings, in their order."""
    hasher = sha256()
    for file in files(style):
        hasher.update(file.read_bytes())
    return hasher.hexdigest()


@lru_cache(maxsize=1)
def _paintings(style: str, size: tuple[int, int], digest: str) -> Tensor:
    """Return (N, 3, h, w) uint8; read once, for a run asks for them several times."""
    import torch

    return torch.stack([covering(_large_enough(read(file), str(file)), size) for file in files(style)])


def _photos(dataset: Dataset | None, recipe: Recipe) -> Tensor:
    """Return (M, 3, h, w) uint8, the first photos that can be read of the part that is judged in training."""
    import numpy as np
    import torch

    from visus.data.pixels import pictures
    from visus.tasks._captions import rgb

    found: list[Tensor] = []
    if dataset is not None:
        source, judged = pictures(dataset.images, 3), dataset.indices("val")
        for i in judged if len(judged) else dataset.indices("train"):
            if len(found) == recipe.stylize.shown:
                break
            for image in source.take(np.array([i]), lambda index: None).images:  # none, where it cannot be read
                photo = torch.from_numpy(rgb(image).astype(np.float32) / 255).permute(2, 0, 1)
                found.append(covering(photo[None], recipe.input.size))
    return torch.stack(found) if found else torch.zeros(0, 3, *recipe.input.size, dtype=torch.uint8)
