"""``visus demo``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Quiet


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/demo"),
    minutes: Annotated[float, typer.Option(help="Bound of the whole command.")] = 0.75,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do the main job on 1,797 handwritten digits.

    They are real ones, which come with scikit-learn; it takes less than a minute.
    """
    import visus
    from visus.cli import STARTED
    from visus.cli.printing import print_run
    from visus.cli.progress import Progress

    with Progress(quiet=quiet) as progress:
        run = visus.demo(out=out, minutes=minutes, watch=progress, started=STARTED)
    print_run(run, json=json)
