"""``visus list``: what there is to choose from, by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from visus.core.errors import UsageError, did_you_mean
from visus.core.figures import Table


def list(what: str = "", pattern: str = "") -> Table:
    """Return a table of what there is.

    Args:
        what: ``compressors``, ``explainers``, ``exporters``, ``formats``, ``losses``, ``models``, ``optimisers``,
            ``schedules``, ``settings``, ``suppressions`` or ``tasks``; empty for this list.
        pattern: part of a name; for models and optimisers ``*`` also lists those of timm and torchvision.

    Raises:
        UsageError: there is no such list, or nothing of that name in it.
    """
    if not what:
        return Table("visus list WHAT", ("what", "shows"), [(kind, words) for kind, (_, words) in _LISTS.items()])
    if what not in _LISTS:
        raise UsageError("USE-004", f"there is no list of {what!r}", fix=did_you_mean(what, _LISTS))
    table = _LISTS[what][0](pattern)
    if not table.rows:
        raise UsageError("USE-004", f"no {what} with {pattern!r} in the name", fix=f"visus list {what}")
    return table


def _models(pattern: str) -> Table:
    from visus.models.listing import available

    rows = [
        (m.name, m.origin, m.parameters, m.licence, "yes" if m.present else "", m.summary or m.weights)
        for m in available(pattern)
    ]
    note = "" if pattern else "timm's and torchvision's: visus list models '*', or a part of the name"
    return Table("models", ("name", "from", "parameters", "licence", "here", "what"), rows, note)


def _tasks(pattern: str) -> Table:
    from visus.tasks import TASKS

    rows = [(name, " or ".join(TASKS[name].reads), TASKS.about(name)) for name in TASKS if pattern in name]
    return Table("tasks", ("name", "reads", "what"), rows)


def _losses(pattern: str) -> Table:
    from visus.losses import LOSSES, reads

    rows = [(name, reads(name), LOSSES.about(name)) for name in LOSSES if pattern in name]
    return Table("losses", ("name", "reads", "what"), rows)


def _formats(pattern: str) -> Table:
    from visus.data.formats import FORMATS

    return Table("formats", ("name", "what"), [(n, FORMATS.about(n)) for n in FORMATS if pattern in n])


def _optimisers(pattern: str) -> Table:
    from visus.engine.optim import OWN, described

    known = described() if pattern else OWN
    found = [name for name in sorted(known) if fnmatchcase(name, f"*{pattern}*")]
    rows = [(name, "visus" if name in OWN else "timm", known[name]) for name in found]
    note = "" if pattern else "timm's: visus list optimisers '*', or a part of the name"
    return Table("optimisers", ("name", "from", "what"), rows, note)


def _schedules(pattern: str) -> Table:
    from visus.engine.schedule import SHAPES

    return Table("schedules", ("name", "learning rate"), [(n, what) for n, what in SHAPES.items() if pattern in n])


def _suppressions(pattern: str) -> Table:
    from visus.core.suppression import SUPPRESSIONS

    rows = []
    for name, method in SUPPRESSIONS.items():
        meaning = (getattr(method, "func", method).__doc__ or "").partition("\n")[0]
        if pattern in name:
            stated = "".join(f" ({key} {value})" for key, value in getattr(method, "keywords", {}).items())
            rows.append((name, meaning.removeprefix("Return ").rstrip(".").replace("``", "") + stated))
    return Table("suppressions", ("name", "what stays"), rows)


def _settings(pattern: str) -> Table:
    from visus.core.recipe import explained

    rows = []
    for one in explained():
        if pattern in one.key:
            takes = f" Takes {one.takes}." if one.takes != "text" else ""
            rows.append((one.key, one.default, (one.meaning + takes).replace("``", "")))
    return Table(
        "settings", ("key", "default", "what"), rows, "visus train DATA --print-recipe shows what yours would get"
    )


def _explainers(pattern: str) -> Table:
    from visus.explainers import EXPLAINERS

    found = [(name, EXPLAINERS[name]) for name in EXPLAINERS if pattern in name]
    return Table(
        "explainers", ("name", "reads", "what", "source"), [(n, e.reads, e.summary, e.source) for n, e in found]
    )


def _compressors(pattern: str) -> Table:
    from visus.compressors import COMPRESSORS

    found = [(name, COMPRESSORS[name]) for name in COMPRESSORS if pattern in name]
    rows = [(name, c.suffix, "yes" if c.trains else "", c.summary, c.source) for name, c in found]
    return Table("compressors", ("name", "writes", "trains", "what", "source"), rows)


def _exporters(pattern: str) -> Table:
    from visus.exporters import EXPORTERS

    return Table("exporters", ("name", "what"), [(n, EXPORTERS.about(n)) for n in EXPORTERS if pattern in n])


_LISTS = {
    "compressors": (_compressors, "visus compress --method NAME"),
    "explainers": (_explainers, "visus explain --method NAME"),
    "exporters": (_exporters, "visus export --to NAME"),
    "formats": (_formats, "how data may lie on disk; which one it is, is recognised"),
    "losses": (_losses, "--set loss=NAME"),
    "models": (_models, "--model NAME"),
    "optimisers": (_optimisers, "--set optim=NAME"),
    "schedules": (_schedules, "--set schedule=NAME: how the learning rate goes through a run"),
    "settings": (_settings, "--set KEY=VALUE: every setting with its default and meaning"),
    "suppressions": (_suppressions, "--set detect.suppression=NAME: which of overlapping boxes stay"),
    "tasks": (_tasks, "--task NAME: what can be learned from pictures"),
}
