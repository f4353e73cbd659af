"""``visus generate``: arguments and printing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Quiet
from visus.core.errors import UsageError

EXAMPLES = (
    "visus generate runs/mine",
    "visus generate runs/mine --count 100 --seed 7 --out more",
    "visus generate runs/mine --class Bag --class 3 --truncation 0.7 --out bags",
    "visus generate runs/mine --interpolate walk.webp --count 8",
    "visus generate runs/mine --edit directions.png --seed 3",
    "visus generate runs/mine --project photo.png --out found",
)


def generate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run folder.")],
    count: Annotated[int | None, typer.Option(help="How many pictures.  [default: 64]", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    label: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="CLASS", help="By name or number; again for several, which come in turns."),
    ] = None,
    truncation: Annotated[float, typer.Option(help="Below 1: more usual pictures, less varied.")] = 1.0,
    out: Annotated[Path, typer.Option(help="A new folder for the pictures and grid.png.")] = Path("generated"),
    interpolate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The way from picture to picture: .webp, .gif, or a .png strip.")
    ] = None,
    mix: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .png table of pictures with the styles of two.")
    ] = None,
    layers: Annotated[
        str, typer.Option(metavar="FIRST:LAST", help="With --mix: layers whose styles the columns give.")
    ] = "",
    edit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .png: one picture moved along the main directions.")
    ] = None,
    project: Annotated[
        Path | None, typer.Option(metavar="PHOTO", help="Find the picture that is most like a photo.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make pictures with a trained generator."""
    import visus
    from visus.cli.printing import print_aside, print_json
    from visus.cli.progress import Progress
    from visus.verbs.generate import Generated

    with Progress(quiet=quiet) as watch:
        made = visus.generate(
            model, count=count, seed=seed, label=label, truncation=truncation, out=out, interpolate=interpolate,
            mix=mix, layers=layers_of(layers), edit=edit, project=project, watch=watch,
        )  # fmt: skip
    if json:
        print_json(made.json())
    if isinstance(made, Generated):
        print_aside("pictures", f"{len(made.pictures):,} in {out}, side by side in {out / 'grid.png'}")
        return
    if "distance" in made.said:
        print_aside("distance", f"{made.said['distance']} {made.said['unit']}, from {made.said['before']} at first")
    print_aside("pictures", f"{len(made.pictures):,} in {made.file}")
    for note in made.notes:
        print_aside("note", note)


def layers_of(text: str) -> range | None:
    """Return the layers of ``FIRST:LAST``, without the last; None where nothing is said.

    Raises:
        UsageError: it is no such text.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise UsageError(
            "GEN-014", f"--layers {text}: layers are FIRST:LAST", done="nothing was made", fix="--layers 0:4"
        )
    return range(int(found[1]), int(found[2]))
