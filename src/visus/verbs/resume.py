"""``visus resume``: go on with a run as if nothing had happened."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from visus.core.errors import IntegrityError, UsageError
from visus.core.recipe import Recipe
from visus.verbs.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from visus.verbs.assembly import Tell


def resume(
    run: str | Path | Run,
    *,
    model: nn.Module | None = None,
    accept_changes: bool = False,
    watch: Tell | None = None,
    started: float | None = None,
) -> Run:
    """Continue a run, bit for bit, from its newest complete state; a run that has ended is returned as it is.

    Args:
        run: the folder.
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
    from visus.data.reading import open_data
    from visus.engine.device import opened
    from visus.engine.folder import RunFolder
    from visus.verbs.assembly import leads
    from visus.verbs.environment import check_environment, environment
    from visus.verbs.session import complete

    started = time.perf_counter() if started is None else started
    folder = run.folder if isinstance(run, Run) else Path(run)
    tell = watch or (lambda row: None)
    if not (folder / "recipe.yaml").is_file():
        raise UsageError("RUN-001", f"{folder}: there is no run in this folder", looked="recipe.yaml",
                         fix=f"visus train DATA --out {folder}")  # fmt: skip
    with RunFolder(folder, leader=leads()) as held:
        recipe = Recipe.read((folder / "recipe.yaml").read_text(encoding="utf-8"), str(folder / "recipe.yaml"))
        if (folder / "result.json").exists() and (folder / "report.html").exists():
            tell({"note": f"{folder}: this run has ended; there is nothing to resume"})
            return Run.read(folder)
        source = json.loads((folder / "data.json").read_text(encoding="utf-8"))
        dataset = open_data(source["data"], recipe.data, seed=recipe.seed, download=source["download"])
        if dataset.fingerprint() != source["fingerprint"] and not accept_changes:
            raise IntegrityError("RUN-008", f"{source['data']}: the data is not what the run began with",
                                 where="names, labels, splits or sizes of files changed",
                                 fix="put it back, or --accept-changes to go on all the same")  # fmt: skip
        with opened(recipe) as device:
            for change in check_environment(
                folder / "environment.json", environment(recipe, device.world), accept=accept_changes
            ):
                tell({"note": f"changed since the run began: {change}"})
            tell({"recipe": recipe, "folder": folder})
            return complete(recipe, dataset, held, device, given=model, started=started, tell=tell)
