"""``visus info``: arguments and printing."""

from __future__ import annotations

from typing import Annotated

import typer

from visus.cli.options import Json, Network
from visus.core.errors import plain

EXAMPLES = (
    "visus info runs/mine",
    "visus info runs/mine/best.safetensors",
    "visus info runs",
    "visus info photos",
)


def info(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A model, a run or its bundle, a folder of runs, data, or a picture.")
    ],
    replay: Annotated[bool, typer.Option("--replay", help="Repeat the step that a bundle keeps.")] = False,
    network: Network = None,
    json: Json = False,
) -> None:
    """Show what a file or a folder says of itself."""
    import visus
    from visus.cli.printing import print_json, print_table

    found = visus.info(path, replay=replay, network=network)
    if json:
        print_json(found.json())
        return
    print(f"{plain(found.path)}: {found.kind}")
    for table in found.tables():
        print_table(table)
