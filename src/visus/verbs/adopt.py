"""``visus adopt``: weights of other tools become a model file that describes itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import UsageError
from visus.report.words import plural
from visus.verbs.load import Model, load

if TYPE_CHECKING:
    from torch import nn

EVEN = 0.5
"""Score from which on an object is shown where no validation part said which is best."""


def adopt(
    weights: str | Path | nn.Module,
    *,
    model: str,
    classes: Sequence[str] | str | Path = (),
    task: str = "",
    size: int | str | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fit: str | None = None,
    options: Mapping[str, Any] | None = None,
    licence: str = "",
    out: str | Path | None = None,
) -> Model:
    """Take in weights as a model of this house.  A pickle is read by a child process that may not run its code.

    Args:
        weights: ``.safetensors``, ``.pt``, ``.pth``: a state dict, bare or wrapped; or a module that holds them.
        model: the network they belong to, as for ``train``.
        classes: names in the order of the outputs, or a data set whose names are taken, or a text file with one a line;
            "0", "1", ... by default.
        task: name of the task; what the network is for by default: ``classify``, ``detect``, ``generate``.
        size: (height, width) the network reads, or "224x320"; one number for a square; what such networks usually read
            by default.
        mean, std: of each channel, for pixels in [0, 1]; what such networks usually see by default.
        fit: ``squash``, ``crop`` or ``pad``.
        options: keyword arguments of the network.
        licence: of the weights, written into the card.
        out: the file to write; beside the weights, with ``.safetensors``, by default; a module's must be named.

    Raises:
        DataError: the file cannot be read, or reading it would run code.
        UsageError: the weights are of another network, a size, mean, deviation or fit that nothing can have, or names
            that are not one for each output, each another.
    """
    from visus import __version__
    from visus.core.modelfile import Card, write_model
    from visus.core.recipe import Choice, Draft
    from visus.models import adopting
    from visus.models.detectors import DETECTORS
    from visus.models.generators import GENERATORS
    from visus.models.origins import backbone_of
    from visus.models.origins.user_code import is_code
    from visus.models.segmenters import SEGMENTERS
    from visus.transforms.pipeline import build

    source = Path(weights) if isinstance(weights, str | Path) else weights
    title = source.name if isinstance(source, Path) else type(source).__name__
    if out is not None:
        target = Path(out)
    elif isinstance(source, Path):
        target = source.with_suffix(".safetensors")
    else:
        raise UsageError("USE-018", f"a {title} has no place of its own", fix="out=FILE")
    said = {"size": size, "mean": mean, "std": std, "fit": fit}
    draft = Draft(Choice(f"input.{key}", value, f"--{key}") for key, value in said.items() if value is not None)
    taken = adopting.adopt(source, model, options)
    usual_mean, usual_std = taken.usual.statistics(taken.channels)
    upper = backbone_of(model)[0]
    finds = upper in DETECTORS
    makes = model in GENERATORS
    task = task or ("detect" if finds else "segment" if upper in SEGMENTERS else "generate" if makes else "classify")
    usual: dict[str, Any] = {"fit": "pad"} if upper else {}
    usual |= {
        "size": taken.usual.size, "channels": taken.channels, "mean": usual_mean, "std": usual_std,
        "interpolation": taken.usual.interpolation, "margin": taken.usual.margin,
    }  # fmt: skip
    for key, value in usual.items():
        draft.choose(Choice(f"input.{key}", value, "usual of such networks"))
    reads = draft.finish().input
    build(reads)  # refuses as many means as there are no channels for
    names = _names(classes, taken.architecture.outputs)
    card = Card(
        recipe=_settings(task, model, taken.channels, names) | dict(taken.settings),
        calibration={"threshold": EVEN} if finds else {},
        visus=__version__, task=task, architecture=taken.architecture, classes=names, input=reads, weights=title,
        licences={"code": "Apache-2.0", f"weights {title}": licence or taken.usual.licence or "unknown"},
    )  # fmt: skip
    if target.exists() and out is None:
        raise UsageError("USE-018", f"{target} exists already", fix="--out FILE")
    write_model(target, taken.tensors, card)
    return load(target, model=model if is_code(model) else None)


def _settings(task: str, model: str, channels: int, names: Sequence[str]) -> dict[str, Any]:
    """Return the settings by which a task of several kinds of networks knows this one: name, losses, its own section.

    Raises:
        UsageError: no such task.
    """
    from visus.core.recipe import SECTIONS, Facts
    from visus.tasks import TASKS

    if task not in SECTIONS:
        return {}
    facts = Facts("", tuple(names), (), 1, (), channels, wanted={"model.name": model})
    chosen = TASKS[task].defaults(facts)
    kept = {choice.key: choice.value for choice in chosen if choice.key.partition(".")[0] in ("loss", task)}
    return {"model.name": model, **kept}


def _names(classes: Sequence[str] | str | Path, outputs: int) -> tuple[str, ...]:
    """Return one name an output."""
    if not classes:
        names = tuple(map(str, range(outputs)))
    elif isinstance(classes, str | Path):
        path = Path(classes)
        if os.path.isdir(path) or str(classes).startswith("torchvision:"):  # noqa: PTH112  # a list is too long a name
            from visus.core.recipe import DataSettings
            from visus.data.reading import open_data

            names = open_data(classes, DataSettings()).classes
        elif os.path.isfile(path):  # noqa: PTH113  # for pathlib, which raises
            names = tuple(line.strip() for line in _text(path).splitlines() if line.strip())
        else:
            names = tuple(part.strip() for part in str(classes).split(",") if part.strip())
    else:
        names = tuple(classes)
    if len(names) != outputs:
        raise UsageError("USE-019", f"{plural(len(names), 'name')} for {plural(outputs, 'output')}",
                         where=", ".join(names[:8]),
                         fix=f"--classes with {plural(outputs, 'name')}, in the order of the outputs")  # fmt: skip
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(
            "USE-019", f"two outputs have the name {twice[0]!r}", fix="--classes with a name for each output"
        )
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("USE-019", f"{path}: the names are not UTF-8", fix="save the file as UTF-8") from error
