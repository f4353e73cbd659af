"""``visus list``: arguments and printing."""

from __future__ import annotations

from typing import Annotated

import typer

from visus.cli.options import Json

EXAMPLES = (
    "visus list settings optim",
    "visus list models 'resnet*'",
)


def list(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="explainers, exporters, formats, losses, models, optimisers, schedules, settings, tasks, ...",
        ),
    ] = "",
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN", help="Part of a name; '*' also lists timm's and torchvision's models, timm's optimisers."
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Show what there is to choose from."""
    import visus
    from visus.cli.printing import print_json, print_table

    table = visus.list(what, pattern)
    if json:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        print_json({what or "lists": rows})
    else:
        print_table(table)
