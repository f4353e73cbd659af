"""``visus train``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Quiet, settings


def train(
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or a name: digits, torchvision:CIFAR10.")],
    task: Annotated[str | None, typer.Option(help="classify, regress; found from what the data knows.")] = None,
    model: Annotated[str | None, typer.Option(help="A name from visus list models, or FILE.py:Class.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME-N by default.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Bound of the whole command.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Times the training part is seen.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    set: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated.")] = [],  # noqa: B006  # Typer copies it
    recipe: Annotated[Path | None, typer.Option(help="A YAML file with settings.")] = None,
    lr: Annotated[str | None, typer.Option(help="Learning rate, or auto for a range test.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    size: Annotated[str | None, typer.Option(help="Of the network's input: 96, or 224x320 (height x width).")] = None,
    cache: Annotated[str | None, typer.Option(help="Of decoded pictures: auto, off, memory or disk.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read; the result does not depend on it.")] = None,
    tensorboard: Annotated[bool | None, typer.Option("--tensorboard", help="Also write TensorBoard events.")] = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Show every setting with its origin, and stop.")
    ] = False,
    download: Download = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Train although a picture is in two splits.")
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

    chosen = settings(set, lr=lr, batch=batch, size=size, cache=cache, workers=workers, tensorboard=tensorboard)
    if print_recipe:
        settled = plan(
            data, task=task, model=model, minutes=minutes, epochs=epochs, steps=steps, seed=seed, set=chosen,
            recipe=recipe, download=download,
        )  # fmt: skip
        print_json(settled.model_dump(mode="json")) if json else print(settled.show())
        return
    with Progress(quiet=quiet) as progress:
        run = visus.train(
            data, task=task, model=model, out=out, minutes=minutes, epochs=epochs, steps=steps, seed=seed, set=chosen,
            recipe=recipe, download=download, allow_leak=allow_leak, watch=progress, started=STARTED,
        )  # fmt: skip
    print_run(run, json=json)
