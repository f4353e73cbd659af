"""What ``visus generate`` writes of a latent space: ways between pictures, mixtures, searches, and main directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.errors import DataError, UsageError, quoted
from visus.core.files import new_folder, write_json, write_picture
from visus.core.seeds import Draws
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.decode import decode
from visus.data.paths import check_free
from visus.tasks.generate.sheet import sheet
from visus.verbs import latents as walks
from visus.verbs.assembly import Tell, feed
from visus.verbs.load import Model
from visus.verbs.runs import silent

STEPS = 24
"""Pictures from one to the next of an animation; ``STRIP`` of a strip."""
STRIP = 6

ENDS, WAY = 3, 4
"""Pictures of a row of a report, and pictures from one of them to the next."""
ROWS = 10
"""Classes that a report shows, evenly through their order."""

SAMPLED = 1000
"""Latents among which main directions are sought, and a search begins."""

DIRECTIONS = 8
DEVIATIONS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Rows of a sheet of edits, and how far along each direction its columns lie."""


@dataclass(frozen=True)
class Walk:
    """What was made of a latent space.

    Attributes:
        pictures: (H, W, 3) uint8 each, in the order of the file.
        file: that shows them.
        said: what else there is to say, such as how far a search came.
        notes: what is to be known of it, a sentence each.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    file: Path
    said: dict[str, Any]
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the file, how many pictures it shows, and what else there is to say."""
        return {"file": str(self.file), "pictures": len(self.pictures), **self.said, "notes": list(self.notes)}


def ways(generator: Any, classes: Sequence[str], seed: int) -> NDArray[np.uint8]:
    """Return one (H, W, 3) picture of ways through the latent space, a row each: of a class, where there are classes.

    A row leads through the first pictures of the seed that are of its class, and back to none.  Jumps on the way would
    say that the generator holds single pictures, and nothing between them.

    Args:
        generator: in judging mode.
        classes: their names.
        seed: of the latents.
    """
    rows = np.linspace(0, len(classes) - 1, min(len(classes), ROWS)).round().astype(np.int64) if classes else [0, 0, 0]
    labels = np.repeat(np.asarray(rows, np.int64), ENDS)
    ends = torch.split(_styles(generator, seed, labels.tolist(), 1.0), ENDS)
    shown = [walks.drawn(generator, walks.between(row, WAY, latent=generator.latent)) for row in ends]
    return sheet(list(np.concatenate(shown)), len(shown[0]))


def interpolate(
    model: Model, file: Path, labels: Sequence[int], seed: int, truncation: float, tell: Tell = silent
) -> Walk:
    """Write the way from each picture of a seed to the next: ``.gif`` and ``.webp`` come back to the first and repeat.

    Args:
        model: a generator.
        file: ``.gif``, ``.webp``, or ``.png`` for a strip.
        labels: the class of each picture on the way, two at least.
        seed: of the pictures, which are those that ``visus generate`` makes of it, but for the noise of a network that
            has some: that stays the same all the way.
        truncation: of the latents.
        tell: told how far it is, here and below.

    Raises:
        UsageError: GEN-011, another kind of file; USE-051, one that is there already; GEN-012, fewer than two pictures.
    """
    _check(file, "--interpolate", (*walks.ANIMATED, walks.STRIP))
    if len(labels) < 2:
        raise UsageError("GEN-012", "a way leads from one picture to another: it takes two at least",
                         done="nothing was written", fix="--count 6")  # fmt: skip
    strip = file.suffix.lower() == ".png"
    generator = _generator(model)
    ends = _styles(generator, seed, labels, truncation)
    way = walks.between(ends, STRIP if strip else STEPS, loop=not strip, latent=generator.latent)
    pictures = walks.drawn(generator, way, tell)
    walks.write_frames(file, list(pictures))
    return Walk(tuple(pictures), file, {"from": len(labels), "seed": seed})


def mix(
    model: Model,
    file: Path,
    labels: Sequence[int],
    layers: range | None,
    seed: int,
    truncation: float,
    tell: Tell = silent,
) -> Walk:
    """Write a table: pictures of a seed above and on the left, and in it each row's with some layers of each column's.

    Args:
        model: a generator whose layers have styles of their own.
        file: a ``.png``.
        labels: the class of each picture, those of the rows first, then as many of the columns.
        layers: taken of the columns; the first half, the coarse ones, by default.
        seed, truncation: of the pictures.

    Raises:
        UsageError: GEN-010, a generator of one layer, or layers it does not have; GEN-011, another kind of file;
            USE-051, one that is there already; GEN-012, fewer than two pictures.
    """
    _check(file, "--mix")
    if len(labels) < 2:
        raise UsageError("GEN-012", "a table is of rows and columns: it takes two pictures at least",
                         done="nothing was written", fix="--count 8")  # fmt: skip
    ends = _styles(_generator(model), seed, labels, truncation)
    half = max(1, len(labels) // 2)
    rows, columns = ends[:half], ends[half:]
    taken = layers if layers is not None else range(ends.shape[1] // 2)
    both = walks.mixed(rows, columns, taken)
    pictures = walks.drawn(_generator(model), torch.cat([columns, rows, both.flatten(0, 1)]), tell)
    above, left, inside = np.split(pictures, [len(columns), len(columns) + len(rows)])
    table = [np.full_like(pictures[0], 255), *above]
    for i, picture in enumerate(left):
        table += [picture, *inside[i * len(columns) : (i + 1) * len(columns)]]
    write_picture(file, sheet(table, 1 + len(columns)))
    return Walk(tuple(table[1:]), file, {"layers": [taken.start, taken.stop], "of": ends.shape[1], "seed": seed})


def edit(model: Model, file: Path, label: int, seed: int, truncation: float, tell: Tell = silent) -> Walk:
    """Write the first picture of a seed, moved along the main directions: a row each, the strongest first.

    Args:
        model: a generator.
        file: a ``.png``.
        label: class of the picture, within which directions are sought.
        seed, truncation: of the picture.

    Raises:
        UsageError: GEN-011, another kind of file, or USE-051, one that is there already.
    """
    _check(file, "--edit")
    generator = _generator(model)
    many = torch.full((SAMPLED,), label, device=_device(generator))
    sampled = _latents(generator, seed, np.arange(1, 1 + SAMPLED))
    found = walks.directions(generator, sampled, many, DIRECTIONS)
    start = _styles(generator, seed, [label], truncation)
    moved = [start + along * step for step in found.steps for along in DEVIATIONS]
    pictures = walks.drawn(generator, torch.cat(moved), tell)
    write_picture(file, sheet(list(pictures), len(DEVIATIONS)))
    shares = [round(share, 4) for share in found.shares.tolist()]
    return Walk(tuple(pictures), file, {"shares": shares, "deviations": list(DEVIATIONS), "seed": seed})


def project(model: Model, photo: Path, out: Path, labels: Sequence[int], seed: int, tell: Tell = silent) -> Walk:
    """Find what of a generator's pictures is most like a photo; write both, and the styles it is drawn from.

    Args:
        model: a generator.
        photo: read as its training pictures were.
        out: a new folder, for ``projected.png``, the photo on the left and what was found on the right, ``styles.npy``
            (L, W), and ``projected.json`` with the distance.
        labels: classes among whose pictures the search begins.
        seed: of the latents with which it begins.
        tell: told how far the search is.

    Raises:
        DataError: GEN-013, the photo cannot be read.
    """
    check_free(out)
    generator, target = _generator(model), _read(model, photo)
    many = torch.tensor([labels[i % len(labels)] for i in range(SAMPLED)], device=_device(generator))
    with torch.no_grad():
        starts = generator.styles(_latents(generator, seed, np.arange(SAMPLED)), many)
    found = walks.project(
        generator, target, starts, watch=lambda done, of: tell({"seeking": str(photo), "done": done, "of": of})
    )
    pictures = walks.pixels(torch.cat([target, found.image]))
    said = {"distance": round(found.distance, 3), "before": round(found.before, 3), "unit": "levels of 256, rms"}
    notes = _colours(model, photo)
    with new_folder(out) as folder:
        write_picture(folder / "projected.png", sheet(list(pictures), 2))
        np.save(folder / "styles.npy", found.styles[0].cpu().numpy(), allow_pickle=False)
        write_json(folder / "projected.json", {"model": str(model.path), "photo": str(photo), **said, "notes": notes})
    return Walk(tuple(pictures), out / "projected.png", said, tuple(notes))


def _check(file: Path, option: str, kinds: Sequence[str] = (walks.STRIP,)) -> None:
    """Refuse a file of another kind, and a place where something is or no folder, before anything is computed.

    Raises:
        UsageError: GEN-011, USE-051, GEN-016.
    """
    walks.check_kind(file, kinds)
    check_free(file, option)
    if not file.absolute().parent.is_dir():
        raise UsageError("GEN-016", f"{file.parent}: there is no such folder to write to", done="nothing was made",
                         fix=f"mkdir {quoted(file.parent)}")  # fmt: skip


def _generator(model: Model) -> Any:
    return model.network.generator


def _device(generator: Any) -> torch.device:
    found: torch.device = next(generator.parameters()).device
    return found


def _latents(generator: Any, seed: int, numbers: NDArray[np.int64]) -> Tensor:
    """Return (N, Z) latents of the pictures of a seed: those of which ``visus generate`` makes them."""
    draws = Draws(seed, np.zeros(len(numbers), np.int64), numbers)
    return torch.from_numpy(draws.normal("latents", generator.latent)).to(next(generator.parameters()))


def _styles(generator: Any, seed: int, labels: Sequence[int], truncation: float) -> Tensor:
    """Return the styles of the first pictures of a seed."""
    chosen = torch.tensor(list(labels), device=_device(generator))
    with torch.no_grad():
        styles: Tensor = generator.styles(_latents(generator, seed, np.arange(len(labels))), chosen, truncation)
    return styles


def _colours(model: Model, photo: Path) -> list[str]:
    """Return what is to be known where a photo has colours that no picture of the generator has, or the reverse."""
    pixels, channels = decode(photo, max_pixels=model.recipe.data.max_pixels).pixels, model.recipe.input.channels
    coloured = pixels.ndim == 3 and bool((pixels != pixels[..., :1]).any())
    if coloured and channels == 1:
        return [f"{photo} is in colour, and this generator makes grey pictures: only its light was sought"]
    if not coloured and channels == 3:
        return [f"{photo} is grey, and this generator makes pictures in colour: the likest of those was sought"]
    return []


def _read(model: Model, photo: Path) -> Tensor:
    """Return a photo (1, C, H, W) in [-1, 1], as the generator's training pictures were read.

    Raises:
        DataError: it cannot be read.
    """
    names = Strings([str(photo)])
    source = FileImages(Path(), names, model.recipe.data.max_pixels)
    data = Dataset("files", Path(), "files", "named", names, source, {}, np.zeros(1, np.uint8))
    with feed(data, np.arange(1), model.task, model.recipe, model.device(), train=False) as shown:
        for batch in shown.sweep():
            for _, why in batch.bad:
                raise DataError("GEN-013", f"{photo}: {why}", done="nothing was sought")
            return batch.inputs[0].to(_device(_generator(model)))
    raise DataError("GEN-013", f"{photo}: it cannot be read", done="nothing was sought")
