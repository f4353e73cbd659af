"""``visus generate``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json

EXAMPLES = (
    "visus generate runs/mine",
    "visus generate runs/mine --count 100 --seed 7 --out more",
    "visus generate runs/mine --class Bag --class 3 --truncation 0.7 --out bags",
)


def generate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run folder.")],
    count: Annotated[int, typer.Option(help="How many pictures.")] = 64,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    label: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="CLASS", help="By name or number; again for several, which come in turns."),
    ] = None,
    truncation: Annotated[float, typer.Option(help="Below 1: more usual pictures, less varied.")] = 1.0,
    out: Annotated[Path, typer.Option(help="A new folder for the pictures and grid.png.")] = Path("generated"),
    json: Json = False,
) -> None:
    """Make pictures with a trained generator."""
    import visus
    from visus.cli.printing import print_aside, print_json

    made = visus.generate(model, count=count, seed=seed, label=label, truncation=truncation, out=out)
    if json:
        print_json(made.json())
    print_aside("pictures", f"{len(made.pictures):,} in {out}, side by side in {out / 'grid.png'}")
