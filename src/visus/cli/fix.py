"""``visus fix``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Json

EXAMPLES = ("visus fix photos check/fixes.json --out photos-fixed", "visus fix --undo photos-fixed")


def fix(
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help="A folder or a table.")] = None,
    fixes: Annotated[
        Path | None, typer.Argument(metavar="FIXES", help="A list of fixes; visus check --labels writes one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder for the copy with the fixes.")] = None,
    undo: Annotated[Path | None, typer.Option(metavar="DIR", help="Take the fixes in this copy back.")] = None,
    json: Json = False,
) -> None:
    """Apply fixes of labels to a copy of the data, or take them back.

    The data itself is never written to; a copy whose fixes are taken back is the original, byte for byte.
    """
    import visus
    from visus.cli.printing import print_aside, print_json
    from visus.core.errors import quoted

    done = visus.fix(data, fixes, out=out, undo=undo)
    if json:
        print_json(done.json())
    else:
        print(done.summary)
        if not done.undone:
            print(f"next      visus train {quoted(done.data)}")
        if done.undoable:
            print(f"undo      visus fix --undo {quoted(done.folder)}")
    for lost in done.lost:
        print_aside("lost", lost)
    for name in done.left:
        print_aside("left out", f"{name}: no file that could be copied")
