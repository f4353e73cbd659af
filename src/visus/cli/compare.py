"""``visus compare``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Network, Split

EXAMPLES = ("visus compare runs/mine runs/other photos",)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A model file or a run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a CSV file or a name, as for visus train.")],
    split: Split = None,
    network: Network = None,
    download: Download = False,
    json: Json = False,
) -> None:
    """Tell whether model B is better than model A.

    Both are asked the same pictures; the difference has an interval, and may be noise.
    """
    import visus
    from visus.cli.printing import print_json, print_notes, print_table

    found = visus.compare(a, b, data, split=split, network=network, download=download)
    if json:
        print_json(found.json())
    else:
        if found.differences:
            print_table(found.table())
        print(f"{found.score}: {found.verdict}")
        print_notes(found.notes)
