"""``visus demo``: the main job on real pictures that every installation has."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from visus.core.errors import UsageError
from visus.core.recipe import Choice
from visus.verbs.runs import Run

if TYPE_CHECKING:
    from visus.verbs.assembly import Tell

EPOCHS = 40
"""Looks at each picture: a good model whatever else the machine does meanwhile, and under a minute if it is idle."""


def demo(
    *,
    out: str | Path = "runs/demo",
    minutes: float | None = None,
    watch: Tell | None = None,
    started: float | None = None,
) -> Run:
    """Write scikit-learn's 1,797 handwritten digits as a folder of pictures and train on it as on any other.

    Args:
        out: holds ``photos/`` and ``run-1/``, the next time ``run-2/``.
        minutes: bound of the whole command; by default as long as a good model takes.

    Raises:
        UsageError: ``out`` holds something else already.
    """
    from visus.verbs.choosing import check_wishes
    from visus.verbs.train import train

    started = time.perf_counter() if started is None else started
    length = Choice("epochs", EPOCHS, "a good model of these digits")
    if minutes is not None:
        length = Choice("minutes", minutes, f"--minutes {minutes:g}")
    check_wishes([length])  # before anything is written
    folder = Path(out)
    photos, part = folder / "photos", folder / ".photos-part"
    if not (photos / "train" / "0").is_dir():
        if folder.is_dir() and any(entry != part for entry in folder.iterdir()):
            raise UsageError("USE-021", f"{folder}: there is something else in this folder", fix="visus demo --out DIR")
        shutil.rmtree(part, ignore_errors=True)  # of a demo that was stopped
        write_digits(part)
        part.rename(photos)
    number = 1
    while (folder / f"run-{number}").exists():
        number += 1
    return train(photos, out=folder / f"run-{number}", set=[length], watch=watch, started=started)


def write_digits(photos: Path) -> None:
    """Write the digits as PNG files in class folders: 1,438 to train on and 359 to be judged on, as they come."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    test = np.arange(len(digits.images)) % 5 == 4
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = photos / ("test" if test[i] else "train") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15.9375).astype(np.uint8)).save(place / f"{i:04d}.png")
