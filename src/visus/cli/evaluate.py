"""``visus evaluate``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Asked, Download, Json, Network, Split, Tiles, settings
from visus.core.errors import BAD_DATA

EXAMPLES = (
    "visus evaluate runs/mine photos",
    "visus evaluate runs/mine other_photos --split all --json",
    "visus evaluate --predictions results.json instances_val2017.json",
    "visus evaluate --predictions mine.json --compare theirs.json instances_val2017.json",
)


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="A model file or a run folder; left out with --predictions."),
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="A folder, a CSV file or a name, as for visus train.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Anyone's boxes, judged in place of a model: a COCO results file.", show_default=False),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="Another results file: what makes it better or worse is told.", show_default=False),
    ] = None,
    split: Split = None,
    network: Network = None,
    batch: Annotated[int, typer.Option(help="Pictures looked at at once; as trained by default.")] = 0,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16; as trained by default.")] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="Of a generator: judge by the features of this classifier, and by the classes it sees.",
            show_default=False,
        ),
    ] = None,
    tiles: Tiles = None,
    set: Asked = None,
    download: Download = False,
    json: Json = False,
) -> None:
    """Measure a model, or anyone's boxes: scores with intervals."""
    import visus
    from visus.cli.printing import print_evaluation, print_json

    if predictions is not None and data is None:
        model, data = None, model
    found = visus.evaluate(
        model, data, predictions=predictions, compare=compare, split=split, network=network, batch=batch,
        precision=precision, download=download, classifier=classifier,
        set={choice.key: choice.value for choice in settings(set or [], tiles=tiles)},
    )  # fmt: skip
    print_json(found.json()) if json else print_evaluation(found)
    if not found.readable:
        raise typer.Exit(BAD_DATA)
