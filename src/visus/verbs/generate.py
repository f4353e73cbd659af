"""``visus.generate``: a trained generator makes pictures, as single files and on one sheet."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import UsageError, did_you_mean
from visus.core.files import new_folder, write_json, write_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from visus.verbs.assembly import Tell
    from visus.verbs.load import Model
    from visus.verbs.walking import Walk

USUAL, WAYPOINTS, MIXED = 64, 6, 8
"""Pictures that are made, that a way leads through, and that are mixed, where the user does not say."""
MOST = 100_000
SHEET = 100
"""Pictures of a sheet, at most."""


@dataclass(frozen=True)
class Generated:
    """Pictures that a generator made.

    Attributes:
        pictures: (H, W, C) uint8 each.
        labels: the class of each that was asked for; empty where there are none.
        names: of their files.
        seed: of everything random: picture ``i`` of a seed and a class is always the same one.
        truncation: of the latents.
        folder: where they were written, or None.
        model: the file that made them.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    seed: int
    truncation: float
    folder: Path | None = None
    model: str = ""

    @property
    def sheet(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, the first pictures beside each other: classes in columns where they come in turns."""
        from visus.tasks.generate.sheet import sheet

        shown = self.pictures[:SHEET]
        turns = len(dict.fromkeys(self.labels))
        return sheet(shown, turns if 1 < turns <= 16 else math.ceil(math.sqrt(len(shown))))

    def json(self) -> dict[str, Any]:
        """Return how they were made, and each one's file and class."""
        files = [{"file": name, "label": label} for name, label in zip(self.names, self.labels, strict=True)]
        made = {"model": self.model, "folder": str(self.folder) if self.folder is not None else None}
        return {**made, "seed": self.seed, "truncation": self.truncation, "pictures": files}


def generate(
    model: str | Path | Model,
    *,
    count: int | None = None,
    seed: int = 0,
    label: str | int | Sequence[str | int] | None = None,
    truncation: float = 1.0,
    out: str | Path | None = None,
    interpolate: str | Path | None = None,
    mix: str | Path | None = None,
    layers: range | None = None,
    edit: str | Path | None = None,
    project: str | Path | None = None,
    watch: Tell | None = None,
) -> Generated | Walk:
    """Make pictures: picture ``i`` of a seed and a class is the same one, however many are made.

    One of ``interpolate``, ``mix``, ``edit`` and ``project`` walks the latent space instead.

    Args:
        model: a model file, a run folder, or a loaded model of the task ``generate``.
        count: of pictures, 64 by default; of those on a way, 6, and of those that are mixed, 8.
        seed: of everything random.
        label: a class by its name or its number, or several, which then come in turns; all of them by default.
        truncation: below 1 pictures are more usual and less varied; 1 leaves them as they were learned.
        out: a new folder for ``grid.png``, ``generated.json`` and a file for each picture; of a projection, for what
            was found.
        interpolate: a file, ``.gif``, ``.webp`` or ``.png``, for the way from each picture to the next.
        mix: a ``.png`` for a table of pictures with the styles of two.
        layers: whose styles each column of that table gives; the first half, the coarse ones, by default.
        edit: a ``.png`` for the first picture, moved along the main directions of the latent space.
        project: a photo, of which the likest picture is sought.
        watch: told how far it is: of pictures that are made, and of a search.

    Raises:
        UsageError: a model that makes no pictures, no such class, a number out of its range, a folder that holds
            something already, or two walks at once; a walk that this generator, or kind of file, cannot show.
        DataError: the photo cannot be read.
    """
    import torch

    from visus.data.paths import check_free
    from visus.engine.device import short_of_memory
    from visus.tasks.generate.task import made_of
    from visus.verbs.latents import gathered
    from visus.verbs.load import Model, load
    from visus.verbs.runs import silent

    tell = watch or silent
    asked = [(name, Path(place)) for name, place in _named(interpolate, mix, edit, project) if place is not None]
    if len(asked) > 1:
        raise UsageError("USE-084", f"--{asked[0][0]} and --{asked[1][0]} are asked for at once",
                         done="nothing was made", fix="one of them")  # fmt: skip
    counted = count is not None
    walk = asked[0][0] if asked else ""
    count = count if count is not None else {"interpolate": WAYPOINTS, "mix": MIXED}.get(walk, USUAL)
    _check_effect(walk, {"--layers": layers is not None, "--count": counted,
                         "--truncation": truncation != 1})  # fmt: skip
    if seed < 0:
        raise UsageError("USE-081", f"--seed {seed}: it takes 0 or more", done="nothing was made")
    if not 1 <= count <= MOST:
        raise UsageError("USE-081", f"--count {count:,}: it takes 1 to {MOST:,}", done="nothing was made")
    if not 0 <= truncation <= 2:
        raise UsageError("USE-081", f"--truncation {truncation:g}: it takes 0 to 2", done="nothing was made",
                         fix="0.7 is usual; 1 leaves pictures as they were learned")  # fmt: skip
    loaded = model if isinstance(model, Model) else load(model)
    check_makes(loaded)
    wanted = _classes(loaded.classes, label)
    labels = [wanted[i % len(wanted)] for i in range(count)]
    if asked:
        with short_of_memory("nothing was written", "--count FEWER, or less else running"):
            return _walk(loaded, *asked[0], labels, layers, seed, truncation, out, tell)
    names = tuple(_file(i, loaded.classes[k] if loaded.classes else "", count) for i, k in enumerate(labels))
    if out is not None:
        check_free(Path(out))
    with short_of_memory("nothing was written", "--count FEWER, with another --seed for the others"):
        made_at_once = made_of(loaded.network, seed, torch.tensor(labels), truncation=truncation)
        pictures = gathered(made_at_once, count, tell)
    said = tuple(loaded.classes[k] if loaded.classes else "" for k in labels)
    made = Generated(
        tuple(pictures), said, names, seed, truncation, Path(out) if out is not None else None, str(loaded.path)
    )
    if made.folder is not None:
        _write(made, made.folder)
    return made


def _check_effect(walk: str, given: Mapping[str, bool]) -> None:
    """Refuse an option that would change nothing of what is asked for.

    Raises:
        UsageError: USE-085.
    """
    idle = {"": ("--layers",), "interpolate": ("--layers",), "edit": ("--layers", "--count"),
            "project": ("--layers", "--count", "--truncation")}.get(walk, ())  # fmt: skip
    for option in idle:
        if given[option]:
            what = f"--{walk}" if walk else "single pictures"
            raise UsageError("USE-085", f"{option} changes nothing of {what}", done="nothing was made",
                             fix="leave it out" if walk else "--mix TABLE.png gives layers to pictures")  # fmt: skip


def _named(*walks: str | Path | None) -> Iterator[tuple[str, str | Path | None]]:
    return zip(("interpolate", "mix", "edit", "project"), walks, strict=True)


def _walk(
    model: Model, name: str, place: Path, labels: Sequence[int], layers: range | None, seed: int, truncation: float,
    out: str | Path | None, tell: Tell,
) -> Walk:  # fmt: skip
    """Return what was made of the latent space, and write it."""
    from visus.verbs import walking

    if name == "interpolate":
        return walking.interpolate(model, place, labels, seed, truncation, tell)
    if name == "mix":
        return walking.mix(model, place, labels, layers, seed, truncation, tell)
    if name == "edit":
        return walking.edit(model, place, labels[0], seed, truncation, tell)
    if out is None:
        raise UsageError("USE-084", "what is found of a photo needs a place", done="nothing was made", fix="--out DIR")
    return walking.project(model, place, Path(out), labels, seed, tell)


def check_makes(model: Model) -> None:
    """Refuse a model that says something of pictures, where one is wanted that makes them.

    Raises:
        UsageError: USE-082.
    """
    if model.task.name != "generate":
        raise UsageError(
            "USE-082", f"{model.path}: it was trained to {model.task.name}, not to generate", done="nothing was made",
            fix="visus train DATA --task generate makes a model that does",
        )  # fmt: skip


def _classes(names: Sequence[str], label: str | int | Sequence[str | int] | None) -> list[int]:
    """Return the numbers of the classes that are asked for; a single 0 where there are none.

    Raises:
        UsageError: there is no such class.
    """
    asked = [label] if isinstance(label, str | int) else list(label or ())
    if not names:
        if asked:
            raise UsageError("USE-083", f"--class {asked[0]}: this generator knows no classes", done="nothing was made",
                             fix="leave it out")  # fmt: skip
        return [0]
    found = []
    for one in asked or range(len(names)):
        if str(one) in names:
            found.append(names.index(str(one)))
        elif str(one).isdecimal() and int(one) < len(names):
            found.append(int(one))
        else:
            raise UsageError("USE-083", f"--class {one}: there is no such class", done="nothing was made",
                             where=f"there are {len(names):,}: 0 to {len(names) - 1:,}, or by name",
                             fix=did_you_mean(str(one), names))  # fmt: skip
    return found


def _file(i: int, label: str, count: int) -> str:
    """Return the name of a picture's file: its number, and its class in letters that any file system takes."""
    plain = re.sub(r"[^\w.-]+", "-", label).strip("-.")[:60]
    return f"{i:0{max(4, len(str(count - 1)))}d}{'-' * bool(plain)}{plain}.png"


def _write(made: Generated, out: Path) -> None:
    """Write every picture, the sheet, and how they were made, as one new folder.

    Raises:
        ResourceError: the disk is full; nothing is left of them.
        UsageError: the folder cannot be written to.
    """
    with new_folder(out) as folder:
        for name, picture in zip(made.names, made.pictures, strict=True):
            write_picture(folder / name, picture[..., 0] if picture.shape[2] < 3 else picture[..., :3])
        write_picture(folder / "grid.png", made.sheet)
        write_json(folder / "generated.json", made.json())
