"""``visus train``: from a folder of pictures to a judged model."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, UsageError
from visus.core.files import write_text
from visus.core.recipe import Choice, Recipe, read_settings
from visus.verbs.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from visus.data.dataset import Dataset
    from visus.verbs.assembly import Tell


def train(
    data: str | Path,
    *,
    task: str | None = None,
    model: str | nn.Module | None = None,
    out: str | Path | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    set: Mapping[str, Any] | Sequence[Choice] | None = None,
    recipe: str | Path | None = None,
    download: bool = False,
    allow_leak: bool = False,
    watch: Tell | None = None,
    started: float | None = None,
) -> Run:
    """Train a model on a data set, judge it on the test part, and write a report.

    Args:
        data: a folder, a CSV file, or a name such as ``torchvision:CIFAR10`` or ``digits``.
        task: name of the task; found from what the data knows.
        model: a network by name, ``FILE.py:Class``, or a module of your own that maps images (B, C, H, W) to (B, K).
        out: folder of the run; ``runs/NAME-N`` by default.
        minutes: bound of the whole command; or ``epochs``, or ``steps``: at most one of them.
        seed: of everything random.
        set: settings by dotted key, ``{"optim.lr": 3e-4}``, or choices that say where they come from.
        recipe: a YAML file with settings; ``set`` and the arguments win over it.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.
        allow_leak: train although the same picture is in two splits.
        watch: told what happens: rows of the log, events, notes.
        started: ``time.perf_counter`` at which the budget began; now by default.

    Raises:
        UsageError: bad usage or settings; nothing was started.
        DataError: data that cannot be read, or that leaks from one split into another.
        LockedError: another run holds the folder.
        BadDataLimit, ResourceError, DivergedError, Interrupted: the run stopped, with its state kept.
    """
    started = time.perf_counter() if started is None else started
    tell = watch or _silent
    wanted, given = wishes(
        task=task, model=model, minutes=minutes, epochs=epochs, steps=steps, seed=seed, set=set, recipe=recipe
    )
    settled, dataset, _ = prepare(data, wanted, given=given, download=download, allow_leak=allow_leak, tell=tell)
    return _run(settled, dataset, data, out, given, download, started, tell)


def plan(data: str | Path, *, download: bool = False, **arguments: Any) -> Recipe:
    """Return the recipe that ``train`` would use, without training.  Takes the arguments of ``train``."""
    wanted, given = wishes(**arguments)
    return prepare(data, wanted, given=given, download=download, allow_leak=True, tell=_silent)[0]


def wishes(
    *, task: str | None = None, model: str | nn.Module | None = None, minutes: float | None = None,
    epochs: float | None = None, steps: int | None = None, seed: int | None = None,
    set: Mapping[str, Any] | Sequence[Choice] | None = None, recipe: str | Path | None = None,
) -> tuple[list[Choice], nn.Module | None]:  # fmt: skip
    """Return what the user said as choices, the later ones winning, and the module that was given."""
    choices = read_settings(Path(recipe)) if recipe is not None else []
    choices += [Choice(k, v, "set") for k, v in set.items()] if isinstance(set, Mapping) else list(set or ())
    named = model if isinstance(model, str) else None
    said = {"task": task, "model.name": named, "minutes": minutes, "epochs": epochs, "steps": steps, "seed": seed}
    choices += [
        Choice(key, value, f"--{key.partition('.')[0]} {value}") for key, value in said.items() if value is not None
    ]
    return choices, None if isinstance(model, str) or model is None else model


def prepare(
    data: str | Path, wanted: list[Choice], *, given: nn.Module | None, download: bool, allow_leak: bool, tell: Tell
) -> tuple[Recipe, Dataset, list[str]]:
    """Return the recipe and the data of a run, after the checks that come before any step."""
    from visus.core.recipe import DataSettings, Draft
    from visus.data.identical import identical_across_splits
    from visus.data.reading import open_data
    from visus.verbs.assembly import resolve

    draft = Draft(wanted)  # a misspelt setting is said before any picture is read
    fixed = draft.wanted()
    settings = DataSettings(**{k.removeprefix("data."): v for k, v in fixed.items() if k.startswith("data.")})
    dataset = open_data(data, settings, seed=int(fixed.get("seed", 0)), download=download)
    tell({"note": f"{dataset.name}: {dataset.format}, {dataset.evidence}"})
    for note in dataset.notes:
        tell({"note": note})
    leaks = identical_across_splits(dataset)
    if leaks and not allow_leak:
        first, second = leaks[0][:2]
        raise DataError(
            "DATA-040", f"{len(leaks):,} pictures are in two splits at once", where=f"{first} = {second}",
            done="nothing was trained: scores on such data would be too good",
            fix="remove one of each pair, or --allow-leak to train all the same",
        )  # fmt: skip
    if leaks:
        tell({"note": f"{len(leaks):,} pictures are in two splits at once, allowed by --allow-leak"})
    recipe, _ = resolve(dataset, wanted, given)
    return recipe, dataset, []


def _run(
    recipe: Recipe, dataset: Dataset, data: str | Path, out: str | Path | None, given: nn.Module | None, download: bool,
    started: float, tell: Tell,
) -> Run:  # fmt: skip
    from visus.engine.device import opened
    from visus.engine.folder import RunFolder
    from visus.verbs.assembly import free_folder, leads
    from visus.verbs.environment import environment
    from visus.verbs.session import complete

    folder = Path(out) if out is not None else free_folder(data)
    if (folder / "recipe.yaml").exists() and leads():
        with RunFolder(folder):  # one that is running says so instead
            raise UsageError("RUN-003", f"{folder}: there is a run in this folder already",
                             fix=f"visus resume {folder} goes on with it; --out takes another folder")  # fmt: skip
    with RunFolder(folder, leader=leads()) as held, opened(recipe) as device:
        recipe = _with_rate(recipe, dataset, given, device, tell)
        if held.leader:
            source = {"data": _source(data), "fingerprint": dataset.fingerprint(), "download": download}
            write_text(folder / "environment.json", json.dumps(environment(recipe, device.world), indent=1))
            write_text(folder / "data.json", json.dumps(source, indent=1))
            write_text(folder / "recipe.yaml", recipe.write())
        tell({"recipe": recipe, "folder": folder})
        return complete(recipe, dataset, held, device, given=given, started=started, tell=tell)


def _with_rate(recipe: Recipe, dataset: Dataset, given: nn.Module | None, device: Any, tell: Tell) -> Recipe:
    """Replace ``auto`` by what a range test found."""
    if recipe.optim.lr != "auto":
        return recipe
    from visus.verbs.assembly import rate_by_range_test

    rate, why = rate_by_range_test(recipe, dataset, given, device)
    tell({"note": f"optim.lr = {rate:.3g}: {why}"})
    optim = recipe.optim.model_copy(update={"lr": rate})
    return recipe.model_copy(update={"optim": optim, "origins": {**recipe.origins, "optim.lr": f"range test: {why}"}})


def _source(data: str | Path) -> str:
    """Return the data's place so that it is found again from another working folder."""
    path = Path(data)
    return str(path.resolve()) if path.exists() else str(data)


def _silent(row: Mapping[str, Any]) -> None:
    """Tell nobody."""
