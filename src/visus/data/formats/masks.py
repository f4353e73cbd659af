"""Class-map masks: pictures, each with a file of one channel that holds the class of every pixel.

``mask_pairs`` says which folders are recognised, ``pixel_classes`` how classes are named, ``mask_door`` how a mask is
read.  Without a list of classes they are the values found in a look at some masks.  255 says nothing of a pixel, unless
a list says otherwise or masks of 0 and 255 alone show two classes; so does the value that follows a list's last one.

It is written as images/SPLIT/ID beside masks/SPLIT/ID.png, with classes.txt.  Objects with outlines are painted, see
``painting``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import BadDataLimit, DataError
from visus.core.files import replacing
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.decode import Peek, peek
from visus.data.formats import Evidence, Format
from visus.data.listing import folders_of, has_picture
from visus.data.mask_door import Values, fitted, no_class, read_stored, undecided, values_of
from visus.data.mask_pairs import Pair, Pairs, Place, find_pairs, find_places, stem_of
from visus.data.objects import ClassMaps, Remark
from visus.data.painting import colours_of, paintable, painted
from visus.data.paths import inside, shown
from visus.data.pixel_classes import MOST, PixelClasses, read_pixel_classes, write_pixel_classes

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

LOOKED = 16
"""Masks of each split that are looked at when a data set is opened."""

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CITYSCAPES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip


def sniff(path: Path) -> Evidence | None:
    """Recognise folders of pictures beside folders of masks by their names, and by those of the files in them."""
    if not path.is_dir():
        return None
    places = find_places(path)
    if not places:
        return None
    try:
        found = find_pairs(path, places)
    except DataError as error:
        return Evidence(0.9, f"{_folders(places)}; {error.what}", 1)
    count = sum(bool(pair.mask) for pair in found.pairs)
    if not count:
        return Evidence(0.0, f"{_folders(places)}, whose names have nothing in common")
    boxes = (path / "Annotations").is_dir()  # Pascal VOC has more pictures with boxes than with masks
    return Evidence(0.92 if boxes else 0.97, _phrase(places, found), count)


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return pictures with the places of their masks; up to 16 masks of each split are looked at.

    A picture without a mask is kept, with a remark; a mask without a picture, and of those looked at one that cannot be
    decoded or does not fit its picture, are listed in ``bad``, up to the share ``settings.max_bad``.

    Raises:
        DataError: DATA-270 to 273 by ``mask_door``, for the masks looked at; DATA-274 a list of classes that is none;
            DATA-275 no pictures with masks; DATA-276 names that leave open what belongs together; DATA-277 more values
            than there can be classes.
        BadDataLimit: DATA-278, more masks than may be cannot be used.
    """
    places = find_places(path)
    found = find_pairs(path, places)
    if not any(pair.mask for pair in found.pairs):
        raise DataError(
            "DATA-275", f"{shown(path)}: there are no pictures with masks",
            looked="images/ + masks/, train/ + trainannot/, JPEGImages/ + SegmentationClass/, cat.jpg + cat_mask.png",
            fix="give a mask the name of its picture: images/cat.jpg, masks/cat.png",
        )  # fmt: skip
    stated = _stated(path, found)
    code = None if stated is None else stated.code
    looked = _look(path, found.pairs, settings, code)
    pairs = [pair for i, pair in enumerate(found.pairs) if i not in looked.broken]
    bad = (*found.alone, *((found.pairs[i].mask, str(error.what)) for i, error in looked.broken.items()))
    check_bad(path, bad, len(found.pairs) + len(found.alone), settings)
    if not any(pair.mask for pair in pairs):
        raise next(iter(looked.broken.values()))
    settled = _settle(path, stated, looked)
    pictures = Strings([pair.picture for pair in pairs])
    left = [name for name in folders_of(path) if has_picture(path / name) and not _used(name, places)]
    notes = [f"left out the folders without masks: {', '.join(map(shown, left[:5]))}"] if left else []
    return Dataset(
        name=shown(path.resolve().name),
        root=path,
        format="masks",
        evidence=_phrase(places, found),
        ids=Strings([pair.id for pair in pairs]),
        images=FileImages(path, pictures, settings.max_pixels),
        columns={},
        split=np.array([pair.split for pair in pairs], np.uint8),
        classes=settled.names,
        maps=ClassMaps(
            path, Strings([pair.mask for pair in pairs]), np.array(settled.values, np.int64), settled.ignore,
            settled.palette, pictures, settings.max_pixels, code,
        ),
        notes=(*found.notes, *notes, *settled.notes),
        bad=bad,
        remarks=(*_without_mask(pairs), *looked.remarks, *settled.remarks, *_blank(looked, settled)),
    )  # fmt: skip


def write(dataset: Dataset, folder: Path) -> None:
    """Write the masks of a data set, with its own values and colours, or painted from outlines, and its classes.

    Raises:
        DataError: DATA-283, nothing says of which class a pixel is, or there are too many classes.
    """
    if dataset.maps is not None:
        _write_maps(dataset, dataset.maps, folder)
    elif paintable(dataset):
        _write_painted(dataset, folder)
    else:
        raise DataError(
            "DATA-283", f"{dataset.name}: nothing says of which class a pixel is",
            fix="boxes and labels have no outlines: convert them to coco, yolo, voc or csv",
        )  # fmt: skip


def check_bad(path: Path, bad: Sequence[tuple[str, str]], listed: int, settings: DataSettings) -> None:
    """Refuse data of which too many masks cannot be used.

    Args:
        path: of the data.
        bad: (path, why) of the masks.
        listed: how many there are.
        settings: say how many may be bad.

    Raises:
        BadDataLimit: DATA-278.
    """
    if len(bad) <= settings.most_bad(listed):
        return
    named = "; ".join(f"{shown(name)}: {why}" for name, why in bad[:3]) + " ..." * (len(bad) > 3)
    raise BadDataLimit(
        "DATA-278", f"{shown(path)}: {len(bad):,} of {listed:,} masks cannot be used", where=named,
        done=f"stopped: at most {settings.most_bad(listed):,} may be bad ({settings.max_bad:.1%})",
        fix=f"add the pictures, remove the masks, or --set data.max_bad={math.ceil(100 * len(bad) / listed) / 100}",
    )  # fmt: skip


@dataclass
class _Look:
    """What some masks show.

    Attributes:
        counts: pixels of each value, over all masks looked at; ``first``: a mask that shows it.
        shown: (path, values) of each mask.
        broken: index of a pair -> why its mask cannot be decoded, or does not fit.
        palette: (256, 3) uint8 colours of values, where a mask has a palette.
        remarks: on single masks.
    """

    counts: Counter[int] = field(default_factory=Counter)
    first: dict[int, str] = field(default_factory=dict)
    shown: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    broken: dict[int, DataError] = field(default_factory=dict)
    palette: NDArray[np.uint8] | None = None
    remarks: list[Remark] = field(default_factory=list)


@dataclass(frozen=True)
class _Settled:
    """The classes, what stands for them, and what was guessed about it."""

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: tuple[int, ...]
    palette: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


def _look(path: Path, pairs: Sequence[Pair], settings: DataSettings, code: NDArray[np.int64] | None) -> _Look:
    """Look at some masks of each split, evenly spread over it, and whether they fit their pictures."""
    looked = _Look()
    for split in range(len(SPLITS)):
        with_mask = [i for i, pair in enumerate(pairs) if pair.split == split and pair.mask]
        for at in np.unique(np.linspace(0, len(with_mask) - 1, min(LOOKED, len(with_mask))).round().astype(int)):
            _look_at(path, with_mask[at], pairs[with_mask[at]], settings, code, looked)
    return looked


def _look_at(
    path: Path, i: int, pair: Pair, settings: DataSettings, code: NDArray[np.int64] | None, looked: _Look
) -> None:
    picture = _peeked(path / pair.picture, settings)
    try:
        stored = read_stored(path / pair.mask, max_pixels=settings.max_pixels, code=code)
        if picture is not None:
            fitted(stored.values, picture, path / pair.mask)
    except DataError as error:
        if error.code in {"DATA-270", "DATA-271", "DATA-273"}:
            raise
        looked.broken[i] = error
        return
    if picture is not None and undecided(picture):
        why = "the picture's EXIF turn leaves open in which frame the mask was drawn; it is taken as upright"
        looked.remarks.append(Remark(pair.mask, "warned", "DATA-284", why))
    counts = np.zeros(1 << 16, np.int64)
    for rows in _bands(stored.values):
        counts += np.bincount(rows.ravel(), minlength=len(counts))
    values = np.flatnonzero(counts).tolist()
    looked.counts.update({value: int(counts[value]) for value in values})
    for value in values:
        looked.first.setdefault(value, pair.mask)
    looked.shown.append((pair.mask, frozenset(values)))
    looked.palette = looked.palette if looked.palette is not None else stored.palette


def _bands(values: Values) -> Iterator[Values]:
    """Yield some rows at a time, so that counting a large mask takes little memory."""
    rows = max(1, (1 << 20) // values.shape[1])
    for top in range(0, len(values), rows):
        yield values[top : top + rows]


def _peeked(path: Path, settings: DataSettings) -> Peek | None:
    try:
        return peek(path, max_pixels=settings.max_pixels)
    except DataError:
        return None  # whoever decodes it says why


def _stated(path: Path, found: Pairs) -> PixelClasses | None:
    """Return what a file says of the classes, or a well-known data set's own, known by its names."""
    stated = read_pixel_classes(path)
    if stated is not None:
        return stated
    if found.ending.lower().endswith("_labelids"):
        void = (*(value for value in range(34) if value not in CITYSCAPES), 255)
        return PixelClasses("", tuple(CITYSCAPES.values()), tuple(CITYSCAPES), void)
    if found.ending.lower().endswith("_labeltrainids"):
        return PixelClasses("", tuple(CITYSCAPES.values()), tuple(range(len(CITYSCAPES))), (255,))
    if re.fullmatch(r"VOC\d{4}", path.resolve().name):
        return PixelClasses("", VOC, tuple(range(len(VOC))), (255,))
    return None


def _settle(path: Path, stated: PixelClasses | None, looked: _Look) -> _Settled:
    """Decide which value stands for which class, from what is stated and what the masks looked at show."""
    settled = _unstated(path, looked) if stated is None else _of_list(stated, looked)
    if stated is not None and not stated.file:
        settled = replace(settled, notes=(f"no file names the classes; they are read as {_well_known(stated)}",))
    strays = sorted(set(looked.counts) - set(settled.values) - set(settled.ignore))
    if strays:
        raise no_class(path / looked.first[strays[0]], strays, settled.values, settled.ignore)
    if settled.palette is None and looked.palette is not None and max(settled.values, default=0) < 256:
        settled = replace(settled, palette=looked.palette[list(settled.values)])
    return settled


def _well_known(stated: PixelClasses) -> str:
    return f"the {len(stated.names)} of {'Pascal VOC' if stated.names == VOC else 'Cityscapes'}"


def _unstated(path: Path, looked: _Look) -> _Settled:
    """Return the classes where nothing names them: the values that masks show."""
    if set(looked.counts) == {0, 255}:
        return _binary(("background", "foreground"), looked, [])
    values = tuple(sorted(value for value in looked.counts if value != 255))
    if len(values) > MOST:
        raise DataError(
            "DATA-277", f"{shown(path)}: {len(looked.shown):,} masks show {len(values):,} values; pixels can have"
            f" {MOST} classes", where=f"{values[0]} to {values[-1]}, as in {shown(looked.first[values[0]])}",
            fix="depth and numbers of instances are no classes; name the classes in classes.txt",
        )  # fmt: skip
    if not values:
        note = f"no file names the classes, and the masks looked at ({len(looked.shown):,}) show 255 alone: no class"
        return _Settled((), (), (255,), notes=(note,))
    total = sum(looked.counts.values())
    told = ", ".join(f"{value} ({looked.counts[value] / total:.1%})" for value in values[:12])
    note = (
        f"no file names the classes; these values were found in a look at {len(looked.shown):,} masks, with their"
        f" share of the pixels: {told}{' ...' * (len(values) > 12)}; classes.txt names them, a line each"
    )
    return _Settled(tuple(map(str, values)), values, (255,), notes=(note,))


def _of_list(stated: PixelClasses, looked: _Look) -> _Settled:
    """Return the classes of a list; where it gives no values they follow from what masks show."""
    ignore = (255,) if stated.ignore is None else stated.ignore
    if stated.values is not None:
        left = tuple(value for value in ignore if value not in stated.values)
        return _Settled(stated.names, stated.values, left, stated.palette)
    names, found, remarks = stated.names, set(looked.counts), list[Remark]()
    if len(names) == 1:
        names = ("background", *names) if names[0] != "background" else (*names, "foreground")
        why = f"it names one class: 0 is read as {names[0]}, another value as {names[1]}"
        remarks.append(Remark(stated.file, "warned", "DATA-280", why))
    count = len(names)
    if count == 2 and found == {0, 255} and stated.ignore is None:
        return _binary(names, looked, remarks)
    values = tuple(range(count))
    if stated.ignore is None and found - set(values) - set(ignore) == {count}:  # one value more than there are names
        share = looked.counts[count] / sum(looked.counts.values())
        if 0 in found:
            ignore = (count, *ignore)
            why = f"the value {count}, one beyond its {count} classes, is ignored ({share:.1%} of the pixels looked at)"
        else:
            values = tuple(range(1, count + 1))
            why = f"its {count} classes are read as the values 1 to {count}: masks show {count}, and no 0"
        remarks.append(Remark(stated.file, "warned", "DATA-282", why))
    return _Settled(names, values, ignore, stated.palette if count == len(stated.names) else None, (), tuple(remarks))


def _binary(names: tuple[str, ...], looked: _Look, remarks: Sequence[Remark]) -> _Settled:
    why = f"masks show 0 and 255 alone: 0 is read as {names[0]} and 255, elsewhere what is ignored, as {names[1]}"
    return _Settled(names, (0, 255), (), remarks=(*remarks, Remark(looked.first[255], "warned", "DATA-280", why)))


def _without_mask(pairs: Sequence[Pair]) -> Iterator[Remark]:
    for pair in pairs:
        if not pair.mask:
            yield Remark(pair.picture, "warned", "DATA-279", "this picture has no mask; nothing is learned from it")


def _blank(looked: _Look, settled: _Settled) -> Iterator[Remark]:
    for mask, values in looked.shown:
        if values.isdisjoint(settled.values):
            told = ", ".join(map(str, sorted(values)))
            yield Remark(mask, "warned", "DATA-281", f"nothing is labelled: all of its pixels are ignored ({told})")


def _folders(places: Sequence[Place]) -> str:
    if places[0].pictures == places[0].masks:
        return "pictures and masks in one folder"
    return ", ".join(f"{shown(place.pictures)} + {shown(place.masks)}" for place in places)


def _phrase(places: Sequence[Place], found: Pairs) -> str:
    count = sum(bool(pair.mask) for pair in found.pairs)
    return f"{count:,} picture{'s' * (count != 1)} with masks ({_folders(places)})"


def _used(name: str, places: Sequence[Place]) -> bool:
    return any(not place.pictures or name in (place.pictures, place.masks) or place.pictures.startswith(f"{name}/")
               or place.masks.startswith(f"{name}/") for place in places)  # fmt: skip


def _write_maps(dataset: Dataset, maps: ClassMaps, folder: Path) -> None:
    palette = _colours()
    if maps.palette is not None:
        low = maps.values < len(palette)
        palette[maps.values[low]] = maps.palette[low]
    write_pixel_classes(folder, dataset.classes, maps.values.tolist(), maps.ignore, maps.palette)
    _write_each(dataset, folder, lambda i: values_of(maps, i) if maps.paths[i] else None, palette)


def _write_painted(dataset: Dataset, folder: Path) -> None:
    whole = painted(dataset, ("class_map",))
    drawn = whole.drawn
    assert drawn is not None
    colours, palette = colours_of(whole), _colours()
    write_pixel_classes(folder, whole.classes, range(len(whole.classes)), (255,), colours)
    if colours is not None:
        palette[: len(colours)] = colours

    def values(i: int) -> Values:
        place = FORMAT.place(SPLITS[int(dataset.split[i])], dataset.ids[i])
        try:
            return drawn.read(i, peek(folder / place)[:2]).astype(np.uint8)
        except DataError as error:
            raise DataError(error.code, f"{shown(dataset.ids[i])}: {error.what}", fix=error.fix) from error

    _write_each(dataset, folder, values, palette)


def _write_each(
    dataset: Dataset, folder: Path, values: Callable[[int], Values | None], palette: NDArray[np.uint8]
) -> None:
    """Write the values of each record as a PNG: with the palette, or of 16 bits where one is above 255."""
    from PIL import Image

    stems = Counter((int(split), stem_of(name)) for split, name in zip(dataset.split, dataset.ids, strict=True))
    for i, name in enumerate(dataset.ids):
        split, pixels = int(dataset.split[i]), values(i)
        if pixels is None:
            continue
        bare = stem_of(name) if stems[split, stem_of(name)] == 1 else name
        path = inside(folder, f"masks/{SPLITS[split]}/{bare}.png", where=dataset.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        deep = pixels.max() > 255
        image = Image.fromarray(pixels.astype(np.uint16 if deep else np.uint8))
        if not deep:
            image.putpalette(palette.tobytes())
        with replacing(path) as file:
            image.save(file, "PNG")


def _colours() -> NDArray[np.uint8]:
    """Return (256, 3) colours of values that are easily told apart, black for 0.

    Source:
        Everingham et al., The PASCAL VOC development kit, ``VOClabelcolormap.m``.
    """
    value, colours = np.arange(256), np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (value >> (3 * bit + channel) & 1) << (7 - bit)
    return colours.astype(np.uint8)


FORMAT = Format("pictures with masks", sniff, read, write=write)
