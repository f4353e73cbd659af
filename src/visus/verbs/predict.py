"""``visus predict``: what a model says about files."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, UsageError
from visus.core.files import write_bytes, write_text

if TYPE_CHECKING:
    from torch import nn

    from visus.core.task import Prediction
    from visus.data.dataset import Images
    from visus.verbs.load import Model

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".avif")
"""Names that are looked at inside a folder; a file that is named itself is tried whatever it is called."""


@dataclass(frozen=True)
class Predictions:
    """What was said, file by file, and which files could not be read.

    Attributes:
        files: as they were named.
        predictions: one a file, None where it could not be read.
        refused: (file, reason).
        drawn: where pictures with the answers were written.
    """

    files: tuple[str, ...]
    predictions: tuple[Prediction | None, ...]
    refused: tuple[tuple[str, str], ...] = ()
    drawn: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[str, Prediction | None]]:
        return iter(zip(self.files, self.predictions, strict=True))

    def json(self) -> dict[str, Any]:
        """Return ``{"predictions": [{"file", "label", "score"}], "refused": [{"file", "why"}]}``."""
        return {
            "predictions": [{"file": file, **said.json()} for file, said in self if said is not None],
            "refused": [{"file": file, "why": why} for file, why in self.refused],
        }

    def csv(self) -> str:
        """Return a table with a line a file; nested values are left out."""
        rows = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in self.json()["predictions"]]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["file"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()


def predict(
    model: str | Path | Model,
    files: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    network: str | nn.Module | None = None,
    batch: int = 32,
) -> Predictions:
    """Return what a model says about pictures.

    Args:
        model: a model file, a run folder, or a loaded model.
        files: files, folders (looked through for pictures) and globs.
        out: folder for drawn pictures, predictions.json and predictions.csv.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        batch: pictures looked at at once.

    Raises:
        DataError: no picture is found, or a file does not exist.
    """
    from visus.data.dataset import FileImages, Strings
    from visus.verbs.load import Model, load

    loaded = model if isinstance(model, Model) else load(model, model=network)
    found = gather([files] if isinstance(files, str | Path) else files)
    source = FileImages(Path(), Strings(found))
    bad: dict[str, str] = {}
    said = dict(answer(loaded, source, found, batch=batch, bad=bad))
    result = Predictions(tuple(found), tuple(said.get(name) for name in found), tuple(bad.items()))
    return _drawn(loaded, source, result, Path(out)) if out is not None else result


def answer(
    model: Model, images: Images, names: Sequence[str], *, batch: int = 32, bad: dict[str, str] | None = None
) -> Iterator[tuple[str, Prediction]]:
    """Yield (name, prediction) of pictures, in their own pixels; those that cannot be read go into ``bad``.

    Raises:
        DataError: one cannot be read and ``bad`` is not given.
    """
    import numpy as np
    import torch

    from visus.data.dataset import Dataset, Strings
    from visus.verbs.assembly import feed

    device = model.device()
    data = Dataset("files", Path(), "files", "named", Strings(names), images, {}, np.zeros(len(names), np.uint8))
    recipe = model.recipe.model_copy(update={"batch": min(batch, max(1, len(names)))})
    with feed(data, np.arange(len(names)), model.task, recipe, device, train=False) as pictures:
        for part in pictures.sweep():
            for name, why in part.bad:
                if bad is None:
                    raise DataError("DATA-021", why, where=name)
                bad[name] = why
            if not len(part):
                continue
            moved = part.to(device.device, device.memory_format)
            with torch.no_grad(), device.autocast():
                raw = {k: v.float() for k, v in model.task.raw(model.network, moved).items()}
            for row, said in enumerate(model.task.decode(raw)):
                yield part.ids[row], said.home(part.frames[row])


def gather(named: Sequence[str | Path]) -> list[str]:
    """Return the files behind files, folders and globs, each once, folders and globs in the order of names.

    Raises:
        DataError: nothing is there.
    """
    found: list[str] = []
    for item in map(os.fspath, named):
        if os.path.isdir(item):
            inside = sorted(
                os.path.join(where, name) for where, _, names in os.walk(item) for name in names
                if name.lower().endswith(SUFFIXES) and not name.startswith("._")
            )  # fmt: skip
            if not inside:
                raise DataError("DATA-022", f"{item}: no picture in this folder", looked=", ".join(SUFFIXES))
            found += inside
        elif os.path.lexists(item):
            found.append(item)
        elif glob.has_magic(item) and (matched := sorted(glob.glob(item, recursive=True))):
            found += [name for name in matched if not os.path.isdir(name)]
        else:
            raise DataError("DATA-001", f"{item}: there is no such file or folder")
    if not found:
        raise UsageError("USE-014", "no file was named", fix="visus predict MODEL FILES...")
    return list(dict.fromkeys(found))


def _drawn(model: Model, images: Images, result: Predictions, out: Path) -> Predictions:
    """Write what was said, as pictures and as tables."""
    from dataclasses import replace

    import numpy as np

    from visus.core.sample import Sample
    from visus.data.pixels import pictures
    from visus.report.pictures import png

    out.mkdir(parents=True, exist_ok=True)
    source = pictures(images, model.recipe.input.channels)
    drawn = []
    for i, (file, said) in enumerate(result):
        if said is not None:
            sample = Sample(file, source.take(np.array([i]), lambda index: None).images[0])
            name = f"{len(drawn):05d}-{Path(file).stem}.png"
            write_bytes(out / name, png(model.task.draw(sample, said)))
            drawn.append(str(out / name))
    write_text(out / "predictions.json", json.dumps(result.json(), indent=1))
    write_text(out / "predictions.csv", result.csv())
    return replace(result, drawn=tuple(drawn))
