"""``visus info``: arguments and printing."""

from __future__ import annotations

from typing import Annotated

import typer

from visus.cli.options import Json


def info(
    path: Annotated[str, typer.Argument(help="A model file, a run folder, a data set or a picture.")],
    json: Json = False,
) -> None:
    """Show what a file or a folder says of itself."""
    import visus
    from visus.cli.progress import print_json, print_table

    found = visus.info(path)
    if json:
        print_json(found.json())
        return
    print(f"{found.path}: {found.kind}")
    for table in found.tables():
        print_table(table)
