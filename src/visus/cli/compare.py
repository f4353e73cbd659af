"""``visus compare``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Split


def compare(
    a: Annotated[Path, typer.Argument(help="A model file or a run folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    data: Annotated[str, typer.Argument(help="As for train.")],
    split: Split = "test",
    download: Download = False,
    json: Json = False,
) -> None:
    """Tell whether B is better than A on the same pictures, or whether it is noise."""
    import visus
    from visus.cli.progress import print_comparison, print_json

    found = visus.compare(a, b, data, split=split, download=download)
    print_json(found.json()) if json else print_comparison(found)
