"""``visus demo``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json, Quiet
from visus.core.errors import quoted

EXAMPLES = (
    "visus demo",
    "visus demo --out /tmp/look --minutes 2",
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/demo"),
    minutes: Annotated[
        float | None, typer.Option(help="Bound of the whole command; by default as long as a good model takes.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do the main job on 1,797 handwritten digits.

    They are real ones, which come with scikit-learn; it takes about a minute.
    """
    import visus
    from visus.cli import STARTED
    from visus.cli.printing import print_run
    from visus.cli.progress import Progress

    with Progress(quiet=quiet) as progress:
        run = visus.demo(out=out, minutes=minutes, watch=progress, started=STARTED)
    print_run(run, json=json, files=quoted(out / "photos" / "test" / "3"))
    if not json:
        print("          visus train PHOTOS, a folder of your own with one sub-folder a class")
