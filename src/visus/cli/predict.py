"""``visus predict``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Asked, Json, Network, Tiles, settings
from visus.core.errors import BAD_DATA, UsageError

EXAMPLES = (
    "visus predict runs/mine new.jpg more_photos",
    'visus predict runs/mine "holiday/*.jpg" --out said',
    "visus predict runs/mine more_photos --csv > said.csv",
    "visus predict runs/mine more_photos --out found --to yolo",
    "visus predict runs/mine large.tif --tiles 640 --set flips=true --out said",
    "visus predict runs/mine photos/val --out found --to coco --numbers instances_val.json --least 0.01",
)


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run folder.")],
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Files, folders and globs.")],
    out: Annotated[Path | None, typer.Option(help="Folder for drawn pictures, predictions.json and .csv.")] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Write it also as data: objects as coco, yolo, voc or csv, regions as coco."),
    ] = None,
    numbers: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="A COCO file whose numbers --to coco takes, so that it judges results.json."),
    ] = None,
    least: Annotated[
        float | None, typer.Option(help="Score from which on objects are shown; that of the best F1 by default.")
    ] = None,
    tiles: Tiles = None,
    set: Asked = None,
    network: Network = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Json = False,
) -> None:
    """Say what is on pictures."""
    if csv and json:
        raise UsageError("USE-037", "--csv and --json each want the whole of stdout", fix="give one of the two")
    import visus
    from visus.cli.printing import print_aside, print_json, print_table

    asked = {choice.key: choice.value for choice in settings(set or [], tiles=tiles)}
    found = visus.predict(
        model, files, out=out, to=to, numbers=numbers, least=least, network=network, set=asked, keep=False
    )
    if json:
        print_json(found.json())
    elif csv:
        print(found.csv(), end="")
    elif any(said is not None for _, said in found):
        print_table(found.table())
    for note in found.notes:
        print_aside("note", note)
    for name, why in found.problems:
        print_aside("not read", f"{name}: {why}")
    if found.drawn:
        print_aside("drawn", f"{len(found.drawn):,} in {out}")
    if found.data:
        print_aside("data", found.data)
    if not found.readable:
        raise typer.Exit(BAD_DATA)
