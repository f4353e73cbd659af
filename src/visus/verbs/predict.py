"""``visus predict``: what a model says about files."""

from __future__ import annotations

import csv
import glob
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, UsageError
from visus.core.figures import Table
from visus.core.files import write_bytes, write_json, write_text

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visus.core.task import Batch, Located, Prediction
    from visus.data.dataset import Images
    from visus.data.feed import Feed
    from visus.data.objects import Mark
    from visus.verbs.found import Numbers
    from visus.verbs.load import Model

MOST = 32
"""Pictures that are looked at at once, where no number is asked for: more are no faster."""


_INSIDE = ((0, 0, 0), (255, 255, 255))  # of a mask of one class


@dataclass(frozen=True)
class Predictions:
    """What was said, file by file, and what could not be answered.

    Attributes:
        files: as they were named.
        predictions: one a file, None where it could not be read; of class maps that are not kept, what tables say.
        problems: (what was named, reason): files that cannot be read or are not there, patterns that match nothing.
        readable: there are no more problems than the model's recipe allows of so many files.
        notes: what was passed over, a sentence each.
        drawn: where pictures with the answers were written; ``maps``: where the class of every pixel was; ``data``:
            where they were as a data set, if asked for.
    """

    files: tuple[str, ...]
    predictions: tuple[Prediction | None, ...]
    problems: tuple[tuple[str, str], ...] = ()
    readable: bool = True
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    data: str = ""

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[str, Prediction | None]]:
        return iter(zip(self.files, self.predictions, strict=True))

    def json(self) -> dict[str, Any]:
        """Return ``{"predictions": [{"file", ...}], "problems": [{"file", "why"}], "notes": []}``.

        Beside the file stands what the task says: ``label`` and ``score``; ``boxes``, ``labels`` and ``scores``;
        ``classes`` and ``areas``.
        """
        return {
            "predictions": [{"file": file, **said.json()} for file, said in self if said is not None],
            "problems": [{"file": file, "why": why} for file, why in self.problems],
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """Return a line a file, or a line an object that was found in it, or a class that its pixels show."""
        rows = [{"file": file, **line} for file, said in self if said is not None for line in said.rows()]
        return Table("", tuple(rows[0]) if rows else ("file",), [tuple(row.values()) for row in rows])

    def csv(self) -> str:
        """Return the table as CSV."""
        table, out = self.table(), io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(table.rows)
        return out.getvalue()


@dataclass(frozen=True)
class Told:
    """What tables say of a prediction whose pixels are not kept.

    Attributes:
        said: as JSON; ``lines``: of a table.
    """

    said: dict[str, Any]
    lines: list[dict[str, Any]]

    def home(self, frame: Tensor) -> Told:
        """Return itself."""
        return self

    def json(self) -> dict[str, Any]:
        """Return what was said."""
        return self.said

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines."""
        return self.lines


def predict(
    model: str | Path | Model,
    files: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    to: str | None = None,
    numbers: str | Path | None = None,
    least: float | None = None,
    network: str | nn.Module | None = None,
    set: Mapping[str, Any] | None = None,
    batch: int = 0,
    keep: bool = True,
) -> Predictions:
    """Return what a model says about pictures; what cannot be read or found is told, and stops nothing else.

    Pictures are drawn and class maps written as they are answered, one after the other.

    Args:
        model: a model file, a run folder, or a loaded model.
        files: files, folders (looked through for pictures) and globs.
        out: folder for drawn pictures, predictions.json and predictions.csv; of what is said of every pixel, also
            palette PNGs that hold the number of each one's class.
        to: write what was found also as a data set, in the folder of that name in ``out``: objects as ``coco``,
            ``yolo``, ``voc`` or ``csv``, with ``coco`` also ``results.json``, which ``evaluate`` judges; the connected
            regions of each class as ``coco``.
        numbers: a COCO file whose numbers of pictures and classes that data set and ``results.json`` shall bear.
        least: score from which on an object is shown; by default that of the best F1 on the validation part.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        set: how the model is asked, where it was trained otherwise: ``flips``, ``input.tiles``, ``input.seam``,
            ``segment.scales``.
        batch: pictures looked at at once; by default as trained, at most 32.
        keep: hold the class maps in what is returned, three bytes a pixel; without, only what tables say of them.

    Raises:
        DataError: there is not one picture; ``numbers`` are of data without such pictures or classes.
        UsageError: ``out`` cannot be a folder to write to, or holds such a data set already; the model finds nothing
            that such data consists of.  Nothing was asked then.
    """
    from visus.core.task import Layered, Mapped
    from visus.data.dataset import FileImages, Strings
    from visus.verbs.load import Model, load

    found, missing, notes = gather([files] if isinstance(files, str | Path) else files)
    loaded = (model if isinstance(model, Model) else load(model, model=network)).answering("predict").asking(set or {})
    place = Path(out) if out is not None else None
    check_least(loaded, least)
    data = _asked(loaded, found, place, to, numbers) if to is not None or numbers is not None else None
    if place is not None:
        make_folder(place)
    source = FileImages(Path(), Strings(found), loaded.recipe.data.max_pixels)
    drawing = _Drawing(loaded, source, place, found) if place is not None else None
    bad: dict[str, str] = {}
    kept: dict[str, Prediction] = {}
    with _shown_from(loaded, least):
        for name, said in answer(loaded, source, found, batch=batch, bad=bad):
            if drawing is not None:
                drawing.add(name, said)
            if data is not None:
                data.add(name, said)
            kept[name] = said if keep or not isinstance(said, Mapped | Layered) else Told(said.json(), said.rows())
    problems = (*bad.items(), *missing)
    readable = len(problems) <= loaded.recipe.data.max_bad * (len(found) + len(missing))
    result = Predictions(tuple(found), tuple(kept.get(name) for name in found), problems, readable, tuple(notes))
    if data is not None:
        result = data.written(result)
    return result if drawing is None else drawing.finished(result)


def answer(
    model: Model, images: Images, names: Sequence[str], *, batch: int = 0, bad: dict[str, str] | None = None
) -> Iterator[tuple[str, Prediction]]:
    """Yield (name, prediction) of pictures, in their own pixels; those that cannot be read go into ``bad``.

    Raises:
        DataError: one cannot be read and ``bad`` is not given.
    """
    import numpy as np

    from visus.data.dataset import Dataset, Strings
    from visus.engine.device import short_of_memory
    from visus.engine.evaluate import answers
    from visus.verbs.assembly import feed

    device = model.device()
    data = Dataset("files", Path(), "files", "named", Strings(names), images, {}, np.zeros(len(names), np.uint8))
    most = batch or min(model.recipe.batch, MOST)
    recipe = model.recipe.model_copy(update={"batch": min(most, max(1, len(names)))})
    with (
        short_of_memory("nothing was written", "less else running, or visus.predict(MODEL, FILES, batch=1)"),
        feed(data, np.arange(len(names)), model.task, recipe, device, train=False) as shown,
    ):
        readable = readable_batches(shown, bad, lambda: reasons(images, names, recipe.input.channels))
        for part, raw in answers(model.task, model.asked, readable, device, model.at_once):
            for row, said in enumerate(model.task.decode(raw)):
                yield part.ids[row], said.home(part.frames[row])


def readable_batches(shown: Feed, bad: dict[str, str] | None, why: Callable[[], dict[str, str]]) -> Iterator[Batch]:
    """Yield the batches of a sweep; what cannot be read goes into ``bad`` with its reason, be it everything."""
    try:
        for part in shown.sweep():
            for name, reason in part.bad:
                if bad is None:
                    raise DataError("DATA-094", reason, where=name)
                bad[name] = reason
            yield part
    except DataError as error:
        if error.code != "DATA-032" or bad is None:
            raise
        bad.update(why())  # not one picture could be read, so there was no batch to tell why


def reasons(images: Images, names: Sequence[str], channels: int) -> dict[str, str]:
    """Return why each picture that cannot be read cannot, by its name."""
    import numpy as np

    from visus.data.pixels import pictures

    refused = pictures(images, channels).take(np.arange(len(names)), lambda index: None).bad
    return {names[i]: why for i, why in refused.items()}


def gather(
    named: Sequence[str | Path],
    done: str = "nothing was predicted",
    call: str = "visus predict MODEL FILES...",
) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Return the files behind files, folders and globs, each once, folders and globs in the order of names.

    Args:
        named: by the user.
        done, call: what an error says of what came of it, and how the command is called.

    Returns:
        The files; (what was named, reason) of names behind which there is none; notes on what was passed over.

    Raises:
        DataError: there is not one file.
    """
    found: list[str] = []
    missing: list[tuple[str, str]] = []
    notes: list[str] = []
    for item in [os.fspath(name) for name in named]:
        files, why = _behind(item, notes)
        found += files
        if why:
            missing.append((item, why))
    if not named:
        raise UsageError("USE-014", "no file was named", fix=call)
    if not found:
        (first, why), more = missing[0], len(missing) - 1
        raise DataError(
            "DATA-095", f"{first}: {why}", where=f"and {more:,} more of the names given" if more else "",
            done=done, fix=f"{call}, which are pictures, folders or '*.jpg'",
        )  # fmt: skip
    return list(dict.fromkeys(found)), missing, notes


def _behind(item: str, notes: list[str]) -> tuple[list[str], str]:
    """Return the files behind one name, or why there are none."""
    from visus.data.listing import list_pictures

    if Path(item).is_dir():
        listed = list_pictures(Path(item))
        others = f"{len(listed.others):,} other file{'s' * (len(listed.others) != 1)}"
        if not listed.pictures:
            return [], f"no picture in this folder, but {others}" if listed.others else "this folder is empty"
        if listed.others:
            notes.append(f"{item}: {others} passed over, such as {listed.others[0]}")
        return [str(Path(item, name)) for name in listed.pictures], ""
    if os.path.lexists(item):
        return [item], ""
    if glob.has_magic(item):
        matched = sorted(glob.glob(item, recursive=True))  # noqa: PTH207  # may be absolute
        files = [name for name in matched if not Path(name).is_dir()]
        return files, "" if files else "no file matches this pattern"
    return [], "there is no such file or folder"


def _asked(model: Model, files: Sequence[str], out: Path | None, to: str | None, numbers: str | Path | None) -> _AsData:
    """Return what writes predictions as a data set, all that can be wrong about it being seen to before.

    Raises:
        UsageError: USE-060 no such format, USE-061 no place for it, or numbers for a format without any, USE-062 a
            model that finds nothing which has a place.
        DataError: the numbers are not those of these files and classes.
    """
    from visus.data.paths import check_free
    from visus.verbs import found

    if to is None or out is None or (numbers is not None and to != "coco"):
        raise UsageError("USE-061", "--to FORMAT needs --out DIR, and --numbers DATA needs --to coco",
                         done="nothing was predicted", fix="visus predict MODEL FILES --out DIR --to coco")  # fmt: skip
    formats = next((found.FORMATS[what] for what in model.task.reads if what in found.FORMATS), ())
    if not formats:
        raise UsageError("USE-062", f"--to {to}: {model.path} finds no objects, of which such data consists",
                         done="nothing was predicted", fix="--out DIR writes predictions.json and .csv")  # fmt: skip
    found.check_format(to, formats)
    check_free(out / to)
    held = found.numbers_of(numbers) if numbers is not None else None
    if held is not None:
        for label in model.classes:
            held.of_class(label)
        for file in files:
            held.of_picture(file)
    return _AsData(model, out, to, held)


class _AsData:
    """Collects what is found, picture by picture, and writes it as a data set."""

    def __init__(self, model: Model, out: Path, to: str, numbers: Numbers | None) -> None:
        self.model, self.out, self.to, self.numbers = model, out, to, numbers
        self.records: dict[str, list[Mark]] = {}
        self.located: list[Located] = []
        self.of_classes: tuple[str, ...] = ()

    def add(self, name: str, said: Prediction) -> None:
        """Take what was found on one picture."""
        import numpy as np

        from visus.core.task import Located, Mapped
        from visus.data.painting import as_stuff
        from visus.verbs.found import marks_of

        self.records[name] = marks_of(said, self.model.classes, self.to)
        if isinstance(said, Mapped):
            self.of_classes = as_stuff(self.model.classes, np.array(said.palette, np.uint8))
        elif isinstance(said, Located):
            self.located.append(said)

    def written(self, result: Predictions) -> Predictions:
        """Write the data set, and note what its format cannot hold."""
        from visus.data.converting import convert
        from visus.verbs import found

        if not self.records:
            return result
        names, every = list(self.records), list(self.records.values())
        dataset = found.as_data(self.out.name, names, every, self.model.classes, self.numbers, self.of_classes)
        lost = convert(dataset, self.to, self.out / self.to, lossy=True)
        if self.to == "coco" and self.located:
            found.write_results(self.out / "results.json", dataset, self.located)
        told = (f"{self.to} cannot hold {what}" for what in lost)
        return replace(result, data=str(self.out / self.to), notes=(*result.notes, *told))


def check_least(model: Model, least: float | None) -> None:
    """Refuse a score from which on nothing can be shown.

    Raises:
        UsageError: USE-063.
    """
    if least is not None and (not 0 <= least <= 1 or "objects" not in model.task.reads):
        raise UsageError("USE-063", f"--least {least}: a score from 0 to 1, of a model that finds objects",
                         done="nothing was predicted", fix="--least 0.01 shows nearly all")  # fmt: skip


@contextmanager
def _shown_from(model: Model, least: float | None) -> Iterator[None]:
    """Let the model show what it is as sure of as asked, and afterwards as sure as before."""
    if least is None:
        yield
        return
    try:
        model.task.calibrate({"threshold": least})
        yield
    finally:
        model.task.calibrate(model.card.calibration)


def file_words(labels: Iterable[str]) -> list[str]:
    """Return a word for each label that can stand in the name of a file; no two are the same."""
    words: list[str] = []
    for label in labels:
        word = re.sub(r"[^\w-]", "_", label)[:60]
        while word in words:
            word += "_"
        words.append(word)
    return words


def make_folder(out: Path, done: str = "nothing was predicted") -> None:
    """Make a folder to write to, where it is not there, and see that one can write there before there is work to lose.

    Raises:
        UsageError: it cannot be, or nothing can be written there.
        ResourceError: the disk is full.
    """
    from visus.core.files import write_failed

    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError("USE-027", f"{out}: a file is in the way of this folder", done=done,
                         fix="--out takes a folder: --out said") from error  # fmt: skip
    except OSError as error:
        raise write_failed(error, out) from error


class _Drawing:
    """Draws what is said, picture by picture, and writes class maps; in the end, tables.

    Raises:
        UsageError: the folder cannot be written to.
        ResourceError: the disk is full.
    """

    def __init__(self, model: Model, images: Images, out: Path, names: Sequence[str]) -> None:
        from visus.data.pixels import pictures

        self.task, self.out = model.task, out
        self.source = pictures(images, model.recipe.input.channels)
        self.place = {name: i for i, name in enumerate(names)}
        self.before = {str(place) for place in out.glob("[0-9]" * 5 + "-*.png")}
        self.drawn: list[str] = []
        self.maps: list[str] = []

    def add(self, name: str, said: Prediction) -> None:
        """Write one picture with what was said of it."""
        import numpy as np

        from visus.core.sample import Sample
        from visus.core.task import Layered, Mapped
        from visus.report.pictures import palette_png, png

        taken = self.source.take(np.array([self.place[name]]), lambda index: None)
        place = self.out / f"{len(self.drawn):05d}-{Path(name).stem[:60]}.png"  # 255 bytes, whatever its letters
        write_bytes(place, png(self.task.draw(Sample(name, taken.images[0]), said)))
        self.drawn.append(str(place))
        if isinstance(said, Mapped):
            self.maps.append(str(place.with_suffix(".classes.png")))
            write_bytes(Path(self.maps[-1]), palette_png(said.class_map.numpy(), said.palette))
        elif isinstance(said, Layered):
            for word, layer in zip(file_words(said.layers), said.layers.values(), strict=True):
                self.maps.append(str(place.with_suffix(f".{word}.png")))
                write_bytes(Path(self.maps[-1]), palette_png(layer.numpy().astype(np.uint8), _INSIDE))

    def finished(self, result: Predictions) -> Predictions:
        """Write the tables of all that was said."""
        left = len(self.before.difference(self.drawn, self.maps))
        older = (
            f"{self.out}: {left:,} picture{'s' * (left != 1)} drawn before {'is' if left == 1 else 'are'} still there"
        )
        notes = (*result.notes, *[older] * (left > 0))
        written = replace(result, drawn=tuple(self.drawn), maps=tuple(self.maps), notes=notes)
        write_json(self.out / "predictions.json", written.json())
        write_text(self.out / "predictions.csv", written.csv())
        return written
