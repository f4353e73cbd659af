"""``torchvision:NAME``: the image-classification sets of ``torchvision.datasets`` by name.

Their files are looked for below the given folder, else ./data, $TORCH_HOME and $TORCH_HOME/data, and are downloaded
only when told to.  Pictures come in by visus's own doors: MNIST's family by the IDX reader, CIFAR by the batch reader,
files by the decode door.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.data.dataset import SPLITS, ArrayImages, Dataset, FileImages, Strings
from visus.data.formats import FORMATS, Evidence, Format
from visus.data.paths import shown
from visus.data.splitting import TEST, TRAIN, VAL

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings


@dataclass(frozen=True)
class Source:
    """How one set lies below the root.

    Attributes:
        at: a file or folder below the root that is there when the set is.
        splits: arguments of torchvision's class for each split.
        reader: the format that reads ``at`` instead of torchvision's class, where visus has it.
        no_class: a folder among the classes that torchvision does not count as one.
    """

    at: str
    splits: Mapping[int, Mapping[str, object]] = field(default_factory=lambda: {TRAIN: {}})
    reader: str = ""
    no_class: str = ""


def _parts(train: str = "", val: str = "", test: str = "") -> dict[int, dict[str, object]]:
    return {split: {"split": name} for split, name in ((TRAIN, train), (VAL, val), (TEST, test)) if name}


_SWITCH: dict[int, dict[str, object]] = {TRAIN: {"train": True}, TEST: {"train": False}}

SETS: Mapping[str, Source] = {
    "CIFAR10": Source("cifar-10-batches-py", _SWITCH, "cifar"),
    "CIFAR100": Source("cifar-100-python", _SWITCH, "cifar"),
    "CLEVRClassification": Source("clevr/CLEVR_v1.0", _parts("train", "val")),
    "Caltech101": Source("caltech101/101_ObjectCategories", reader="folder", no_class="BACKGROUND_Google"),
    "Caltech256": Source("caltech256/256_ObjectCategories", reader="folder"),
    "CelebA": Source("celeba", _parts("train", "valid", "test")),
    "Country211": Source("country211", _parts("train", "valid", "test"), "folder"),
    "DTD": Source("dtd/dtd", _parts("train", "val", "test")),
    "EMNIST": Source("EMNIST/raw", {split: {"split": "balanced", **switch} for split, switch in _SWITCH.items()}),
    "EuroSAT": Source("eurosat/2750", reader="folder"),
    "FER2013": Source("fer2013", _parts("train")),
    "FGVCAircraft": Source("fgvc-aircraft-2013b", _parts("train", "val", "test")),
    "FashionMNIST": Source("FashionMNIST/raw", _SWITCH, "idx"),
    "Flowers102": Source("flowers-102", _parts("train", "val", "test")),
    "Food101": Source("food-101", _parts("train", test="test")),
    "GTSRB": Source("gtsrb", _parts("train", test="test")),
    "INaturalist": Source("2021_train", {TRAIN: {"version": "2021_train"}, VAL: {"version": "2021_valid"}}),
    "ImageNet": Source("train", _parts("train", "val")),
    "Imagenette": Source("imagenette2", _parts("train", "val")),
    "KMNIST": Source("KMNIST/raw", _SWITCH, "idx"),
    "LFWPeople": Source("lfw-py", _parts("10fold")),
    "MNIST": Source("MNIST/raw", _SWITCH, "idx"),
    "Omniglot": Source("omniglot-py"),
    "OxfordIIITPet": Source("oxford-iiit-pet", _parts("trainval", test="test")),
    "PCAM": Source("pcam", _parts("train", "val", "test")),
    "Places365": Source("categories_places365.txt", _parts("train-standard", "val")),
    "QMNIST": Source("QMNIST/raw", _SWITCH),
    "RenderedSST2": Source("rendered-sst2", _parts("train", "val", "test")),
    "SEMEION": Source("semeion.data"),
    "STL10": Source("stl10_binary", _parts("train", test="test")),
    "SUN397": Source("SUN397"),
    "SVHN": Source("train_32x32.mat", _parts("train", test="test")),
    "StanfordCars": Source("stanford_cars", _parts("train", test="test")),
    "USPS": Source("usps.bz2", _SWITCH),
}

_OTHERS: Mapping[str, str] = {
    "LFWPairs": "it holds pairs of faces to compare; torchvision:LFWPeople names the people",
    "LSUN": "it lies in LMDB databases; write its pictures into a folder a class",
    "FakeData": "it is noise with labels drawn by lot",
    **dict.fromkeys(("Flickr8k", "Flickr30k", "SBU"), "it holds captions, not classes"),
}
"""Sets of torchvision beside classification that are asked for as if they were, and why they are refused."""


def sniff(path: Path) -> Evidence | None:
    """Recognise no folder: the sets are asked for by name."""
    return None


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the set; there is nothing to read from a path.

    Raises:
        UsageError: DATA-003, where a folder was named.
    """
    raise UsageError(
        "DATA-003", f"{shown(path)}: a set of torchvision comes by name", fix="visus train torchvision:CIFAR10"
    )


def named(name: str, settings: DataSettings, root: Path | None, download: bool) -> Dataset:
    """Return a set by torchvision's name for it, with the splits it is published with.

    Args:
        name: a key of ``SETS``.
        settings: of the data.
        root: the folder that holds, or receives, the set's files; None looks in ./data and below $TORCH_HOME.
        download: fetch what is not there.

    Raises:
        UsageError: DATA-170, no such set, or one that is not of pictures with classes.
        DataError: DATA-171 its files are not there, DATA-172 torchvision cannot read or download them.
    """
    if name not in SETS:
        _check_other(name)
        raise UsageError(
            "DATA-170", f"torchvision:{name}: there is no such image-classification set", fix=did_you_mean(name, SETS)
        )
    source = SETS[name]
    folders = [root] if root is not None else _usual_folders()
    home = next((folder for folder in folders if (folder / source.at).exists()), None)
    if home is None and not download:
        raise DataError(
            "DATA-171", f"torchvision:{name} is not on this machine",
            looked=", ".join(shown(folder / source.at) for folder in folders),
            fix=f"put its files there, or download them: visus train torchvision:{name} --download",
        )  # fmt: skip
    home = home or folders[0]
    if download:
        _download(name, source, home)
    if source.reader:
        dataset = FORMATS[source.reader].read(home / source.at, settings).with_(name=name, format="torchvision")
        return _without(dataset, source.no_class, settings) if source.no_class in dataset.classes else dataset
    return _from_class(name, source, home, settings)


def _check_other(name: str) -> None:
    """Refuse a set that torchvision has, but not for classification, with the reason.

    Raises:
        UsageError: that is so.
    """
    from torchvision import datasets

    if name in datasets.__all__:
        why = _OTHERS.get(name, "it is not a set of pictures with classes")
        raise UsageError("DATA-170", f"torchvision:{name} is not for classification: {why}",
                         fix="visus train torchvision:CIFAR10 shows how one is trained on")  # fmt: skip


def _without(dataset: Dataset, name: str, settings: DataSettings) -> Dataset:
    """Return a set of files without one of its classes."""
    gone = dataset.classes.index(name)
    label = dataset.columns["label"].astype(np.int64)
    keep = np.flatnonzero(label != gone)
    ids = Strings([dataset.ids[i] for i in keep.tolist()])
    return dataset.with_(
        ids=ids,
        images=FileImages(dataset.root, ids, settings.max_pixels),
        columns={"label": label[keep] - (label[keep] > gone)},
        split=dataset.split[keep],
        classes=tuple(other for other in dataset.classes if other != name),
        notes=(*dataset.notes, f"left out {name}, which is no class"),
    )


def _usual_folders() -> list[Path]:
    home = os.environ.get("TORCH_HOME")
    return [Path("data"), *([Path(home), Path(home) / "data"] if home else [])]


def _download(name: str, source: Source, home: Path) -> None:
    """Let torchvision fetch and unpack a set; CIFAR's batches are not unpickled for it."""
    from torchvision import datasets
    from torchvision.datasets.utils import download_and_extract_archive

    cls = getattr(datasets, name)
    try:
        home.mkdir(parents=True, exist_ok=True)
        if source.reader == "cifar":
            if not (home / source.at).exists():
                download_and_extract_archive(cls.url, str(home), filename=cls.filename, md5=cls.tgz_md5)
            return
        for arguments in source.splits.values():
            cls(str(home), download=True, **arguments)
    except TypeError as error:
        raise DataError("DATA-172", f"torchvision:{name}: torchvision cannot download this set", where=str(error),
                        fix=f"fetch it by hand and put it below {shown(home / source.at)}") from error  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError("DATA-172", f"torchvision:{name}: the download failed", where=str(error).splitlines()[0],
                        fix=f"try again, or put the files below {shown(home / source.at)}") from error  # fmt: skip


def _from_class(name: str, source: Source, home: Path, settings: DataSettings) -> Dataset:
    """Read a set through torchvision's class: what it holds in memory, or the files it lists."""
    from torchvision import datasets

    sets = {}
    for split, arguments in source.splits.items():
        if "version" in arguments and not (home / str(arguments["version"])).is_dir():
            continue  # each version is a download of its own; that of training is there
        try:
            sets[split] = getattr(datasets, name)(str(home), **arguments)
        except ImportError as error:
            raise _no_library(name, error.name or str(error)) from error
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            if isinstance(error.__context__, ImportError):  # PCAM's class words it as a RuntimeError
                raise _no_library(name, error.__context__.name or str(error)) from error
            raise DataError(
                "DATA-172", f"torchvision:{name}: its files in {shown(home / source.at)} are not whole",
                where=str(error).splitlines()[0],
                fix=f"put them there again, or visus train torchvision:{name} --download",
            ) from error  # fmt: skip
    records = {split: _records(held) for split, held in sets.items()}
    labels = np.concatenate([labels for _, labels in records.values()])
    counts = [len(labels) for _, labels in records.values()]
    first = next(iter(records.values()))[0]
    columns: dict[str, NDArray[np.generic]]
    names = _names_of(next(iter(sets.values())))
    if labels.ndim == 2:
        columns, classes = {"labels": labels.astype(np.uint8)}, names
    else:
        values = np.unique(labels)
        columns, classes = {"label": np.searchsorted(values, labels)}, _classes(names, values)
    if isinstance(first, np.ndarray):
        images: ArrayImages | FileImages = ArrayImages(
            np.concatenate([np.asarray(pixels) for pixels, _ in records.values()])
        )
        ids = Strings([f"{SPLITS[split]}/{i}" for split, (_, known) in records.items() for i in range(len(known))])
    else:
        ids = Strings([os.path.relpath(path, home) for paths, _ in records.values() for path in paths])
        images = FileImages(home, ids, settings.max_pixels)
    return Dataset(
        name=name,
        root=home,
        format="torchvision",
        evidence=f"torchvision's {name} in {shown(home)}",
        ids=ids,
        images=images,
        columns=columns,
        split=np.repeat(np.array(list(records), np.uint8), counts),
        classes=classes,
    )


def _no_library(name: str, library: str) -> DataError:
    return DataError(
        "DATA-172", f"torchvision:{name} needs the library {library}, which is not installed",
        fix=f"uv pip install {library}",
    )  # fmt: skip


_Records: TypeAlias = tuple[
    NDArray[np.generic] | list[str], NDArray[np.int64]
]  # pixels or paths; labels, (N,) or (N, K)


def _records(held: Any) -> _Records:
    """Return what a set of torchvision knows of its pictures, whichever of its habits it follows."""
    if type(held).__name__ in _HABITS:
        return _HABITS[type(held).__name__](held)
    samples = next((getattr(held, name) for name in ("_samples", "samples", "imgs") if hasattr(held, name)), None)
    if samples:
        first, labels = [sample[0] for sample in samples], np.array([int(sample[1]) for sample in samples], np.int64)
        return first if isinstance(first[0], str) else np.stack([np.asarray(picture) for picture in first]), labels
    stored = next((getattr(held, name) for name in ("_image_files", "_images", "data") if hasattr(held, name)), None)
    known = next((getattr(held, name) for name in ("_labels", "targets", "labels") if hasattr(held, name)), None)
    if stored is None or known is None:
        raise DataError(
            "DATA-172", f"torchvision's {type(held).__name__} keeps its pictures in a way visus does not know"
        )
    numbers = np.asarray(known, np.int64)
    labels = numbers[:, 0] if numbers.ndim == 2 else numbers  # QMNIST tells eight numbers a picture
    if isinstance(stored, list):
        return [os.fspath(path) for path in stored], labels
    pixels = np.asarray(stored)
    return pixels.transpose(0, 2, 3, 1) if pixels.ndim == 4 and pixels.shape[1] == 3 else pixels, labels


def _omniglot(held: Any) -> _Records:
    """The characters of the background alphabets; those of the evaluation alphabets are other classes."""
    pairs = sorted((character, name) for name, character in held._flat_character_images)
    paths = [f"{held.target_folder}/{held._characters[character]}/{name}" for character, name in pairs]
    return paths, np.array([character for character, _ in pairs], np.int64)


def _inaturalist(held: Any) -> _Records:
    """Species by folder, files in the order of their names: torchvision takes them as the disk gives them."""
    pairs = sorted(held.index)
    paths = [f"{held.root}/{held.all_categories[species]}/{name}" for species, name in pairs]
    return paths, np.array([species for species, _ in pairs], np.int64)


def _celeba(held: Any) -> _Records:
    """Forty attributes a picture, of which several hold."""
    folder = f"{held.root}/{held.base_folder}/img_align_celeba"
    return [f"{folder}/{name}" for name in held.filename], np.asarray(held.attr, np.int64)


def _pcam(held: Any) -> _Records:
    """Patches of 96 x 96 pixels in HDF5 files, 7.2 GB of them for training; all are held in memory."""
    from visus.data.cache import free_memory

    files = held._FILES[held._split]
    with held.h5py.File(held._base_folder / files["images"][0]) as images:
        stored = images["x"]
        size, free = int(np.prod(stored.shape)), free_memory()
        if 2 * size > free:  # the parts are joined, which takes them twice
            raise DataError(
                "DATA-173", f"torchvision:PCAM takes {2 * size / 1e9:,.1f} GB of memory to read",
                where=f"{free / 1e9:,.1f} GB are free", fix="write its pictures into a folder a class",
            )  # fmt: skip
        pixels: NDArray[np.generic] = stored[:]
    with held.h5py.File(held._base_folder / files["targets"][0]) as targets:
        return pixels, targets["y"][:].reshape(-1).astype(np.int64)


_HABITS: Mapping[str, Callable[[Any], _Records]] = {
    "Omniglot": _omniglot,
    "INaturalist": _inaturalist,
    "CelebA": _celeba,
    "PCAM": _pcam,
}


def _names_of(held: Any) -> tuple[str, ...]:
    """Return the names of all classes of a set; nothing where torchvision has none."""
    attributes = ("classes", "_characters", "all_categories", "attr_names")
    names = next((getattr(held, name) for name in attributes if getattr(held, name, None)), ())
    return tuple(name if isinstance(name, str) else name[0] for name in names if name)


def _classes(names: Sequence[str], values: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the names of the labels that occur; numbers where there are no names."""
    if len(names) <= int(values[-1]):
        return tuple(str(value) for value in values.tolist())
    return tuple(names[value] for value in values.tolist())


FORMAT = Format("the name torchvision:SET", sniff, read, named)
