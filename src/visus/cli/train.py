"""``visus train``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Download, Json, Quiet, settings


def train(
    data: Annotated[str, typer.Argument(help="A folder, a CSV file, or a name: digits, torchvision:CIFAR10.")],
    task: Annotated[str | None, typer.Option(help="classify, regress; found from what the data knows.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A network by name, or FILE.py:Class. See: visus list models.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME-N by default.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Bound of the whole command.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Times the training part is seen.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    set: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated.")] = [],  # noqa: B006
    recipe: Annotated[Path | None, typer.Option(help="A YAML file with settings.")] = None,
    lr: Annotated[str | None, typer.Option(help="Learning rate, or auto for a range test.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    size: Annotated[str | None, typer.Option(help="Of the network's input: 96, or 224x320 (height x width).")] = None,
    cache: Annotated[str | None, typer.Option(help="Of decoded pictures: auto, off, memory or disk.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that read and augment; the result does not depend on it.")
    ] = None,
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
    """Train on a folder of pictures, judge on its test part, write a report."""
    import visus
    from visus.cli import STARTED
    from visus.cli.progress import Progress, show_run

    chosen = settings(set, lr=lr, batch=batch, size=size, cache=cache, workers=workers, tensorboard=tensorboard)
    asked = {"task": task, "model": model, "minutes": minutes, "epochs": epochs, "steps": steps, "seed": seed,
             "set": chosen, "recipe": recipe, "download": download}  # fmt: skip
    if print_recipe:
        from visus.verbs.train import plan

        settled = plan(data, **asked)
        print(settled.model_dump_json() if json else settled.show())
        return
    with Progress(quiet=quiet) as progress:
        run = visus.train(data, out=out, allow_leak=allow_leak, watch=progress, started=STARTED, **asked)
    show_run(run, json=json)
