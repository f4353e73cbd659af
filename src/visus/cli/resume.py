"""``visus resume``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Quiet

EXAMPLES = ("visus resume runs/mine",)


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    data: Annotated[str | None, typer.Option(metavar="DATA", help="Where the data lies now, if it was moved.")] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although data, machine or versions changed.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run, bit for bit.

    It continues from its newest complete state; a run that has ended says so.
    """
    import visus
    from visus.cli import STARTED
    from visus.cli.printing import print_run
    from visus.cli.progress import Progress

    with Progress(quiet=quiet) as progress:
        ended = visus.resume(run, data=data, accept_changes=accept_changes, watch=progress, started=STARTED)
    print_run(ended, json=json)
