"""``visus explain``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Network
from visus.core.errors import BAD_DATA

EXAMPLES = (
    "visus explain runs/mine new.jpg",
    "visus explain runs/mine photos --class cat --method occlusion",
    'visus explain runs/cells "slides/*.jpg" --most 2 --out why',
)


def explain(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run folder.")],
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Files, folders and globs.")],
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="grad_cam by default, and layer_cam for objects; visus list explainers."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--class", "--label", metavar="NAME", help="What is explained; what the model says by default."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where in the network is looked; by default chosen and told.")
    ] = None,
    most: Annotated[int, typer.Option(help="Answers explained of one picture at most, such as boxes.")] = 4,
    least: Annotated[
        float | None, typer.Option(help="Score from which on an object is found; that of the best F1 by default.")
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Measure whether each map can be believed.")] = True,
    nearest: Annotated[int, typer.Option(help="Training pictures most like each that are told.")] = 5,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="The training pictures, if they lie elsewhere than the run says.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also draw the network's first filters, and its maps of each picture.")
    ] = False,
    batch: Annotated[int, typer.Option(help="Versions of a picture looked at at once.")] = 16,
    out: Annotated[Path, typer.Option(help="Folder for overlays, explanations.json and report.html.")] = Path(
        "explained"
    ),
    network: Network = None,
    json: Json = False,
) -> None:
    """Say why a model says what it says of pictures, and whether that can be believed."""
    import visus
    from visus.cli.printing import print_aside, print_json, print_table

    found = visus.explain(
        model, files, method=method, label=label, layer=layer, most=most, least=least, check=check, nearest=nearest,
        data=data, layers=layers, batch=batch,
        out=out, network=network,
    )  # fmt: skip
    if json:
        print_json(found.json())
    else:
        print_table(found.table())
        print(found.summary())
    for note in found.notes:
        print_aside("note", note)
    for name, why in found.problems:
        print_aside("left out", f"{name}: {why}")
    if not found.readable:
        raise typer.Exit(BAD_DATA)
