"""``visus convert``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json

EXAMPLES = ("visus convert photos --to coco --out photos_coco", "visus convert photos --to yolo --out flat --lossy")


def convert(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a file or a name, as for visus train.")],
    place: Annotated[Path | None, typer.Argument(metavar="OUT", help="A folder that is free.")] = None,
    to: Annotated[str, typer.Option(help="coco, yolo, voc, masks or csv.")] = "",
    out: Annotated[Path | None, typer.Option(help="The same as OUT.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Write even what cannot be held entirely.")] = False,
    format: Annotated[str, typer.Option(help="The format of DATA; recognised by default.")] = "auto",
    download: Download = False,
    json: Json = False,
) -> None:
    """Write a data set in another format, or tell what that would lose.

    Pictures are copied; what was written is read back and compared.
    """
    from visus.core.errors import UsageError

    free = place or out
    if not to or free is None or (place and out):
        raise UsageError("USE-052", "converting needs a format and a place", fix="visus convert DATA --to coco OUT")
    import visus
    from visus.cli.printing import print_aside, print_json

    done = visus.convert(data, to=to, out=free, format=format, lossy=lossy, download=download)
    if json:
        print_json(done.json())
    else:
        objects = f", {done.objects:,} objects" if done.objects else ""
        print(f"{done.out}: {done.pictures:,} pictures{objects}, {done.format} to {done.to}")
        if not done.lost:
            print("read back, everything is there")
    for lost in done.lost:
        print_aside("lost", lost)
    for note in done.notes:
        print_aside("note", note)
