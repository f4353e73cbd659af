"""``visus adopt``: weights of other tools become a model file that describes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visus.core.errors import UsageError
from visus.verbs.load import Model, load


def adopt(
    weights: str | Path,
    *,
    model: str,
    classes: Sequence[str] | str | Path = (),
    task: str = "classify",
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fit: str | None = None,
    options: Mapping[str, Any] | None = None,
    licence: str = "",
    out: str | Path | None = None,
) -> Model:
    """Take in a weights file as a model of this house.  A pickle is read by a child process that may not run its code.

    Args:
        weights: ``.safetensors``, ``.pt``, ``.pth``: a state dict, bare or wrapped.
        model: the network they belong to, as for ``train``.
        classes: names in the order of the outputs, or a data set whose names are taken, or a text file with one a line;
            "0", "1", ... by default.
        task: name of the task.
        size: (height, width) the network reads; one number for a square; what such networks usually read by default.
        mean, std: of each channel, for pixels in [0, 1]; what such networks usually see by default.
        fit: ``squash``, ``crop`` or ``pad``.
        options: keyword arguments of the network.
        licence: of the weights, written into the card.
        out: the file to write; beside the weights, with ``.safetensors``, by default.

    Raises:
        DataError: the file cannot be read, or reading it would run code.
        UsageError: the weights are of another network, or the number of names is not that of the outputs.
    """
    from visus import __version__
    from visus.core.modelfile import Card, write_model
    from visus.core.recipe import InputSettings
    from visus.models import adopting
    from visus.models.origins.user_code import is_code

    source = Path(weights)
    taken = adopting.adopt(source, model, options)
    usual_mean, usual_std = taken.usual.statistics(taken.channels)
    reads = InputSettings.model_validate({
        "size": size or taken.usual.size, "channels": taken.channels, "mean": tuple(mean or usual_mean),
        "std": tuple(std or usual_std), "interpolation": taken.usual.interpolation, "margin": taken.usual.margin,
        **({"fit": fit} if fit else {}),
    })  # fmt: skip
    names = _names(classes, taken.architecture.outputs)
    card = Card(
        visus=__version__, task=task, architecture=taken.architecture, classes=names, input=reads, weights=source.name,
        licences={"code": "Apache-2.0", f"weights {source.name}": licence or taken.usual.licence or "unknown"},
    )  # fmt: skip
    target = Path(out) if out is not None else source.with_suffix(".safetensors")
    if target.exists() and out is None:
        raise UsageError("USE-018", f"{target} exists already", fix="--out FILE")
    write_model(target, taken.tensors, card)
    return load(target, model=model if is_code(model) else None)


def _names(classes: Sequence[str] | str | Path, outputs: int) -> tuple[str, ...]:
    """Return one name an output."""
    if isinstance(classes, str | Path):
        path = Path(classes)
        if path.is_dir() or str(classes).startswith("torchvision:"):
            from visus.core.recipe import DataSettings
            from visus.data.reading import open_data

            names = open_data(classes, DataSettings()).classes
        elif path.is_file():
            names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        else:
            names = tuple(part.strip() for part in str(classes).split(",") if part.strip())
    else:
        names = tuple(classes) or tuple(map(str, range(outputs)))
    if len(names) != outputs:
        raise UsageError("USE-019", f"{len(names)} names for {outputs} outputs", where=", ".join(names[:8]),
                         fix=f"--classes with {outputs} names, in the order of the outputs")  # fmt: skip
    return names
