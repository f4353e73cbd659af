"""Options that several verbs share, and what they mean as settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from visus.core.recipe import Choice

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while it works.")]
Split = Annotated[
    str | None,
    typer.Option(
        help="train, val, test or all. By default the test part; of data that has none, what was held back from the "
        "model, or all of it if the model was not trained on it.",
        show_default=False,
    ),
]
Download = Annotated[bool, typer.Option("--download", help="Allow a data set named torchvision:NAME to be fetched.")]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        "--model",
        help="FILE.py:Class or hub:FOLDER:entry, when the network is your own; stored source is never run",
    ),
]


def Number(help: str, metavar: str = "NUMBER") -> Any:  # noqa: N802  # reads as an annotation, like the others here
    """Return an option whose number the recipe reads, so that every fault of a setting is told in the same words."""
    return typer.Option(metavar=metavar, help=help)


Tiles = Annotated[
    str | None,
    Number("Read large pictures in overlapping tiles of so many of their pixels, as --tiles of train."),
]
Asked = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="How it is asked: flips=true, segment.scales=[0.75,1,1.25]."),
]

SHORT = {
    "lr": "optim.lr",
    "size": "input.size",
    "tiles": "input.tiles",
    "cache": "data.cache",
    "workers": "data.workers",
}
"""Option -> the setting it is short for, where that has another name."""


def settings(sets: list[str], **options: object) -> list[Choice]:
    """Return ``--set`` and the options that are short for one, as choices; options win.

    Args:
        sets: texts ``key=value``.
        options: value by option; ``None`` where it was not given.

    Raises:
        UsageError: a text that is no ``key=value``, or a key that no recipe has.
    """
    from visus.core.recipe import Choice, parse_set

    given = [
        Choice(SHORT.get(name, name), value, f"--{name} {value}")
        for name, value in options.items()
        if value is not None
    ]
    return [*map(parse_set, sets), *given]
