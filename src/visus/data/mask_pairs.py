"""Which pictures and masks belong together, and in which split: by the names of folders and files alone.

=================================  ====================================================================================
folders                            such as
=================================  ====================================================================================
pictures and masks side by side    images/ + masks/, with train/ and val/ below both or with no splits; instead of masks
                                   also labels, annotations, gt, gtFine, SegmentationClass; instead of images also img,
                                   JPEGImages, leftImg8bit
splits outside                     train/images/ + train/masks/
splits in the names                train/ + trainannot/, train_images/ + train_masks/, images_val/ + labels_val/
one folder for both                cat.jpg + cat_mask.png; in every layout a mask may end in _mask, _label, _gt, _seg,
                                   _labelIds and the like, and a picture in _image, _img, _sat, _leftImg8bit
=================================  ====================================================================================

A mask bears its picture's name, with another ending (cat.png) or behind it (cat.jpg.png).  Pascal VOC's lists in
ImageSets/Segmentation say which pictures there are, and their splits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visus.core.errors import DataError
from visus.data.dataset import SPLITS
from visus.data.headers import EXTENSIONS
from visus.data.listing import files_of, folders_of, has_picture, list_pictures, notes_of
from visus.data.paths import read_regular, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN


@dataclass(frozen=True)
class Pair:
    """A picture, and its mask if it has one.

    Attributes:
        split: index into SPLITS.
        id: the picture's path below its folder and split.
        picture, mask: paths below the data's root; no mask is an empty string.
    """

    split: int
    id: str
    picture: str
    mask: str


@dataclass(frozen=True)
class Place:
    """Two folders that belong together, below the data's root, and their split; the same one twice holds both."""

    pictures: str
    masks: str
    split: int | None


@dataclass
class Pairs:
    """What was found.

    Attributes:
        pairs: sorted by split and id.
        alone: (path, why) of masks without a picture, and of listed pictures that are not there.
        ending: of the masks' names: ``_mask``; empty where they are named as their pictures.
        notes: what was left out, a sentence each.
    """

    pairs: list[Pair] = field(default_factory=list)
    alone: list[tuple[str, str]] = field(default_factory=list)
    ending: str = ""
    notes: list[str] = field(default_factory=list)


def find_places(path: Path) -> list[Place]:
    """Return the folders in which pictures and masks lie; nothing is read but names."""
    found = _siblings(path, "", None)
    for name in folders_of(path):
        if name.lower() in SPLIT_WORDS:
            found += _siblings(path / name, f"{name}/", SPLIT_WORDS[name.lower()])
    return found or ([Place("", "", None)] if _holds_both(path) else [])


def find_pairs(path: Path, places: Sequence[Place]) -> Pairs:
    """Return pictures with their masks.

    Raises:
        DataError: DATA-276, a mask could belong to two pictures, or a picture has two masks; DATA-010, a list of VOC's.
    """
    found = Pairs()
    for place in places:
        _pair(path, place, found)
    lists = _voc_lists(path) if any(place.pictures.lower() == "jpegimages" for place in places) else {}
    if lists:
        _keep_listed(lists, found)
    if len({(pair.split, pair.id) for pair in found.pairs}) < len(found.pairs):  # as of train/ and training/
        found.pairs = [Pair(pair.split, pair.picture, pair.picture, pair.mask) for pair in found.pairs]
    found.pairs.sort(key=lambda pair: (pair.split, pair.id))
    return found


def stem_of(path: str) -> str:
    """Return a path without the ending of a picture, if it has one: ``a/v1.2`` of ``a/v1.2.png`` and ``a/v1.2``."""
    head, _, ending = path.rpartition(".")
    return head if head and not head.endswith("/") and f".{ending.lower()}" in _KNOWN else path


_KNOWN = frozenset(ending for endings in EXTENSIONS.values() for ending in endings)
_PICTURES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
_MASKS = (  # the first that holds pictures is taken
    "masks", "mask", "segmentationclass", "segmentationclasspng", "gtfine", "gtcoarse", "gt", "annotations",
    "annotation", "annots", "annot", "labels", "label",
)  # fmt: skip
ROLES = frozenset((*_PICTURES, *_MASKS))
"""Names of folders, in small letters, that tell what lies in them: pictures, or what is drawn on them."""

_SPLIT = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_FOLDER = re.compile(
    rf"(?:(?P<before>{_SPLIT})[-_ ]?)?(?P<role>{'|'.join((*_PICTURES, *_MASKS))})?(?:[-_ ]?(?P<after>{_SPLIT}))?",
    re.IGNORECASE,
)
_MASK_ENDINGS = (
    "", "_gtFine_labelTrainIds", "_gtFine_labelIds", "_gtCoarse_labelTrainIds", "_gtCoarse_labelIds", "_labelTrainIds",
    "_labelIds", "_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_annotation", "-mask",
)  # fmt: skip
_PICTURE_ENDINGS = ("_leftimg8bit", "_image", "_img", "_sat", "_rgb", "-image")
_MOST_BYTES = 1 << 26


def _siblings(folder: Path, below: str, split: int | None) -> list[Place]:
    """Return the pairs of folders among those directly in a folder, which stands for a split or none."""
    pictures: dict[int | None, str] = {}
    masks: dict[int | None, list[tuple[int, str]]] = defaultdict(list)
    for name in folders_of(folder):
        found = _FOLDER.fullmatch(name)
        if found is None or (found["before"] and found["after"]):
            continue
        word = found["before"] or found["after"]
        part = SPLIT_WORDS[word.lower()] if word else split
        role = (found["role"] or "").lower()
        if role in _MASKS:
            masks[part].append((_MASKS.index(role), name))
            if (folder / name / "trimaps").is_dir():  # the Oxford pets
                masks[part].append((-1, f"{name}/trimaps"))
        elif role or (not below and part not in pictures):
            pictures[part] = name
    return [
        Place(below + name, below + mask, part)
        for part, name in pictures.items()
        if (mask := _first_with_pictures(folder, masks[part])) and has_picture(folder / name)
    ]


def _first_with_pictures(folder: Path, ranked: Iterable[tuple[int, str]]) -> str:
    return next((name for _, name in sorted(ranked) if has_picture(folder / name)), "")


def _holds_both(path: Path, depth: int = 2) -> bool:
    """Tell whether the first folder with pictures holds masks beside them."""
    names = [name for name in files_of(path) if stem_of(name) != name]
    if names:
        return 4 * _best_ending(names, names, _MASK_ENDINGS[1:])[1] >= len(names)
    return depth > 0 and any(_holds_both(path / name, depth - 1) for name in folders_of(path)[:3])


def _pair(path: Path, place: Place, found: Pairs) -> None:
    """Add the pairs of one place."""
    beside = place.pictures == place.masks
    pictures = list_pictures(path / place.pictures)
    masks = pictures if beside else list_pictures(path / place.masks)
    endings = _MASK_ENDINGS[1:] if beside else _MASK_ENDINGS
    ending, _ = _best_ending(pictures.pictures, masks.pictures, endings)
    kept, named = pictures.pictures, masks.pictures
    if ending:
        named = [name for name in named if _ends(stem_of(name), ending)]
    if beside:
        kept = [name for name in kept if not _ends(stem_of(name), ending)]
    elif left := len(masks.pictures) - len(named):
        found.notes.append(f"left out {left:,} files in {place.masks} that do not end in {ending}")
    found.ending = ending
    mask_of, alone = _match(kept, named, ending)
    where = place.pictures or "the folder"
    found.alone += [(_below(place.masks, name), f"there is no picture of this name in {where}") for name in alone]
    first = {name.partition("/")[0].lower() if "/" in name else "" for name in kept}
    by_folder = place.split is None and first <= set(SPLIT_WORDS)
    for name in kept:
        part, _, rest = name.partition("/")
        found.pairs.append(
            Pair(
                SPLIT_WORDS[part.lower()] if by_folder else TRAIN if place.split is None else place.split,
                rest if by_folder else name,
                _below(place.pictures, name),
                _below(place.masks, mask_of[name]) if name in mask_of else "",
            )
        )
    found.notes += notes_of(
        [(place.pictures, pictures)] if beside else [(place.pictures, pictures), (place.masks, masks)]
    )


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _best_ending(pictures: Sequence[str], masks: Sequence[str], endings: Sequence[str]) -> tuple[str, int]:
    """Return the ending with which most masks have a picture, the first of equals, and how many that are."""
    known = {key for tier in _known(pictures) for key in tier}
    stems = [stem_of(name) for name in masks]
    counts = {
        ending: sum(_ends(stem, ending) and stem[: len(stem) - len(ending)] in known for stem in stems)
        for ending in endings
    }
    best = max(counts, key=counts.__getitem__)
    return best, counts[best]


def _match(pictures: Sequence[str], masks: Sequence[str], ending: str) -> tuple[dict[str, str], list[str]]:
    """Return picture -> mask, and masks without a picture."""
    known = _known(pictures)
    mask_of: dict[str, str] = {}
    alone = []
    for mask in masks:
        stem = stem_of(mask)
        key = stem[: len(stem) - len(ending)]
        belongs = next((tier[key] for tier in known if key in tier), [])
        if not belongs:
            alone.append(mask)
        elif len(belongs) > 1:
            raise _unclear(f"the mask {shown(mask)} could belong to {shown(belongs[0])} and {shown(belongs[1])}")
        elif belongs[0] in mask_of:
            raise _unclear(f"{shown(belongs[0])} has two masks: {shown(mask_of[belongs[0]])} and {shown(mask)}")
        else:
            mask_of[belongs[0]] = mask
    return mask_of, alone


def _known(pictures: Sequence[str]) -> tuple[dict[str, list[str]], ...]:
    """Return the pictures that a mask of some name could belong to: by the whole name, without ending, and bare."""
    whole: dict[str, list[str]] = defaultdict(list)
    stems: dict[str, list[str]] = defaultdict(list)
    bare: dict[str, list[str]] = defaultdict(list)
    for name in pictures:
        stem = stem_of(name)
        whole[name].append(name)
        stems[stem].append(name)
        word = next((word for word in _PICTURE_ENDINGS if _ends(stem, word)), "")
        if word:
            bare[stem[: -len(word)]].append(name)
    return whole, stems, bare


def _unclear(what: str) -> DataError:
    return DataError(
        "DATA-276", what, fix="name a mask by its picture's whole name, cat.jpg.png for cat.jpg, and keep one a picture"
    )


def _ends(stem: str, ending: str) -> bool:
    return stem.lower().endswith(ending.lower())


def _voc_lists(path: Path) -> dict[str, tuple[int, str]]:
    """Return name -> (split, where it is listed) of VOC's lists; trainval counts where there is no train."""
    folder = path / "ImageSets" / "Segmentation"
    names = files_of(folder) if folder.is_dir() else []
    known = {name: SPLIT_WORDS[stem] for name in names if (stem := name.removesuffix(".txt").lower()) in SPLIT_WORDS}
    if TRAIN not in known.values() and "trainval.txt" in names:
        known["trainval.txt"] = TRAIN
    listed: dict[str, tuple[int, str]] = {}
    for name, split in known.items():
        text = read_regular(folder / name, _MOST_BYTES).decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                listed.setdefault(line.split()[0], (split, f"ImageSets/Segmentation/{name}, line {number}"))
    return listed


def _keep_listed(lists: dict[str, tuple[int, str]], found: Pairs) -> None:
    """Keep the pictures that are listed, in their splits, and name the listed ones that are not there."""
    by_stem = {stem_of(pair.id): pair for pair in found.pairs}
    kept = [
        Pair(split, by_stem[name].id, by_stem[name].picture, by_stem[name].mask)
        for name, (split, _) in lists.items()
        if name in by_stem
    ]
    if left := len(found.pairs) - len(kept):
        parts = ", ".join(sorted({SPLITS[split] for split, _ in lists.values()}))
        found.notes.append(f"left out {left:,} pictures that ImageSets/Segmentation does not list ({parts})")
    found.alone += [
        (name, f"{where}: there is no such picture") for name, (_, where) in lists.items() if name not in by_stem
    ]
    found.pairs = kept
