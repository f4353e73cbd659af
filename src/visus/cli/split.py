"""``visus split``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Quiet

EXAMPLES = (
    "visus split photos --out photos_split",
    "visus split faces --group auto --test 0.3 --out faces_split",
    "visus split labels.csv --group patient --seed 7 --out clean --copy",
)


def split(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a file or a name, as for visus train.")],
    out: Annotated[Path, typer.Option(help="A folder that is free, outside the data.")],
    group: Annotated[
        str,
        typer.Option(metavar="auto|none|COLUMN", help="What stays whole: what is stated or names tell, or a column."),
    ] = "auto",
    validation: Annotated[float, typer.Option(metavar="SHARE", help="Of all pictures.")] = 0.1,
    test: Annotated[float, typer.Option(metavar="SHARE", help="Of all pictures.")] = 0.2,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="From which the draw derives.")] = 0,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the pictures instead of making hard links.")] = False,
    format: Annotated[str, typer.Option(help="The format of DATA; recognised by default.")] = "auto",
    download: Download = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Divide data into train, val and test so that nothing leaks, in a folder of its own.

    Pictures that are the same, or nearly, stay together, and so do groups: people, scenes, videos.
    """
    import visus
    from visus.cli.printing import print_aside, print_json, print_notes

    done = visus.split(
        data, out=out, group=group, validation=validation, test=test, seed=seed, copy=copy, format=format,
        download=download, watch=None if quiet else lambda row: print_aside("data", str(row["note"])),
    )  # fmt: skip
    if json:
        print_json(done.json())
        return
    print(done.summary)
    print_notes(done.notes)
