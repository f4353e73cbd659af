"""``visus evaluate``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Network, Split


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model file or a run folder.")],
    data: Annotated[str, typer.Argument(help="As for train.")],
    split: Split = "test",
    network: Network = None,
    batch: Annotated[int, typer.Option(help="Pictures looked at at once; as trained by default.")] = 0,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16; as trained by default.")] = None,
    download: Download = False,
    json: Json = False,
) -> None:
    """Measure a model on a part of a data set: every score with its 95 % interval."""
    import visus
    from visus.cli.progress import print_json, print_scores

    found = visus.evaluate(
        model, data, split=split, network=network, batch=batch, precision=precision, download=download
    )
    if json:
        print_json(found.json())
        return
    print_scores(f"{found.model} on {found.split} of {found.data}", found.scores)
    print(
        f"{found.n:,} pictures in {found.seconds:.1f} s"
        + (f", {len(found.bad)} could not be read" if found.bad else "")
    )
    for name, why in found.bad[:5]:
        print(f"  {name}: {why}")
