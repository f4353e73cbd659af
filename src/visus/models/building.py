"""A network from its settings: found by name, checked by one dry run, and given the weights the settings ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visus.core.errors import DataError, UsageError, VisusError, users_line
from visus.core.modelfile import Architecture, read_card
from visus.core.recipe import ModelSettings
from visus.core.seeds import derive
from visus.models.fitting import fit
from visus.models.origins import generating, origin_of, own, standing, stylizing, user_code
from visus.models.reading import read_tensors
from visus.models.slimming import slimmed
from visus.models.weights import card_of, check_licence


def build(
    settings: ModelSettings,
    outputs: int,
    channels: int,
    size: tuple[int, int],
    accept: Sequence[str] = (),
    *,
    seed: int = 0,
) -> nn.Module:
    """Return the network: ``forward(images (B, channels, height, width)) -> (B, outputs)``, the same in training.

    One that starts from weights says in its attribute ``taken`` what of them is not as it was, see ``fitting.fit``.

    Its fresh weights depend on ``seed`` alone; the global generator is left as it was.  Nothing is ever downloaded.

    Args:
        settings: name, options and weights.
        outputs: length of the last axis.
        channels: of the pictures.
        size: (height, width) of the pictures.
        accept: licences of weights accepted beyond the permissive ones; ``nc`` accepts any.
        seed: of the run.

    Raises:
        UsageError: no such network or option, a size it cannot read, weights that are not here, not accepted, or of
            another network.
        DataError: a weights file that cannot be read, or whose reading would run code.
    """
    check_options(settings.name, settings.options)
    origin = origin_of(settings.name)
    card = card_of(settings)
    tensors: dict[str, Tensor] = {}
    if settings.weights != "none":  # before anything is built: what is missing or refused is said at once
        check_licence(card, accept)
        tensors = (
            origin.read(settings.name, card) if settings.weights == "default" else read_tensors(Path(settings.weights))
        )
    with seeded(seed):
        model = origin.network(settings.name, outputs, channels, size, settings.options)
        form = _described(settings)
        slimmed(model, form)
        if origin not in (own, standing, generating, stylizing) or (
            origin is own and form is not None and form.narrowed
        ):
            check_outputs(model, outputs, channels, size, settings.name)
    if tensors:
        start: Any = model
        start.taken = fit(model, origin.renamed(settings.name, model, tensors), card.name)
    return model


def architecture_of(settings: ModelSettings, outputs: int) -> Architecture:
    """Return what a model file says of the network; of the user's own code, its place and the hash of its source.

    One that starts from the weights of a network made smaller is as small.
    """
    start = _described(settings)
    source, digest = user_code.source_of(settings.name) if user_code.is_code(settings.name) else ("", "")
    return Architecture(
        name=source or settings.name,
        options=dict(settings.options),
        outputs=outputs,
        source=source,
        source_sha256=digest,
        factored=start.factored if start is not None else {},
        narrowed=start.narrowed if start is not None else {},
    )


def rebuild(architecture: Architecture, channels: int, size: tuple[int, int], code: str = "") -> nn.Module:
    """Return the network a model file describes, with fresh weights to be overwritten.

    Args:
        architecture: of the card.
        channels: of the pictures.
        size: (height, width) of the pictures.
        code: ``FILE.py:Class`` where the network is the user's own; what the card names is never run by itself.

    Raises:
        UsageError: the network is the user's own code and ``code`` does not name it.
    """
    name = architecture.name
    if user_code.is_code(name) or architecture.source:
        if not code:
            raise UsageError(
                "MODEL-017", f"this model's network is code of its author's own: {architecture.source or name}",
                done="nothing was run: a model file never says what code to execute",
                fix="name the code yourself, if you trust it: --model FILE.py:Class",
            )  # fmt: skip
        user_code.check_same(code, architecture)
        name = code
    check_options(name, architecture.options)
    with seeded(0):
        model = origin_of(name).network(name, architecture.outputs, channels, size, architecture.options)
        slimmed(model, architecture)
        if user_code.is_code(name):
            check_outputs(model, architecture.outputs, channels, size, name)
    return model


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Refuse options by which a library reads or fetches a file by itself: a stranger's card or recipe may hold them.

    The user's own code may call its parameters as it likes.

    Raises:
        UsageError: one of them is given.
    """
    for option in sorted(_READS_FILES & set(options)) if not user_code.is_code(name) else ():
        raise UsageError(
            "MODEL-021", f"model.options.{option}: weights are named by model.weights, and by nothing else",
            fix="--set model.weights=FILE",
        )  # fmt: skip


_READS_FILES = frozenset({
    "cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict",
    "weights", "weights_backbone",
})  # fmt: skip


def check_outputs(model: nn.Module, outputs: int, channels: int, size: tuple[int, int], name: str) -> None:
    """Refuse a network that does not answer two black pictures by (2, outputs), both judging and training.

    Buffers are put back, so that running statistics have not seen them.

    Raises:
        UsageError: it fails, or returns something else.
    """
    here = next((parameter.device for parameter in model.parameters()), None)  # a module that was given may be on a GPU
    images = torch.zeros(2, channels, *size, device=here)
    was = model.training
    for training in (False, True):
        model.train(training)
        answer = _dry_run(model, images, name)
        if not isinstance(answer, Tensor) or answer.shape != (2, outputs):
            raise UsageError(
                "MODEL-018", f"{name} returns {_what(answer)} for a batch of 2 pictures; it must return (2, {outputs})",
                where="in training" if training else "when judging",
                fix="forward(images (B, C, H, W)) returns one tensor (B, outputs), one column a class or number",
            )  # fmt: skip
    model.train(was)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let fresh weights derive from ``seed``, and leave the global generator as it was."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(derive(seed, "weights"))
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def _described(settings: ModelSettings) -> Architecture | None:
    """Return what the model file that the weights come from says of its network; None for weights of other files."""
    file = Path(settings.weights)
    if settings.weights in ("none", "default") or file.suffix != ".safetensors" or not file.is_file():
        return None
    try:
        return read_card(file).architecture
    except DataError:  # safetensors without a card of ours
        return None


def _dry_run(model: nn.Module, images: Tensor, name: str) -> object:
    kept = {key: buffer.clone() for key, buffer in model.named_buffers() if not _is_lazy(buffer)}
    try:
        with torch.no_grad():
            answer: object = model(images)
    except VisusError:
        raise
    except Exception as error:
        _, channels, height, width = images.shape
        said = f"{type(error).__name__}: {error}".strip().splitlines()
        if line := users_line(error):
            raise UsageError(
                "MODEL-022", f"{name} fails on 2 pictures of {channels} x {height} x {width}: {said[0]}", where=line,
                done="nothing was started", fix="mend that line of your own; --debug shows how it was reached",
            ) from error  # fmt: skip
        raise UsageError(
            "MODEL-018", f"{name} cannot read {channels} x {height} x {width} pictures: {type(error).__name__}",
            where=str(error).partition("\n")[0],
            fix="another size (--set size=224) or other model.options",
        ) from error  # fmt: skip
    buffers = dict(model.named_buffers())
    for key, value in kept.items():
        if key in buffers and buffers[key].shape == value.shape:
            buffers[key].copy_(value)
    return answer


def _is_lazy(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.UninitializedBuffer)


def _what(answer: object) -> str:
    return f"a tensor {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
