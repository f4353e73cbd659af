"""``visus list``: what there is to choose from, by name."""

from __future__ import annotations

from typing import Any

from visus.core.errors import UsageError, did_you_mean
from visus.core.figures import Table


def list(what: str = "", pattern: str = "") -> Table:
    """Return a table of what there is.

    Args:
        what: ``formats``, ``losses``, ``models``, ``optimisers``, ``schedules``, ``settings`` or ``tasks``; empty for
            this list.
        pattern: part of a name; for models ``*`` also lists timm's and torchvision's.

    Raises:
        UsageError: there is no such list.
    """
    if not what:
        return Table("visus list WHAT", ("what",), [(kind,) for kind in _LISTS])
    if what not in _LISTS:
        raise UsageError("USE-004", f"there is no list of {what!r}", fix=did_you_mean(what, _LISTS))
    return _LISTS[what](pattern)


def _models(pattern: str) -> Table:
    from visus.models.listing import available

    rows = [(m.name, m.origin, m.parameters or "", m.weights, m.licence, "here" if m.present else "", m.summary)
            for m in available(pattern)]  # fmt: skip
    note = "" if pattern else "timm's and torchvision's: visus list models '*', or a part of the name"
    return Table("models", ("name", "from", "parameters", "weights", "licence", "on this machine", "what"), rows, note)


def _tasks(pattern: str) -> Table:
    from visus.tasks import TASKS

    rows = [(name, ", ".join(TASKS[name].reads), _first_line(TASKS[name])) for name in TASKS if pattern in name]
    return Table("tasks", ("name", "reads", "what"), rows)


def _losses(pattern: str) -> Table:
    from visus.losses import LOSSES

    return Table("losses", ("name", "what"), [(n, _first_line(LOSSES[n])) for n in LOSSES if pattern in n])


def _formats(pattern: str) -> Table:
    from visus.data.formats import FORMATS

    return Table("formats", ("name", "what"), [(n, _first_line(FORMATS[n])) for n in FORMATS if pattern in n])


def _optimisers(pattern: str) -> Table:
    from visus.engine.optim import OWN, names

    rows = [(name, "visus" if name in OWN else "timm") for name in names() if pattern in name]
    return Table("optimisers", ("name", "from"), rows)


def _schedules(pattern: str) -> Table:
    from visus.engine.schedule import SHAPES

    return Table("schedules", ("name",), [(name,) for name in SHAPES if pattern in name])


def _settings(pattern: str) -> Table:
    from visus.core.recipe import Recipe

    rows = [(key, str(value)) for key, value in Recipe().flat().items() if pattern in key]
    return Table("settings", ("key", "default"), rows, "visus train DATA --print-recipe shows what your data would get")


_LISTS = {
    "formats": _formats,
    "losses": _losses,
    "models": _models,
    "optimisers": _optimisers,
    "schedules": _schedules,
    "settings": _settings,
    "tasks": _tasks,
}


def _first_line(thing: Any) -> str:
    import inspect
    import sys

    doc = inspect.getdoc(thing) if callable(thing) else sys.modules[type(thing).__module__].__doc__
    return (doc or "").strip().splitlines()[0] if doc else ""
