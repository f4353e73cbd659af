"""``visus adopt``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json

EXAMPLES = (
    "visus adopt resnet20.pth --model cifar_resnet --classes classes.txt --size 32",
    "visus adopt weights.safetensors --model resnet18 --classes photos",
    "visus adopt version-RFB-320.pth --model ultralight_face --classes face --licence MIT",
    "visus adopt fasterrcnn.pth --model faster_rcnn:mobilenet_v3_large --classes coco.txt",
    "visus adopt faces.safetensors --model stylegan2 --out faces-model.safetensors",
)


def adopt(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="A .safetensors, .pt or .pth file with a state dict.")
    ],
    model: Annotated[str, typer.Option(help="The network the weights belong to.")],
    classes: Annotated[str, typer.Option(help="Names: a,b,c, a file with one a line, or a data set.")] = "",
    task: Annotated[str, typer.Option(help="Of the model; what its network is for by default.")] = "",
    size: Annotated[str | None, typer.Option(help="Of its input: 96, or 224x320 (height x width).")] = None,
    mean: Annotated[str | None, typer.Option(help="Of each channel, for pixels in [0, 1]: 0.5,0.5,0.5.")] = None,
    std: Annotated[str | None, typer.Option(help="Of each channel: 0.5,0.5,0.5.")] = None,
    fit: Annotated[str | None, typer.Option(help="squash, crop or pad.")] = None,
    set: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="An option of the network.")] = [],  # noqa: B006
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "",
    out: Annotated[Path | None, typer.Option(help="File to write.")] = None,
    json: Json = False,
) -> None:
    """Take in weights of another tool as a model file.

    A pickle is read by a child process that may not run its code.
    """
    import visus
    from visus.cli.printing import print_json
    from visus.core.recipe import parse_option

    found = visus.adopt(
        weights, model=model, classes=classes, task=task, size=size, mean=_numbers("mean", mean),
        std=_numbers("std", std), fit=fit, options=dict(map(parse_option, set)), licence=licence, out=out,
    )  # fmt: skip
    if json:
        print_json(
            {"model": str(found.path), "classes": list(found.classes), "card": found.card.model_dump(mode="json")}
        )
    else:
        many = len(found.classes)
        known = "1 class" if many == 1 else f"{many:,} classes" if many else "pictures without classes"
        print(f"{found.path}: {found.card.architecture.name} of {known}")


def _numbers(name: str, text: str | None) -> list[float] | None:
    from visus.core.errors import UsageError

    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError("USE-003", f"--{name} {text}: not numbers with commas", fix=f"--{name} 0.5,0.5,0.5") from error
