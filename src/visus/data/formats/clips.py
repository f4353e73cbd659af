"""Clips as folders of frames: DATA/run/clip_3/0001.jpg, or DATA/train/run/clip_3/0001.jpg beside val/ and test/.

A record is a frame with the class of its clip, and a group a clip, so that no clip is ever torn between splits.  Frames
stand in the order of their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.formats import Evidence, Format
from visus.data.formats.folder import read as read_folder
from visus.data.listing import files_of, folders_of, is_named_picture, natural
from visus.data.mask_pairs import ROLES
from visus.data.objects import Remark
from visus.data.paths import shown
from visus.data.splitting import SPLIT_WORDS

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_LOOKED = 3
_FEWEST = 2
_NUMBER = re.compile(r"(.*?)(\d{1,9})", re.ASCII | re.DOTALL)
_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg"}


def sniff(path: Path) -> Evidence | None:
    """Recognise class folders that hold folders of consecutively numbered pictures, by names alone."""
    if not path.is_dir():
        return None
    parts = [f"{name}/" for name in folders_of(path) if name.lower() in SPLIT_WORDS] or [""]
    classes = [f"{part}{name}" for part in parts for name in folders_of(path / part)]
    named = {name.rpartition("/")[2].lower() for name in classes} - ROLES  # images/ and masks/ are no classes
    if named and all(_holds_clips(path / name) for name in classes[:_LOOKED]):
        names = sorted({name.rpartition("/")[2] for name in classes}, key=natural)
        told = ", ".join(map(shown, names[:3])) + ", ..." * (len(names) > 3)
        return Evidence(0.93, f"clips as folders of frames, of {len(names):,} classes ({told})", len(names))
    videos = {Path(file).suffix.lower() for name in classes[:_LOOKED] for file in files_of(path / name)[:100]}
    if videos & _VIDEOS:
        kinds = ", ".join(sorted(videos & _VIDEOS))
        return Evidence(0.0, f"video files ({kinds}); make folders of frames: ffmpeg -i run/a.mp4 run/a/%05d.jpg")
    return None


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the frames of every clip, sorted by split, class, clip and number; the classes are the outer folders.

    Raises:
        DataError: as class folders have it, DATA-002, 006, 130 and 131; DATA-292, no picture lies in a clip's folder.
    """
    dataset = read_folder(path, settings)
    assert isinstance(dataset.images, FileImages)  # it reads nothing else
    labels = dataset.columns["label"].astype(np.int64)
    unsorted = list(dataset.images.paths)
    order = sorted(range(len(labels)), key=lambda i: (int(dataset.split[i]), int(labels[i]), natural(unsorted[i])))
    paths = [unsorted[i] for i in order]
    depth = 1 + all(name.partition("/")[0].lower() in SPLIT_WORDS for name in paths)  # of the class folders
    folders = [name.rpartition("/")[0] for name in paths]
    clips = [folder if folder.count("/") >= depth else name for folder, name in zip(folders, paths, strict=True)]
    loose = sum(clip == name for clip, name in zip(clips, paths, strict=True))
    if loose == len(paths):
        raise DataError("DATA-292", f"{shown(path)}: no frame lies in a folder of its clip", looked=dataset.evidence,
                        fix="make a folder for each clip: DATA/CLASS/CLIP/0001.jpg")  # fmt: skip
    notes = [note for note in dataset.notes if "lie deeper than their class folder" not in note]
    if loose:
        notes.append(f"{loose:,} pictures lie in no clip's folder; each is read as a clip of one frame")
    groups: dict[str, int] = {}
    found = sniff(path)
    frames = Strings(paths)
    return dataset.with_(
        format="clips",
        evidence=found.phrase if found else dataset.evidence,
        ids=frames,
        images=FileImages(path, frames, settings.max_pixels),
        columns={"label": labels[order]},
        split=dataset.split[order],
        groups=np.array([groups.setdefault(clip, len(groups)) for clip in clips], np.int64),
        notes=tuple(notes),
        remarks=tuple(_gaps([name for clip, name in zip(clips, paths, strict=True) if clip != name])),
    )


def _holds_clips(folder: Path) -> bool:
    clips = folders_of(folder)[:_LOOKED]
    return bool(clips) and all(_is_clip(folder / clip) for clip in clips)


def _is_clip(folder: Path) -> bool:
    """Tell whether a folder holds nothing but pictures, two at least, numbered one after the other."""
    names = [name for name in files_of(folder) if is_named_picture(name)]
    found = [_NUMBER.fullmatch(name.rpartition(".")[0]) for name in names]
    numbers = sorted(int(number[2]) for number in found if number)
    return (
        len(names) == len(numbers) >= _FEWEST
        and not folders_of(folder)
        and len({number[1] for number in found if number}) == 1
        and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    )


def _gaps(paths: Sequence[str]) -> Iterator[Remark]:
    """Yield the clips in which a number between two frames is missing."""
    for folder, frames in groupby(paths, key=lambda name: name.rpartition("/")[0]):
        stems = (frame.rpartition("/")[2].rpartition(".")[0] for frame in frames)
        numbers = sorted({int(found[2]) for stem in stems if (found := _NUMBER.fullmatch(stem))})
        missing = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
        if missing:
            after = next(number for number, following in pairwise(numbers) if following > number + 1)
            why = f"{missing:,} frames are missing between its first and its last, the first one after {after}"
            yield Remark(folder, "warned", "DATA-291", why)


FORMAT = Format("clips as folders of frames", sniff, read)
