"""``visus train``: from a folder of pictures to a judged model."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, UsageError, quoted
from visus.core.files import write_json, write_text
from visus.core.recipe import Choice, Recipe, read_settings
from visus.verbs import styles
from visus.verbs.runs import Run, leads, silent

if TYPE_CHECKING:
    from torch import nn

    from visus.data.dataset import Dataset
    from visus.engine.device import Device
    from visus.engine.folder import RunFolder
    from visus.verbs.assembly import Tell


RUNS = Path("runs")
"""Where runs are kept that nobody named."""

BEGINNING = ("recipe.yaml", "data.json", "environment.json", "decisions.jsonl", ".lock")
"""What a run folder holds before the first step."""


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
        allow_leak: train although the same picture, or one group that the data states, is in two splits.
        watch: told what happens: rows of the log, events, notes.
        started: ``time.perf_counter`` at which the budget began; now by default.

    Raises:
        UsageError: bad usage or settings, or a fault in the user's own code.
        DataError: data that cannot be read, or that leaks from one split into another.
        LockedError: another run holds the folder.
        BadDataLimit, ResourceError, DivergedError, Interrupted: the run stopped, with what it had reached kept.
    """
    from visus.data.paths import check_outside
    from visus.data.stamps import contents, stamps
    from visus.engine.device import opened
    from visus.verbs.assembly import with_rate
    from visus.verbs.choosing import check_wishes
    from visus.verbs.environment import environment
    from visus.verbs.session import complete

    started = time.perf_counter() if started is None else started
    tell = watch or silent
    wanted, given = wishes(
        task=task, model=model, minutes=minutes, epochs=epochs, steps=steps, seed=seed, set=set, recipe=recipe
    )
    check_wishes(wanted)
    check_outside(Path(out or RUNS), Path(data))
    if out is not None and leads():
        _check_free(Path(out))
    settled, dataset = prepare(data, wanted, given=given, download=download, allow_leak=allow_leak, tell=tell)
    with opened(settled) as device:
        folder = Path(out) if out is not None else Path(device.agreed(str(_free(data))))
        with _begun(folder, device) as held:
            settled = with_rate(settled, dataset, given, device)
            if held.leader:
                known = {"fingerprint": dataset.fingerprint(), "stamps": stamps(dataset), "contents": contents(dataset)}
                source = {"data": _place(data), **known, "download": download, "command": _command(data)}
                write_json(folder / "environment.json", environment(settled, device.world))
                write_json(folder / "data.json", source)
                write_text(folder / "recipe.yaml", settled.write())  # last: with it, this is a run
            tell({"recipe": settled, "folder": folder})
            return complete(settled, dataset, held, device, given=given, started=started, tell=tell)


def plan(
    data: str | Path,
    *,
    task: str | None = None,
    model: str | nn.Module | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    set: Mapping[str, Any] | Sequence[Choice] | None = None,
    recipe: str | Path | None = None,
    download: bool = False,
) -> Recipe:
    """Return the recipe that ``train`` would use, without training.  Takes the arguments of ``train``."""
    wanted, given = wishes(
        task=task, model=model, minutes=minutes, epochs=epochs, steps=steps, seed=seed, set=set, recipe=recipe
    )
    return prepare(data, wanted, given=given, download=download, allow_leak=True, tell=silent)[0]


def wishes(
    *,
    task: str | None,
    model: str | nn.Module | None,
    minutes: float | None,
    epochs: float | None,
    steps: int | None,
    seed: int | None,
    set: Mapping[str, Any] | Sequence[Choice] | None,
    recipe: str | Path | None,
) -> tuple[list[Choice], nn.Module | None]:
    """Return what the user said as choices, the later ones winning, and the module that was given."""
    if not (model is None or isinstance(model, str) or hasattr(model, "parameters")) or isinstance(model, type):
        raise UsageError(
            "USE-054", f"model = {model!r}: neither a name nor a network", fix="an instance: model=MyNet()"
        )
    if isinstance(set, str):
        raise UsageError("USE-055", f"set = {set!r}: settings are a mapping", fix='set={"optim.lr": 3e-4}')
    choices = read_settings(Path(recipe)) if recipe is not None else []
    choices += (
        [Choice(key, value, "set") for key, value in set.items()] if isinstance(set, Mapping) else list(set or ())
    )
    named = model if isinstance(model, str) else None
    said = {"task": task, "model.name": named, "minutes": minutes, "epochs": epochs, "steps": steps, "seed": seed}
    choices += [
        Choice(key, value, f"--{key.partition('.')[0]} {value}") for key, value in said.items() if value is not None
    ]
    return choices, None if isinstance(model, str) else model


def prepare(
    data: str | Path, wanted: Sequence[Choice], *, given: nn.Module | None, download: bool, allow_leak: bool, tell: Tell
) -> tuple[Recipe, Dataset]:
    """Return the recipe and the data of a run, after the checks that come before any step.

    Raises:
        UsageError: bad settings.
        DataError: data that cannot be read, or that leaks from one split into another.
    """
    from visus.data.reading import open_data
    from visus.tasks import TASKS
    from visus.verbs.choosing import as_pictures, check_wishes, for_task, resolve

    said = check_wishes(wanted)  # a misspelt setting is told before any picture is read
    if hasattr(TASKS[said.task], "study"):  # ``core.task.Studying``
        styles.check(said, tell)
    if (alone := as_pictures(data, wanted, said)) is not None:
        wanted = [*wanted, alone]
        said = check_wishes(wanted)
    dataset = for_task(open_data(data, said.data, seed=said.seed, download=download), wanted)
    tell({"note": f"{dataset.name}: {dataset.format}, {dataset.evidence}"})
    for note in dataset.notes:
        tell({"note": note})
    if dataset.remarks:
        remarks = f"{len(dataset.remarks):,} remark{'s' * (len(dataset.remarks) > 1)} on the data"
        tell({"note": f"{remarks}: visus check {quoted(data)} shows them"})
    _check_shares(dataset, wanted)
    _check_leaks(dataset, allow_leak, tell)
    return _anchored(resolve(dataset, wanted, given)), dataset


def _check_shares(dataset: Dataset, wanted: Sequence[Choice]) -> None:
    """Refuse the share of a part that the data brings itself, so that none is carved.

    Raises:
        UsageError: USE-065.
    """
    asked = {key for choice in wanted if choice.asked for key in choice.sets()}
    for split, key in (("val", "validation"), ("test", "test")):
        if f"data.{key}" in asked and split not in dataset.carved and (stated := len(dataset.indices(split))):
            raise UsageError(
                "USE-065", f"data.{key} says how much is carved, and {dataset.name} has a part of its own for that",
                where=f"{stated:,} pictures", done="nothing was trained",
                fix="leave it out, or divide the data anew: visus split DATA --out DIR",
            )  # fmt: skip


def _anchored(recipe: Recipe) -> Recipe:
    """Return the recipe with the user's files by absolute path, so that a resume finds them from another folder."""
    from visus.models.origins.user_code import anchored
    from visus.tasks._taught import digest_of

    name, weights, distill = anchored(recipe.model.name), recipe.model.weights, recipe.distill
    weights = weights if weights in ("none", "default") else str(Path(weights).resolve())
    if distill.teacher:
        place = Path(distill.teacher).resolve()
        distill = distill.model_copy(update={"teacher": str(place), "sha256": distill.sha256 or digest_of(place)})
    judge = recipe.generate.extractor
    judge = judge if judge in ("random", "imagenet") else str(Path(judge).resolve())
    model = recipe.model.model_copy(update={"name": name, "weights": weights})
    generate = recipe.generate.model_copy(update={"extractor": judge})
    stylize = styles.anchored(recipe.stylize, recipe.data.accept) if recipe.stylize.style else recipe.stylize
    return recipe.model_copy(update={"model": model, "distill": distill, "generate": generate, "stylize": stylize})


def _check_leaks(dataset: Dataset, allowed: bool, tell: Tell) -> None:
    """Refuse data whose scores would be too good.

    Raises:
        DataError: DATA-090 a picture is in two splits, DATA-310 a group is; and that was not allowed.
    """
    for many, leak in _leaks(dataset, tell):
        if not allowed:
            raise leak
        tell({"note": f"{many} in two splits at once, which --allow-leak allows: the scores may be too good"})


def _leaks(dataset: Dataset, tell: Tell) -> Iterator[tuple[str, DataError]]:
    """Yield what is in two splits, counted, and the error that refuses it."""
    from visus.data.identical import identical_across_splits
    from visus.data.splitting import torn

    done = "nothing was trained: scores on such data would be too good"
    fix = "visus split DATA --out DIR keeps what belongs together; --allow-leak trains all the same"
    pictures = identical_across_splits(dataset, tell=lambda sentence: tell({"note": sentence}))
    if pictures:
        first, second = pictures[0]
        many = f"{len(pictures):,} pictures are" if len(pictures) > 1 else "1 picture is"
        yield many, DataError("DATA-090", f"{dataset.name}: {many} in two splits at once",
                              where=f"{second} is the same as {first}", done=done, fix=fix)  # fmt: skip
    if dataset.groups is not None and len(groups := torn(dataset.groups, dataset.split)):
        many = f"{len(groups):,} groups are" if len(groups) > 1 else "1 group is"
        members = (dataset.groups == groups[0]).nonzero()[0]
        first, second = (dataset.ids[int(members[dataset.split[members] == part][0])]
                         for part in sorted(set(dataset.split[members].tolist()))[:2])  # fmt: skip
        yield many, DataError("DATA-310", f"{dataset.name}: {many} in two splits at once",
                              where=f"{second} belongs to one group with {first}", done=done, fix=fix)  # fmt: skip


def _check_free(folder: Path) -> None:
    """Refuse a folder in which a run has begun, or that cannot become one.

    Raises:
        LockedError: that run goes on at this moment.
        UsageError: it stopped, or ended; there is a file in its place, or the place cannot be written to.
    """
    from visus.engine.folder import RunFolder

    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(
            "RUN-002", f"{there}: is a file, not a folder", fix="--out takes a folder that is free: --out runs/mine"
        )
    if not os.access(there, os.W_OK):
        raise UsageError("RUN-002", f"{there}: cannot be written to", where=f"the run would lie in {folder}",
                         fix="choose a folder of your own: --out DIR")  # fmt: skip
    if (folder / "recipe.yaml").exists():
        with RunFolder(folder):
            _check_empty(folder)


def _check_empty(folder: Path) -> None:
    """Refuse a folder that holds a run or its states."""
    if (folder / "recipe.yaml").exists() or any((folder / "state").glob("*.json")):
        raise UsageError(
            "RUN-003", f"{folder}: there is a run in this folder already",
            fix=f"visus resume {quoted(folder)} goes on with it; --out takes another folder",
        )  # fmt: skip


@contextmanager
def _begun(folder: Path, device: Device) -> Iterator[RunFolder]:
    """Hold the folder of a new run; where nothing can be started after all, leave no trace of it.

    Raises:
        UsageError: there is a run in it, which another process began since this one looked.
    """
    from visus.engine.folder import RunFolder

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    leader, ours = device.rank == 0, False
    try:
        with RunFolder(folder, leader=leader) as held:
            if leader:
                _check_empty(folder)
            ours = leader
            yield held
    except (UsageError, DataError):
        if ours and not any((folder / "state").glob("*.json")):
            for name in BEGINNING:
                (folder / name).unlink(missing_ok=True)
            for path in made:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        raise


def _free(data: str | Path, base: Path = RUNS) -> Path:
    """Return a run folder that does not exist yet: ``runs/NAME-1``."""
    stem = Path(str(data).rpartition(":")[2]).resolve().name.removesuffix(".csv").removesuffix(".tsv") or "run"
    number = 1
    while (base / f"{stem}-{number}").exists():
        number += 1
    return base / f"{stem}-{number}"


def _place(data: str | Path) -> str:
    """Return the data's place so that it is found again from another working folder."""
    path = Path(data)
    return str(path.resolve()) if path.exists() else str(data)


def _command(data: str | Path) -> str:
    """Return the line that began this run."""
    if Path(sys.argv[0]).name in ("visus", "visus.exe", "__main__.py"):
        return shlex.join(["visus", *sys.argv[1:]])
    return f"visus.train({str(data)!r}, ...)"
