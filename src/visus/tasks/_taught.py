"""Distillation: any task with one loss more, how far what is said is from what a frozen teacher says of the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import IntegrityError, UsageError
from visus.core.modelfile import Card, read_card, read_model
from visus.core.recipe import Choice, DistillSettings, Recipe
from visus.core.task import Batch, Task, Term

UNIT = "taught"
"""What the loss is a sum over: pictures, of which the truth need not be known."""


@runtime_checkable
class Teachable(Protocol):
    """A task that can tell how far one network's answer is from another's."""

    def unlike(self, said: Any, wanted: Any, batch: Batch, temperature: float) -> Float[Tensor, "B"]:
        """Return how far what a network said of each picture is from what its teacher said."""
        ...


def taught(task: Task, recipe: Recipe) -> Task:
    """Return the task with the teacher of its recipe, or as it is where the recipe names none.

    Raises:
        UsageError: the teacher learned something else, or its answers cannot be learned from.
        DataError: there is no such file.
        IntegrityError: COMPRESS-032, it is not the file that the run began with.
    """
    settings = recipe.distill
    return with_teacher(task, teacher_of(settings, recipe, task), settings) if settings.teacher else task


def with_teacher(task: Task, teacher: nn.Module, settings: DistillSettings) -> Task:
    """Return a task whose losses also tell how far the network is from a teacher.

    Args:
        task: of the network.
        teacher: asked as that network is; it is never changed, and no state of a run holds it.
        settings: temperature and share.

    Raises:
        UsageError: COMPRESS-033, nothing tells how far two answers of this kind are apart.
    """
    check_teachable(task, fix="train without distill.teacher")
    return cast(Task, _Taught(task, teacher, settings))


def check_teachable(task: Task, fix: str) -> None:
    """Refuse a task whose answers cannot be imitated.

    Raises:
        UsageError: COMPRESS-033, nothing tells how far two answers of this kind are apart.
    """
    why = getattr(task, "unteachable", "") if isinstance(task, Teachable) else f"{task.name} cannot compare answers"
    if why:
        raise UsageError("COMPRESS-033", f"no teacher can be imitated: {why}", done="nothing was trained", fix=fix)


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a teacher's file.

    Raises:
        DataError: there is no such file, or it is no model file.
    """
    read_card(file)
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def teacher_of(settings: DistillSettings, recipe: Recipe, task: Any) -> nn.Module:
    """Return the teacher's network, frozen and in eval mode.

    Raises:
        UsageError: COMPRESS-030, it learned another task or other classes; COMPRESS-031, it reads pictures otherwise.
        DataError: there is no such file.
        IntegrityError: COMPRESS-032, it is not the file that the run began with.
    """
    from visus.models.building import rebuild
    from visus.models.fitting import fit

    file = Path(settings.teacher)
    if settings.sha256 and digest_of(file) != settings.sha256:
        raise IntegrityError("COMPRESS-032", f"{file}: is not the teacher that this run began with",
                             where=f"its SHA-256 is not {settings.sha256[:12]}...", done="nothing was trained",
                             fix="put that file back, or train anew")  # fmt: skip
    tensors, card = read_model(file)
    _check_alike(card, recipe, task.classes, file)
    network = rebuild(card.architecture, card.input.channels, card.input.size)
    fit(network, tensors, str(file), whole=True)
    return network.eval().requires_grad_(False)


def choices(settings: DistillSettings) -> Iterator[Choice]:
    """Yield the settings that a network must share with its teacher, where one is named.

    Raises:
        DataError: there is no such file.
    """
    if settings.teacher:
        card = read_card(Path(settings.teacher))
        for section in ("input", "target"):
            for key, value in card.recipe.items():
                if key.startswith(f"{section}."):
                    yield Choice(key, value, "the teacher's")


class _Taught:
    """A task, and what it says of a teacher: all else is the task's own."""

    def __init__(self, task: Any, teacher: nn.Module, settings: DistillSettings) -> None:
        self._task, self._teacher, self._settings = task, teacher.eval(), settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_task"], name)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the units of the task, and how many pictures there are."""
        return {**self._task.counts(batch), UNIT: torch.tensor(len(batch), device=batch.inputs[0].device)}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return the losses of the task and the one of the teacher, each by its share.

        Both networks see the very same pictures, as they were changed for training.

        Source:
            Beyer et al., Knowledge distillation: a good teacher is patient and consistent, CVPR 2022, section 3.1.
        """
        with _heard(model) as heard:
            terms = self._task.losses(model, batch, player, step)
        if len(heard) != 1:
            raise UsageError("COMPRESS-033", f"no teacher can be imitated: {type(model).__name__} is asked in parts",
                             done="no weight was moved", fix="train without distill.teacher")  # fmt: skip
        inputs, said = heard[0]
        with torch.no_grad():
            wanted = self._teacher.to(inputs[0].device)(*inputs)
        apart = self._task.unlike(said, wanted, batch, self._settings.temperature)
        share = self._settings.share
        scaled = {name: Term((1 - share) * term.sum, term.unit) for name, term in terms.items()}
        return {**scaled, UNIT: Term(share * apart.sum(), UNIT)}


@contextmanager
def _heard(model: nn.Module) -> Iterator[list[tuple[tuple[Tensor, ...], Any]]]:
    """Keep what a network is given and says while it is asked."""
    kept: list[tuple[tuple[Tensor, ...], Any]] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], said: Any) -> None:
        kept.append((inputs, said))

    hook = model.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


def _check_alike(card: Card, recipe: Recipe, classes: Sequence[str], file: Path) -> None:
    if (card.task, card.classes) != (recipe.task, tuple(classes)):
        theirs, mine = (", ".join(list(names)[:4]) for names in (card.classes, classes))
        raise UsageError(
            "COMPRESS-030", f"{file}: the teacher learned something else", done="nothing was trained",
            where=f"it learned {card.task} of {theirs}; here it is {recipe.task} of {mine}",
            fix="a teacher of the same task, and classes in this order",
        )  # fmt: skip
    read, here = card.input.model_dump(), recipe.input.model_dump()
    other = [key for key, value in read.items() if value != here[key] and key not in ("tiles", "seam")]
    if other:
        key = other[0]
        raise UsageError(
            "COMPRESS-031", f"{file}: the teacher reads pictures otherwise",
            where=f"input.{key} is {read[key]} there, {here[key]} here", done="nothing was trained",
            fix="leave the settings of input out: they become the teacher's",
        )  # fmt: skip
