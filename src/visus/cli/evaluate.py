"""``visus evaluate``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Network, Split
from visus.core.errors import BAD_DATA

EXAMPLES = (
    "visus evaluate runs/mine photos",
    "visus evaluate runs/mine other_photos --split all --json",
)


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a CSV file or a name, as for visus train.")],
    split: Split = None,
    network: Network = None,
    batch: Annotated[int, typer.Option(help="Pictures looked at at once; as trained by default.")] = 0,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16; as trained by default.")] = None,
    download: Download = False,
    json: Json = False,
) -> None:
    """Measure a model: every score with its interval."""
    import visus
    from visus.cli.printing import print_evaluation, print_json

    found = visus.evaluate(
        model, data, split=split, network=network, batch=batch, precision=precision, download=download
    )
    print_json(found.json()) if json else print_evaluation(found)
    if not found.readable:
        raise typer.Exit(BAD_DATA)
