"""``visus resume``: go on with a run as if nothing had happened."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import IntegrityError, UsageError
from visus.core.files import write_json
from visus.core.recipe import Recipe
from visus.verbs.runs import Run, ended, leads, read_document, read_recipe, silent

if TYPE_CHECKING:
    from torch import nn

    from visus.data.dataset import Dataset
    from visus.verbs.assembly import Tell


def resume(
    run: str | Path | Run,
    *,
    data: str | Path | None = None,
    model: nn.Module | None = None,
    accept_changes: bool = False,
    watch: Tell | None = None,
    started: float | None = None,
) -> Run:
    """Continue a run, bit for bit, from its newest complete state; a run that has ended is returned as it is.

    Args:
        run: the folder.
        data: where the data lies now, if it was moved; it must be the same.
        model: the module, when the run trains one that was given in Python.
        accept_changes: go on although machine, libraries, threads or data differ from those the run began with.
        watch: told what happens.
        started: ``time.perf_counter`` at which this command began; now by default.

    Raises:
        UsageError: there is no run in the folder.
        IntegrityError: the data or the environment changed, or no state is whole.
        LockedError: another process holds the folder.
        And all that ``train`` raises once it has begun.
    """
    from visus.data.painting import painted
    from visus.data.reading import open_data
    from visus.engine.device import opened
    from visus.engine.folder import RunFolder
    from visus.engine.state import Generations
    from visus.tasks import TASKS
    from visus.verbs.environment import check_environment, environment
    from visus.verbs.session import complete

    started = time.perf_counter() if started is None else started
    folder = run.folder if isinstance(run, Run) else Path(run)
    tell = watch or silent
    recipe = read_recipe(folder)
    with RunFolder(folder, leader=leads()) as held:
        done = ended(folder)
        if done is not None:
            tell({"note": f"{folder}: this run has ended; there is nothing to resume"})
            return done
        _check_code(recipe, folder)
        source = read_document(folder / "data.json")
        if data is not None:
            source["data"] = str(data)
        dataset = open_data(source["data"], recipe.data, seed=recipe.seed, download=source["download"])
        dataset = painted(dataset, TASKS[recipe.task].reads)
        changes = _changes_of_data(dataset, source, accept=accept_changes)
        with opened(recipe) as device:
            now = environment(recipe, device.world)
            changes += check_environment(folder / "environment.json", now, accept=accept_changes)
            if data is not None and held.leader:
                write_json(folder / "data.json", source)
            step = max(Generations(folder).steps(), default=0)
            for change in changes:
                held.decide("changed", step, {"why": change})
                tell({"note": f"changed since the run began: {change}"})
            tell({"recipe": recipe, "folder": folder})
            return complete(recipe, dataset, held, device, given=model, started=started, tell=tell)


def _check_code(recipe: Recipe, folder: Path) -> None:
    """Refuse to run code that came with the run folder: a folder may be a stranger's.

    Raises:
        UsageError: the recipe names such code, or code that is not there any more.
    """
    from visus.models.origins.user_code import GIVEN, is_code, place_of

    name = recipe.model.name
    if not is_code(name) or name.startswith(GIVEN):
        return
    file, _ = place_of(name)
    if file.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            "RUN-011", f"{file}: the network's code lies in the run folder", done="nothing was run",
            fix="put the code elsewhere, if you trust it, and name it when training: --model FILE.py:Class",
        )  # fmt: skip


def _changes_of_data(dataset: Dataset, source: Mapping[str, Any], *, accept: bool) -> list[str]:
    """Return how the data differs from what the run began with.

    Raises:
        IntegrityError: it is known to differ, and ``accept`` is false.
    """
    from visus.data.stamps import contents, stamps

    if dataset.fingerprint() != source["fingerprint"]:
        what = "names, labels, splits or sizes of files"
    elif source["contents"]:
        if contents(dataset) == source["contents"]:
            return []
        what = "what is in the files; their names and sizes are the same"
    elif stamps(dataset) == source["stamps"]:
        return []
    else:  # it is more than is hashed, so whether a picture changed is not known
        return [f"files of {dataset.name} were written anew; if a picture changed, this is another run from here on"]
    if not accept:
        raise IntegrityError(
            "RUN-008", f"{source['data']}: the data is not what the run began with", where=f"changed: {what}",
            fix="put it back, --data DATA if it lies elsewhere now, or --accept-changes to go on all the same",
        )  # fmt: skip
    return [f"{what}, in {dataset.name}"]  # a report names no folder of the user's
