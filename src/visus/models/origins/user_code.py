"""The user's own networks: ``FILE.py:Class``, ``hub:FOLDER:entry`` (a local torch.hub folder), or a given object.

The file is the user's and is run as the user named it; it is never taken from a model file.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from visus.core.errors import UsageError, VisusError, did_you_mean
from visus.core.modelfile import Architecture
from visus.models.weights import WeightCard

LOG = logging.getLogger("visus.models")

HUB, GIVEN = "hub:", "given:"

_OUTPUTS = ("outputs", "classes", "num_classes", "n_classes", "num_outputs", "out_features", "nc")
_CHANNELS = ("channels", "in_channels", "in_chans", "num_channels", "input_channels")
_SIZES = ("size", "image_size", "img_size", "input_size")


def is_code(name: str) -> bool:
    """Tell whether a network's name means code of the user's."""
    return name.startswith((HUB, GIVEN)) or ".py:" in name


def anchored(name: str) -> str:
    """Return a network's name so that it is found from any working folder: its file, if it is one, by absolute path."""
    if name.startswith(GIVEN) or not is_code(name):
        return name
    before = HUB if name.startswith(HUB) else ""
    path, _, entry = name.removeprefix(before).rpartition(":")
    return f"{before}{Path(path).resolve()}:{entry}" if path else name


def network(name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]) -> nn.Module:
    """Return what the class or function gives when it is called by its signature.

    ``outputs`` goes to the parameter named so (or classes, num_classes, n_classes, num_outputs, out_features, nc),
    ``channels`` likewise (in_channels, in_chans, num_channels, input_channels), and ``size`` as (height, width)
    (image_size, img_size, input_size). Where none is named for the outputs and exactly one parameter without default
    is left, it takes them: ``MyNet(10)``. Options go by their names.  A parameter ``**anything`` receives only
    options.

    Raises:
        UsageError: the file, the class or a value for one of its parameters is missing, or the call failed.
    """
    file, entry = place_of(name)
    maker = _entry(file, entry, name)
    arguments = arguments_of(maker, outputs, channels, size, options, name)
    try:
        made = maker(**arguments)
    except VisusError:  # a signal came meanwhile
        raise
    except Exception as error:
        said = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise _failed(f"{entry}({said}) failed", file, error) from error
    if not isinstance(made, nn.Module):
        raise UsageError("MODEL-017", f"{name} gives a {type(made).__name__}, not a torch.nn.Module", where=str(file))
    return made


def arguments_of(
    maker: Callable[..., object],
    outputs: int,
    channels: int,
    size: tuple[int, int],
    options: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """Return the keyword arguments a maker is called with, by the rule of ``network``."""
    try:
        parameters = dict(inspect.signature(maker).parameters)
    except ValueError as error:
        raise UsageError("MODEL-017", f"{name} has no signature that can be read", where=str(error)) from error
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {key: p for key, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for key in options:
        if key not in named and not open_ended:
            raise UsageError("MODEL-011", f"{name} has no option {key!r}", fix=did_you_mean(key, named))
    arguments = dict(options)
    for value, synonyms in ((outputs, _OUTPUTS), (channels, _CHANNELS), (size, _SIZES)):
        taker = next((key for key in synonyms if key in named and key not in arguments), None)
        if taker is not None and not any(key in arguments for key in synonyms):
            arguments[taker] = value
    needed = [key for key, p in named.items() if p.default is p.empty and key not in arguments]
    if len(needed) == 1 and not any(key in arguments for key in _OUTPUTS):
        arguments[needed.pop()] = outputs
    if needed:
        raise UsageError(
            "MODEL-017", f"{name} needs a value for {', '.join(needed)}",
            fix=" ".join(f"--set model.options.{key}=VALUE" for key in needed),
        )  # fmt: skip
    return arguments


def usual(name: str) -> WeightCard:
    """Return the card for fresh weights."""
    return WeightCard("none", "", True, "", size=(64, 64))


def card(name: str) -> WeightCard:
    """Refuse: the user's own code carries no weights that visus knows of.

    Raises:
        UsageError: always.
    """
    raise UsageError("MODEL-016", f"{name} is code of your own, which carries no weights that visus knows of",
                     fix="--set model.weights=none, or =FILE")  # fmt: skip


def read(name: str, card: WeightCard) -> dict[str, Tensor]:
    """Refuse, as ``card`` does."""
    raise AssertionError("there is no card to read by")


def renamed(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights as they are."""
    return dict(tensors)


def source_of(name: str) -> tuple[str, str]:
    """Return where a network's code is and the SHA-256 of that file; of what the file imports, nothing is known."""
    if name.startswith(GIVEN):
        return name.removeprefix(GIVEN), ""
    file, entry = place_of(name)
    return f"{file.name if not name.startswith(HUB) else file.parent.name + '/' + file.name}:{entry}", _hash(file)


def check_same(code: str, architecture: Architecture) -> None:
    """Say so where the code that was named now is not the code the weights were trained with."""
    digest = source_of(code)[1]
    if architecture.source_sha256 and digest != architecture.source_sha256:
        LOG.warning(
            "%s is not the source this model was trained with (SHA-256 %s, then %s): its answers may differ",
            code, digest[:12], architecture.source_sha256[:12],
        )  # fmt: skip


def place_of(name: str) -> tuple[Path, str]:
    """Return file and entry of ``FILE.py:Class`` or ``hub:FOLDER:entry``.

    Raises:
        UsageError: it names no class, or there is no such file.
    """
    if name.startswith(GIVEN):
        raise UsageError("MODEL-017", f"{name} was given as an object in Python and cannot be found by name",
                         fix="give it again: visus.train(DATA, model=MODULE)")  # fmt: skip
    path, _, entry = name.removeprefix(HUB).rpartition(":")
    file = Path(path) / "hubconf.py" if name.startswith(HUB) else Path(path)
    if not path or not entry.isidentifier():
        raise UsageError("MODEL-017", f"{name!r} does not name a class", fix="FILE.py:Class, or hub:FOLDER:entry")
    if not file.is_file():
        raise UsageError(
            "MODEL-017",
            f"{file}: there is no such file",
            where=name,
            fix="the path is relative to where visus is started",
        )
    return file, entry


def _entry(file: Path, entry: str, name: str) -> Callable[..., object]:
    """Return the class or function ``entry`` of a file of the user's."""
    module = _module(file)
    for package in getattr(module, "dependencies", ()) if name.startswith(HUB) else ():
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                "MODEL-017", f"{name} needs the package {package!r}", where=str(file), fix=f"pip install {package}"
            )
    found = getattr(module, entry, None)
    if not callable(found):
        offered = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UsageError("MODEL-017", f"{file} has no class or function {entry!r}", fix=did_you_mean(entry, offered))
    made: Callable[..., object] = found
    return made


def _module(file: Path) -> ModuleType:
    """Return the file as a module, run once a content; its folder can be imported from while it runs."""
    path = file.resolve()
    title = f"visus_user_{path.stem}_{sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]}"
    if title in sys.modules:
        return sys.modules[title]
    spec = importlib.util.spec_from_file_location(title, path)
    assert spec is not None and spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[title]
        if isinstance(error, VisusError) or not isinstance(error, Exception):
            raise  # a signal came meanwhile
        raise _failed("the file cannot be imported", file, error) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _failed(what: str, file: Path, error: Exception) -> UsageError:
    """Return the error for code of the user's that raised: its message and the line of the user's file it came from."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file.resolve()):
            line = trace.tb_lineno
        trace = trace.tb_next
    line = getattr(error, "lineno", None) or line
    said = str(error).splitlines()[0] if str(error) else ""
    return UsageError(
        "MODEL-017", f"{file}: {what}: {type(error).__name__}: {said}", where=f"{file}:{line}" if line else str(file)
    )


def _hash(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
