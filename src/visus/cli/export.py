"""``visus export``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Network

EXAMPLES = (
    "visus export runs/mine --to onnx",
    "visus export runs/mine --to onnx --data photos --out mine.onnx",
    "visus export runs/mine --to executorch --size 224x224",
)


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run folder.")],
    to: Annotated[str, typer.Option(help="onnx, torch, openvino or executorch.")],
    data: Annotated[
        str | None,
        typer.Option(help="Pictures to compare file and weights on; by default the data of the training.",
                     show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file; the model's name by default.", show_default=False)] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HEIGHTxWIDTH", help="Of all pictures; any by default, but for executorch.",
                     show_default=False),
    ] = None,
    pictures: Annotated[int, typer.Option(help="How many pictures are compared.")] = 64,
    network: Network = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Write a model for another runtime, and prove that it says the same.

    Preparing and reading are inside the file.  It is kept only if it says of the pictures what the weights say.
    """
    import visus
    from visus.cli.printing import print_aside, print_json, print_notes, print_table

    made = visus.export(model, to=to, data=data, out=out, size=size, pictures=pictures, network=network)
    if json:
        print_json(made.json())
        return
    print_table(made.table())
    print_notes(made.notes)
    print(f"reads     {made.contract.reads}\nformat    {made.contract.format}")
    for file in made.files:
        print_aside("written", f"{file}, {file.stat().st_size:,} bytes")
