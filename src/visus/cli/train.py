"""``visus train``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Number, Quiet, settings

EXAMPLES = (
    "visus train photos",
    "visus train photos --minutes 5 --out runs/mine",
    "visus train table.csv --epochs 20 --set optim.lr=3e-4 --set loss=focal",
    "visus train photos --model my_net.py:MyNet --size 64",
    "visus train photos --print-recipe",
)


def train(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder, a CSV file, or a name: digits, torchvision:CIFAR10.")
    ],
    task: Annotated[str | None, typer.Option(help="One of visus list tasks; found from what the data knows.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A name from visus list models, FILE.py:Class, or hub:FOLDER:entry.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME-N by default.")] = None,
    minutes: Annotated[str | None, Number("Minutes the whole command may take, report included.")] = None,
    epochs: Annotated[str | None, Number("How often each training picture is seen.")] = None,
    steps: Annotated[str | None, Number("Steps of the optimiser. At most one of these three.")] = None,
    seed: Annotated[str | None, Number("From which everything random derives.")] = None,
    set: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of visus list settings; may be repeated."),
    ] = [],  # noqa: B006  # Typer copies it
    recipe: Annotated[Path | None, typer.Option(help="A YAML file with settings, such as a run's recipe.yaml.")] = None,
    lr: Annotated[str | None, Number("Learning rate, or auto for a range test.", "RATE")] = None,
    batch: Annotated[str | None, Number("Images a step.")] = None,
    size: Annotated[str | None, Number("Of the network's input: 96, or 224x320 (height x width).", "SIZE")] = None,
    tiles: Annotated[
        str | None,
        typer.Option(help="Read large pictures in overlapping tiles of so many pixels; auto where the data needs it."),
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Of decoded pictures: auto, off, memory or disk.")] = None,
    workers: Annotated[str | None, Number("Processes that read; the result does not depend on it.")] = None,
    tensorboard: Annotated[bool | None, typer.Option("--tensorboard", help="Also write TensorBoard events.")] = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Show every setting with its origin, and stop.")
    ] = False,
    download: Download = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Train although a picture or a group is in two splits.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on a folder of pictures, judge, report.

    Everything that is not said is chosen for the data and the machine, and told with its reason.
    """
    import visus
    from visus.cli import STARTED
    from visus.cli.printing import print_json, print_run
    from visus.cli.progress import Progress
    from visus.verbs.train import plan

    chosen = settings(
        set, minutes=minutes, epochs=epochs, steps=steps, seed=seed, lr=lr, batch=batch, size=size, tiles=tiles,
        cache=cache, workers=workers, tensorboard=tensorboard,
    )  # fmt: skip
    if print_recipe:
        settled = plan(data, task=task, model=model, set=chosen, recipe=recipe, download=download)
        print_json(settled.model_dump(mode="json")) if json else print(settled.show())
        return
    with Progress(quiet=quiet) as progress:
        run = visus.train(
            data, task=task, model=model, out=out, set=chosen, recipe=recipe, download=download,
            allow_leak=allow_leak, watch=progress, started=STARTED,
        )  # fmt: skip
    print_run(run, json=json)
