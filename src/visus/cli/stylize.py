"""``visus stylize``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Quiet

EXAMPLES = (
    "visus stylize photo.jpg painting.jpg",
    "visus stylize photo.jpg painting.jpg --out mine.png --size 1024 --colours content",
    "visus stylize holiday painting.jpg --out painted --strength 0.6",
    "visus stylize photo.jpg painting.jpg --mask sky.png",
    "visus stylize poster.png painting.jpg --size 4096 --tiles 1024",
    "visus stylize holiday/*.jpg --model runs/candy --out painted",
)


def stylize(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="CONTENT... [STYLE]",
            help="Pictures, folders or globs; the last one is the painting, but for a model that learned its own.",
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="A network of the task stylize, which paints in one pass.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .png file, which is replaced, or a folder; CONTENT-STYLE.png here by default.", show_default=False
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Longer side at which it is painted, in pixels; 512, of a model 1024.", show_default=False),
    ] = None,
    style_size: Annotated[
        int | None, typer.Option(help="Longer side of the painting: larger strokes; as --size.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of the optimiser, at half the size and at the whole; 50.", show_default=False),
    ] = None,
    strength: Annotated[float, typer.Option(help="From 0, the content, to 1.")] = 1.0,
    colours: Annotated[str, typer.Option(help="Whose colours: style or content.")] = "style",
    mask: Annotated[
        Path | None, typer.Option(help="A picture that is white where the style shall be.", show_default=False)
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="What is painted over: content, or noise.", show_default=False)
    ] = None,
    tiles: Annotated[
        int | None,
        typer.Option(help="Side of the tiles in which large pictures are seen; 0 for none.", show_default=False),
    ] = None,
    features: Annotated[
        str, typer.Option(metavar="NETWORK", help="By which style is told: a network whose weights are here; random.")
    ] = "auto",
    weights: Annotated[str, typer.Option(metavar="FILE", help="Of that network, where they are a file.")] = "default",
    accept: Annotated[
        list[str] | None, typer.Option(help="A licence of weights that is accepted; nc for any.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of noise and random features.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Paint pictures in the style of another one."""
    import visus
    from visus.cli.printing import print_aside, print_json, print_notes, print_table
    from visus.cli.progress import Progress
    from visus.verbs.stylize import divided

    content, style = divided(pictures, model)
    with Progress(quiet=quiet) as watch:
        found = visus.stylize(
            content, style, model=model, out=out, size=size, style_size=style_size, steps=steps, strength=strength,
            colours=colours, mask=mask, start=start, tiles=tiles, features=features,  # type: ignore[arg-type]
            weights=weights, accept=accept or (), seed=seed, watch=watch,
        )  # fmt: skip
    if json:
        print_json(found.json())
    else:
        print_table(found.table())
        print_notes(found.notes)
    for name, why in found.problems:
        print_aside("not read", f"{name}: {why}")
