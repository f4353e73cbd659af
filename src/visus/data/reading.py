"""Opens a data set: recognises its format, reads it, and carves the splits it does not have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from visus.core.errors import DataError, UsageError, did_you_mean, nearest
from visus.data.dataset import Dataset
from visus.data.fetched import is_address
from visus.data.formats import FORMATS, Evidence
from visus.data.formats.shards import expanded, read_shards
from visus.data.headers import sniff_format
from visus.data.listing import files_of, folders_of, has_picture, list_pictures
from visus.data.paths import open_regular, shown
from visus.data.remote import open_address
from visus.data.splitting import carve_missing

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_UNSURE = 0.05


def open_data(
    source: str | Path,
    settings: DataSettings,
    *,
    seed: int = 0,
    download: bool = False,
    root: Path | None = None,
    carve: bool = True,
    faulty: bool = False,
) -> Dataset:
    """Return a data set by its folder, its file or its name.

    Args:
        source: a folder, a table, or a name: ``digits``, ``torchvision:CIFAR10``.
        settings: format, shares to carve, limits.
        seed: of the carving.
        download: fetch a named set that is not there.
        root: where named sets lie, see ``formats/torchvision.py``.
        carve: make the validation and test parts that are missing; without it what is in no split is train.
        faulty: also return a data set with ``faults``, all that training would stop at, instead of raising the first.

    Raises:
        DataError: DATA-001 no such place, DATA-002 no format fits, DATA-004 an empty folder, DATA-005 a file that is no
            data set, DATA-006 pictures without labels; the formats' own, DATA-110 to 172; carving's, DATA-180 to 182.
        UsageError: DATA-003 and DATA-170, a name that is not there; USE-004, an unknown format.
        BadDataLimit: DATA-112, too many files of a table are missing.
    """
    dataset = _read(source, settings, download, root)
    if not faulty:
        dataset.sound()
    if not len(dataset):
        raise DataError("DATA-004", f"{shown(source)}: it holds no record", looked=dataset.evidence)
    if not carve:
        return dataset
    return carve_missing(dataset, validation=settings.validation, test=settings.test, seed=seed)


def recognised(path: Path) -> str:
    """Return the format in which data lies at a place, by names and headers alone; empty where it is in none.

    One folder of pictures is no data in class folders: it says nothing of any of them.
    """
    found = {name: evidence for name in FORMATS if (evidence := FORMATS[name].sniff(path)) is not None}
    best = max(found, key=lambda name: found[name].score, default="")
    alone = best == "folder" and found[best].count == 1
    return best if best and found[best].score >= _UNSURE and not alone else ""


def _read(source: str | Path, settings: DataSettings, download: bool, root: Path | None) -> Dataset:
    path = Path(source)
    name, _, rest = os.fspath(source).partition(":")
    if isinstance(source, str) and is_address(source):
        return open_address(source, settings, _read_place)
    if isinstance(source, str) and source.endswith(".tar") and not path.exists() and "{" in source:
        return read_shards(expanded(source), settings, name=shown(path.name), root=path.parent)
    if isinstance(source, str) and not path.exists() and name in _named():
        reader = FORMATS[name].named
        if reader is not None:
            return reader(rest, settings, root, download)
    _check_place(path, os.fspath(source))
    return _read_place(path, settings)


def _read_place(path: Path, settings: DataSettings) -> Dataset:
    """Return what lies at a place, by the format that fits best, or the one the user names."""
    if settings.format != "auto":
        return FORMATS[settings.format].read(path, settings)
    found = {name: evidence for name in FORMATS if (evidence := FORMATS[name].sniff(path)) is not None}
    best = max(found, key=lambda name: found[name].score, default="")
    if not best or found[best].score < _UNSURE:
        raise _no_format(path, found)
    dataset = FORMATS[best].read(path, settings)
    likely = [name for name in found if found[name].score > max(_UNSURE, found[best].score / 2)]
    others = [f"{name} ({found[name].phrase})" for name in likely if name != best]
    if others:
        note = f"read as {best}; it could also be read as {', '.join(others)}: --set data.format=NAME"
        dataset = dataset.with_(notes=(*dataset.notes, note))
    return dataset


def _named() -> list[str]:
    return [name for name in FORMATS if FORMATS[name].named is not None]


def _check_place(path: Path, source: str) -> None:
    """Refuse what is not there, an empty folder, and a file that cannot be a data set, each with the way out."""
    if not os.path.lexists(path):
        raise _nowhere(path, source)
    if path.is_dir():
        if not files_of(path) and not folders_of(path):
            raise DataError("DATA-004", f"{shown(path)}: the folder is empty",
                            fix="put pictures in it, in a folder for each class where there are classes")  # fmt: skip
    elif path.suffix.lower() not in {".csv", ".tsv", ".tar", ".json", ".yaml", ".yml"}:
        with open_regular(path) as file:
            start = file.read(32)
        kind = sniff_format(start)
        if kind:
            what, fix = f"it is one picture ({kind})", f"visus predict MODEL {shown(path)}; training takes a folder"
        elif start[:2] in {b"PK", b"\x1f\x8b"} or path.suffix.lower() in {".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar"}:
            what, fix = "it is an archive", "unpack it, and name the folder"
        elif path.suffix.lower() == ".safetensors":
            what, fix = "it is a model", f"visus evaluate {shown(path)} DATA"
        else:
            what, fix = "it is a file", "name its folder, or a table that ends in .csv or .tsv"
        raise DataError("DATA-005", f"{shown(path)}: {what}, not a data set", fix=fix)


def _nowhere(path: Path, source: str) -> DataError | UsageError:
    name, colon, rest = source.partition(":")
    guess = nearest(name, _named())
    if colon and len(name) > 1 and "/" not in name:  # one letter is a drive
        return UsageError("DATA-003", f"{source}: there is no collection named {name!r}",
                          fix=f"did you mean {guess}:{rest}?" if guess else did_you_mean(name, _named()))  # fmt: skip
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    siblings = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    missing = path.relative_to(folder).parts[0]
    close = nearest(missing, siblings)
    if close:
        fix = f"did you mean {shown(folder / close)}?"
    elif guess and len(path.parts) == 1:
        fix = f"did you mean {guess!r}?"
    else:
        fix = f"{shown(folder.resolve())} holds {', '.join(sorted(map(shown, siblings))[:8]) or 'nothing'}"
    return DataError("DATA-001", f"{shown(path)}: there is no such folder or file", fix=fix)


def _no_format(path: Path, found: dict[str, Evidence]) -> DataError:
    """Return the error of style: what was looked for, what was found of it, and what to do."""
    looked = ", ".join(
        f"{FORMATS[name].looks_for} ({found[name].phrase if name in found else 'found 0'})"
        for name in FORMATS
        if FORMATS[name].named is None
    )
    loose = sum(_is_picture(path / name) for name in files_of(path)[:1000]) if path.is_dir() else 0
    inner = [name for name in folders_of(path) if has_picture(path / name)] if path.is_dir() else []
    if loose or inner:
        count = loose or len(list_pictures(path / inner[0]).pictures)
        return DataError(
            "DATA-006", f"{shown(path)}: it holds pictures ({count:,} or more) but nothing says what they show",
            where=_outer_folder(path) if loose else "", looked=looked,
            fix="make a folder for each class (DATA/cat/, DATA/dog/), or add labels.csv with the columns path,label",
        )  # fmt: skip
    formats = ", ".join(name for name in FORMATS if FORMATS[name].named is None)
    return DataError("DATA-002", f"{shown(path)} is not a data set that visus can read", looked=looked,
                     fix=_inner_folder(path) or f"name the format: --set data.format=NAME ({formats})")  # fmt: skip


def _is_picture(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return bool(sniff_format(file.read(32)))
    except (DataError, OSError):
        return False


def _inner_folder(path: Path) -> str:
    """Return a fix line where a folder inside is what was meant, as after unpacking an archive."""
    held = ((path / name, _hint(path / name)) for name in folders_of(path))
    return next((f"did you mean {shown(folder)}? It holds {phrase}" for folder, phrase in held if phrase), "")


def _outer_folder(path: Path) -> str:
    """Return what the folder above holds: one of its classes may have been named instead of it."""
    above = path.parent if path.name else path.resolve().parent
    phrase = _hint(above)
    return f"the folder above, {shown(above)}, holds {phrase}; if this is one of them, name that" if phrase else ""


def _hint(folder: Path) -> str:
    """Return what a format recognises in a folder, if it is more than one thing."""
    found = (FORMATS[name].sniff(folder) for name in FORMATS)
    return next((seen.phrase for seen in found if seen is not None and seen.score > _UNSURE and seen.count > 1), "")
