"""``visus check``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Quiet, settings

EXAMPLES = (
    "visus check photos",
    "visus check photos --augment --out checked",
    "visus check photos --labels --json",
    "visus check table.csv --set data.max_bad=0.05",
)

WIDE = 120
"""Characters of a line where findings are not printed to a terminal."""


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a file or a name, as for visus train.")],
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Also train small models that point at wrong classes, boxes or masks: takes minutes."
        ),
    ] = False,
    augment: Annotated[
        bool, typer.Option("--augment", help="Also show, on the page, what training does to pictures.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for check.html, a page with the pictures.")] = None,
    set: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of visus list settings; may be repeated."),
    ] = [],  # noqa: B006  # Typer copies it
    download: Download = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what is wrong with pictures and labels.

    Nothing is changed. Ends with 1 where errors were found, 3 where training would stop at unreadable pictures.
    """
    import visus
    from visus.cli.printing import print_json, print_table
    from visus.cli.progress import Progress
    from visus.core.errors import plain, quoted

    with Progress(quiet=quiet) as progress:
        found = visus.check(
            data, labels=labels, augment=augment, out=out, set=settings(set), download=download, watch=progress
        )
    if json:
        print_json(found.json())
    else:
        print(plain(found.summary()))
        if found.findings:
            print_table(found.table(), piped=WIDE)
        print(f"page      {found.page}" if found.page else "page      --out DIR writes one with the pictures")
        if found.fixes:
            print(f"fixes     {found.fixes}: edit it, then visus fix {quoted(data)} {quoted(found.fixes)} --out COPY")
    if found.exit:
        raise typer.Exit(found.exit)
