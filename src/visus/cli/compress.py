"""``visus compress``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Network, Quiet
from visus.core.errors import MISSED

EXAMPLES = (
    "visus compress runs/mine",
    "visus compress runs/mine --method int8 --max-drop 1 --out mine.onnx",
    "visus compress runs/mine --target size --minutes 30",
)


def compress(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run folder.")],
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="One of: visus list compressors; all by default.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Pictures to learn from and judge by; by default the data of the training.",
                     show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file; the model's name by default.", show_default=False)] = None,
    max_drop: Annotated[
        float, typer.Option(metavar="POINTS", help="How far the score may fall, at the upper end of its interval.")
    ] = 0.5,
    target: Annotated[str, typer.Option(help="What is to become less: latency or size.")] = "latency",
    minutes: Annotated[
        float | None, typer.Option(help="For all methods that train; without, they are left out.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Instead of minutes: steps of each training.", show_default=False)
    ] = None,
    pictures: Annotated[int, typer.Option(help="Validation pictures that are judged at most.")] = 2000,
    set: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Of distill: model.name=NAME, distill.share=0.9."),
    ] = [],  # noqa: B006  # Typer copies it
    network: Network = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Make a model smaller or faster, and prove how little it loses.

    A form is kept only if its score is shown to fall no further than allowed; else the exit code is 1.
    """
    import visus
    from visus.cli.options import settings
    from visus.cli.printing import print_aside, print_json, print_notes, print_table
    from visus.cli.progress import Progress

    with Progress(quiet=quiet) as watch:
        found = visus.compress(
            model, method=method, data=data, out=out, max_drop=max_drop, target=target,  # type: ignore[arg-type]
            minutes=minutes, steps=steps, set={choice.key: choice.value for choice in settings(set)}, network=network,
            pictures=pictures, watch=watch,
        )  # fmt: skip
    if json:
        print_json(found.json())
    else:
        print_table(found.table())
        print_notes(found.notes)
        print(f"{'kept' if found.path else 'missed':8}  {found.verdict}\npage      {found.page}")
    if found.path is None:
        raise typer.Exit(MISSED)
    print_aside("written", f"{found.path}, {found.path.stat().st_size:,} bytes")
