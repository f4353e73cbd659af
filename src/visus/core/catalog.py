"""The folder is the registry: a name is a module, and nothing is imported until it is asked for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from visus.core.errors import UsageError, did_you_mean

T = TypeVar("T")


class UnknownName(UsageError, KeyError):
    """A catalog does not hold this name: an error for the user, and for Python a missing key."""


class Catalog(Mapping[str, T], Generic[T]):
    """Every object named ``attribute`` in the modules of one package, plus installed plug-ins.

    ``TASKS["classify"]`` imports ``visus/tasks/classify.py`` and returns its ``TASK``.  Listing names imports no
    module, so it costs no PyTorch import; a misspelt name is answered with the nearest one.

    Args:
        package: dotted name of the folder, ``"visus.tasks"``.
        attribute: what each module calls the object it offers, ``"TASK"``.

    Third parties join through an entry point in the group ``package``, ``"module:OBJECT"``.
    """

    def __init__(self, package: str, attribute: str) -> None:
        self.package, self.attribute = package, attribute

    @property
    def kind(self) -> str:
        """The singular noun for messages: ``visus.tasks`` holds a ``task``, ``visus.losses`` a ``loss``."""
        plural = self.package.rpartition(".")[2]
        return plural.removesuffix("es" if plural.endswith("sses") else "s")

    def __getitem__(self, name: str) -> T:
        if name in self._modules():
            return self._offered(f"{self.package}.{name}")
        for point in entry_points(group=self.package, name=name):
            loaded: T = point.load()
            return loaded
        raise UnknownName("USE-004", f"there is no {self.kind} named {name!r}", fix=did_you_mean(name, self))

    def about(self, name: str) -> str:
        """Return what the module that offers ``name`` says of itself: the first line of its docstring."""
        offered = {point.name: point.module for point in entry_points(group=self.package)}
        module = importlib.import_module(offered.get(name, f"{self.package}.{name}"))
        return (module.__doc__ or "").strip().partition("\n")[0].replace("``", "")

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*self._modules(), *(p.name for p in entry_points(group=self.package))})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _modules(self) -> set[str]:
        package = importlib.import_module(self.package)
        return {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}

    def _offered(self, module: str) -> T:
        offered: Any = getattr(importlib.import_module(module), self.attribute, None)
        if offered is None:
            raise UsageError("USE-005", f"{module} offers no {self.attribute}", fix=f"define {self.attribute} in it")
        found: T = offered
        return found
