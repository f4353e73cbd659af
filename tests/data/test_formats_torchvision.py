"""Sets of torchvision by name: found, not found, and read as torchvision reads them."""

from __future__ import annotations

import bz2
import csv
import inspect
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.examples import cifar, write_idx, write_picture, write_tree

from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.data.dataset import Dataset
from visus.data.formats.torchvision import SETS
from visus.data.reading import open_data


def opened(name: str, root: Path | None, **options: object) -> Dataset:
    return open_data(f"torchvision:{name}", DataSettings(), root=root, carve=False, **options)


def agree(dataset: Dataset, parts: dict[str, object]) -> None:
    """Check every picture and label against torchvision's own sets."""
    for split, theirs in parts.items():
        at = dataset.indices(split)
        assert len(at) == len(theirs) > 0
        for i, (image, label) in zip(at, theirs, strict=True):
            ours = dataset.images.read(int(i))
            np.testing.assert_array_equal(ours, np.asarray(image.convert("L" if ours.ndim == 2 else "RGB")))
            name = dataset.classes[dataset.columns["label"][i]]
            assert name in {str(label), getattr(theirs, "classes", {label: None})[label]}


def test_every_set_is_a_class_of_torchvision():
    from torchvision import datasets

    assert [name for name in SETS if not hasattr(datasets, name)] == []


def test_a_misspelt_set_is_answered_with_the_nearest(tmp_path: Path):
    with pytest.raises(UsageError) as caught:
        opened("Food11", tmp_path)
    assert caught.value.code == "DATA-170" and "'Food101'" in caught.value.fix


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_is_not_there_says_what_to_put_where_and_writes_nothing(name: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        opened(name, tmp_path)
    assert caught.value.code == "DATA-171" and str(tmp_path / SETS[name].at) in caught.value.looked
    assert "--download" in caught.value.fix and not list(tmp_path.iterdir())


def test_the_usual_places_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    with pytest.raises(DataError) as caught:
        opened("MNIST", None)
    assert "data/MNIST/raw" in caught.value.looked and "home/MNIST/raw" in caught.value.looked
    write_idx(tmp_path / "home/data/MNIST/raw", "train", np.zeros((10, 2, 2)), np.arange(10))
    assert len(opened("MNIST", None)) == 10


def test_a_download_that_fails_is_told(tmp_path: Path):
    with pytest.raises(DataError) as caught:  # the tests have no network
        opened("MNIST", tmp_path, download=True)
    assert caught.value.code == "DATA-172"


def test_files_that_are_not_whole_are_told(tmp_path: Path):
    (tmp_path / "stl10_binary").mkdir()
    with pytest.raises(DataError, match="are not whole") as caught:
        opened("STL10", tmp_path)
    assert caught.value.code == "DATA-172"


def test_mnist_agrees_with_torchvision(tmp_path: Path):
    from torchvision import datasets

    for part, count in (("train", 12), ("t10k", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28))
        write_idx(tmp_path / "MNIST/raw", part, pixels, np.arange(count) % 10)
    dataset = opened("MNIST", tmp_path)
    agree(dataset, {"train": datasets.MNIST(str(tmp_path)), "test": datasets.MNIST(str(tmp_path), train=False)})


def test_cifar_is_read_without_torchvisions_pickle(tmp_path: Path):
    dataset = opened("CIFAR10", cifar(tmp_path))
    assert dataset.name == "CIFAR10" and dataset.classes[0] == "airplane" and len(dataset) == 60


def test_sets_of_files_agree_with_torchvision(tmp_path: Path):
    from torchvision import datasets

    lists: dict[str, list[str]] = {"train": [], "test": []}
    seed = 0
    for part, paths in lists.items():
        for name in ("apple_pie", "waffles"):
            for i in range(2):
                write_picture(tmp_path / f"food-101/images/{name}/{part}{i}.jpg", seed := seed + 1)
                paths.append(f"{name}/{part}{i}")
        held = {name: [path for path in paths if path.startswith(name)] for name in ("apple_pie", "waffles")}
        (tmp_path / "food-101/meta").mkdir(exist_ok=True)
        (tmp_path / f"food-101/meta/{part}.json").write_text(json.dumps(held))
    dataset = opened("Food101", tmp_path)
    assert dataset.classes == ("apple_pie", "waffles")
    agree(dataset, {part: datasets.Food101(str(tmp_path), split=part) for part in lists})


def test_sets_with_three_parts_agree_with_torchvision(tmp_path: Path):
    from torchvision import datasets

    folder = tmp_path / "dtd/dtd"
    (folder / "labels").mkdir(parents=True)
    for seed, part in enumerate(("train", "val", "test")):
        names = [f"{name}/{name}_{part}.jpg" for name in ("banded", "zigzagged")]
        for i, name in enumerate(names):
            write_picture(folder / "images" / name, 2 * seed + i)
        (folder / f"labels/{part}1.txt").write_text("\n".join(names) + "\n")
    agree(opened("DTD", tmp_path), {part: datasets.DTD(str(tmp_path), split=part) for part in ("train", "val", "test")})


def test_pairs_of_path_and_label_agree_with_torchvision(tmp_path: Path):
    from torchvision import datasets

    for i in range(2):
        write_picture(tmp_path / f"gtsrb/GTSRB/Training/0000{i}/x.ppm", i)
        write_picture(tmp_path / f"gtsrb/GTSRB/Final_Test/Images/{i}.ppm", 5 + i)
    with (tmp_path / "gtsrb/GT-final_test.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([["Filename", "ClassId"], ["0.ppm", 1], ["1.ppm", 0]])
    agree(opened("GTSRB", tmp_path), {part: datasets.GTSRB(str(tmp_path), split=part) for part in ("train", "test")})


def test_sets_in_memory_agree_with_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision import datasets

    line = lambda label: f"{label} " + " ".join(f"{i + 1}:{v:.4f}" for i, v in enumerate(np.linspace(-1, 1, 256)))  # noqa: E731
    for name, count in (("usps.bz2", 12), ("usps.t.bz2", 10)):
        (tmp_path / name).write_bytes(bz2.compress("\n".join(line(1 + i % 10) for i in range(count)).encode()))
    monkeypatch.setattr("torchvision.datasets.utils.check_md5", lambda *a, **k: True)
    parts = {"train": datasets.USPS(str(tmp_path), train=True), "test": datasets.USPS(str(tmp_path), train=False)}
    dataset = opened("USPS", tmp_path)
    agree(dataset, parts)
    assert dataset.ids[0] == "train/0" and dataset.ids[12] == "test/0"


def test_planes_become_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision import datasets

    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part, count in (("train", 10), ("test", 10)):
        rows = np.random.default_rng(count).integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        (folder / f"{part}_X.bin").write_bytes(rows.tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(range(1, count + 1)))
    (folder / "class_names.txt").write_text("\n".join(f"thing {i}" for i in range(10)) + "\n")
    (folder / "fold_indices.txt").write_text("")
    (folder / "unlabeled_X.bin").write_bytes(b"")
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    parts = {part: datasets.STL10(str(tmp_path), split=part) for part in ("train", "test")}
    dataset = opened("STL10", tmp_path)
    agree(dataset, parts)
    assert dataset.classes[3] == "thing 3" and dataset.images.read(0).shape == (96, 96, 3)


def test_pets_are_read_by_their_lists(tmp_path: Path):
    from torchvision import datasets

    folder = tmp_path / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for i, name in enumerate(("Abyssinian_1", "pug_1", "Abyssinian_2", "pug_2")):
        write_picture(folder / f"images/{name}.jpg", i)
    (folder / "annotations/trainval.txt").write_text("Abyssinian_1 1 1 1\npug_1 2 2 1\n")
    (folder / "annotations/test.txt").write_text("Abyssinian_2 1 1 1\npug_2 2 2 1\n")
    dataset = opened("OxfordIIITPet", tmp_path)
    agree(
        dataset,
        {"train": datasets.OxfordIIITPet(str(tmp_path)), "test": datasets.OxfordIIITPet(str(tmp_path), split="test")},
    )
    assert dataset.classes == ("Abyssinian", "Pug")


@pytest.mark.parametrize(("name", "tree"), [
    ("EuroSAT", {"eurosat/2750/Forest": 2, "eurosat/2750/River": 2}),
    ("Caltech101", {"caltech101/101_ObjectCategories/camera": 2, "caltech101/101_ObjectCategories/yin_yang": 1}),
    ("Country211", {f"country211/{part}/{name}": 1 for part in ("train", "valid", "test") for name in ("AD", "ZW")}),
])  # fmt: skip
def test_sets_that_are_class_folders_are_read_as_such(name: str, tree: dict[str, int], tmp_path: Path):
    dataset = opened(name, write_tree(tmp_path, tree))
    assert (dataset.format, dataset.name) == ("torchvision", name) and len(dataset) == sum(tree.values())
    assert len(dataset.classes) == 2


def test_what_is_no_class_of_a_set_is_left_out_with_a_note(tmp_path: Path):
    tree = {f"caltech101/101_ObjectCategories/{name}": 2 for name in ("ant", "BACKGROUND_Google", "crab")}
    dataset = opened("Caltech101", write_tree(tmp_path, tree))
    assert dataset.classes == ("ant", "crab") and dataset.columns["label"].tolist() == [0, 0, 1, 1]
    assert "left out BACKGROUND_Google, which is no class" in dataset.notes


def test_the_largest_picture_that_is_decoded_is_the_users_for_every_set(tmp_path: Path):
    for name in ("BACKGROUND_Google", "ant", "bee"):
        write_picture(tmp_path / "caltech101/101_ObjectCategories" / name / "0.png")
    dataset = open_data("torchvision:Caltech101", DataSettings(max_pixels=5), root=tmp_path, carve=False)
    with pytest.raises(DataError, match="more than the 5 that are decoded"):
        dataset.images.read(0)


def test_the_characters_of_omniglot_agree_with_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision import datasets

    characters = [f"{alphabet}/character0{i}" for alphabet in ("Greek", "Latin") for i in (1, 2)]
    write_tree(tmp_path / "omniglot-py/images_background", dict.fromkeys(characters, 3))
    monkeypatch.setattr(datasets.Omniglot, "_check_integrity", lambda self: True)
    dataset, theirs = opened("Omniglot", tmp_path), datasets.Omniglot(str(tmp_path))
    assert dataset.classes == tuple(theirs._characters) and set(dataset.classes) == set(characters)
    expected = sorted((label, np.asarray(image).tobytes()) for image, label in theirs)
    grey = [np.asarray(Image.fromarray(dataset.images.read(i)).convert("L")).tobytes() for i in range(12)]
    assert sorted(zip(dataset.columns["label"].tolist(), grey, strict=True)) == expected


@pytest.mark.parametrize("validation", [True, False])
def test_the_species_of_inaturalist_agree_with_torchvision(tmp_path: Path, validation: bool):
    from torchvision import datasets

    versions = {"train": "2021_train", **({"val": "2021_valid"} if validation else {})}
    for version in versions.values():
        species = {f"{version}/0000{i}_Animalia_Chordata_Aves_x_y_z_{i}": 2 for i in range(2)}
        write_tree(tmp_path, species)
    dataset = opened("INaturalist", tmp_path)
    assert dataset.classes[1].startswith("00001_Animalia")
    for split, version in versions.items():
        theirs = datasets.INaturalist(str(tmp_path), version=version)
        named = {f"{version}/{theirs.all_categories[label]}/{name}": label for label, name in theirs.index}
        at = dataset.indices(split)
        assert {dataset.ids[i]: int(dataset.columns["label"][i]) for i in at} == named


def test_the_attributes_of_celeba_are_several_classes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision import datasets

    folder = tmp_path / "celeba"
    names = [f"{i:06d}.jpg" for i in range(6)]
    for i, name in enumerate(names):
        write_picture(folder / "img_align_celeba" / name, i)
    shown = [[1, -1], [-1, -1], [1, 1], [-1, 1], [1, -1], [1, 1]]
    rows = {
        "list_eval_partition.txt": [f"{name} {i // 2}" for i, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} 1" for name in names],
        "list_bbox_celeba.txt": ["6", "image_id x y", *(f"{name} 1 2" for name in names)],
        "list_landmarks_align_celeba.txt": ["6", "x y", *(f"{name} 1 2" for name in names)],
        "list_attr_celeba.txt": [
            "6",
            "Bald Smiling ",
            *(f"{n} {a} {b}" for n, (a, b) in zip(names, shown, strict=True)),
        ],
    }
    for name, lines in rows.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    dataset = opened("CelebA", tmp_path)
    assert dataset.classes == ("Bald", "Smiling") and dataset.column() == "labels"
    for split, theirs in (("train", "train"), ("val", "valid"), ("test", "test")):
        told = [label.tolist() for _, label in datasets.CelebA(str(tmp_path), split=theirs)]
        assert dataset.columns["labels"][dataset.indices(split)].tolist() == told


def test_pcam_agrees_with_torchvision(tmp_path: Path):
    h5py = pytest.importorskip("h5py", reason="PCAM needs h5py")
    from torchvision import datasets

    (tmp_path / "pcam").mkdir()
    for seed, files in enumerate(datasets.PCAM._FILES.values()):
        random = np.random.default_rng(seed)
        with h5py.File(tmp_path / "pcam" / files["images"][0], "w") as held:
            held["x"] = random.integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
        with h5py.File(tmp_path / "pcam" / files["targets"][0], "w") as held:
            held["y"] = np.array([0, 1, 1, 0], np.uint8).reshape(4, 1, 1, 1)
    parts = {part: datasets.PCAM(str(tmp_path), split=part) for part in ("train", "val", "test")}
    agree(opened("PCAM", tmp_path), parts)


def test_a_library_that_a_set_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "h5py", None)  # as where it is not installed
    (tmp_path / "pcam").mkdir()
    with pytest.raises(DataError) as caught:
        opened("PCAM", tmp_path)
    assert caught.value.what == "torchvision:PCAM needs the library h5py, which is not installed"
    assert caught.value.fix == "uv pip install h5py"


@pytest.mark.parametrize(("name", "why"), [
    ("LFWPairs", "pairs of faces"), ("LSUN", "LMDB"), ("Flickr8k", "captions"), ("FakeData", "noise"),
    ("CocoDetection", "not a set of pictures with classes"), ("Kinetics", "not a set of pictures with classes"),
])  # fmt: skip
def test_a_set_that_is_not_for_classification_is_refused_with_the_reason(name: str, why: str, tmp_path: Path):
    with pytest.raises(UsageError, match=why) as caught:
        opened(name, tmp_path)
    assert caught.value.code == "DATA-170" and caught.value.what.startswith(f"torchvision:{name} is not for")


def test_every_set_takes_the_arguments_it_is_given():
    from torchvision import datasets

    for name, source in SETS.items():
        for arguments in source.splits.values():
            inspect.signature(getattr(datasets, name)).bind("root", **arguments)


def test_a_grey_picture_of_a_set_stays_grey(tmp_path: Path):
    write_tree(tmp_path, {"eurosat/2750/River": 1})
    (tmp_path / "eurosat/2750/Forest").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "eurosat/2750/Forest/a.png")
    assert opened("EuroSAT", tmp_path).images.read(0).shape == (4, 4)


def test_the_header_of_an_idx_file_of_a_set_is_not_believed(tmp_path: Path):
    raw = tmp_path / "MNIST/raw"
    write_idx(raw, "train", np.zeros((2, 2, 2)), np.arange(2))
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 9, 9, 9))
    with pytest.raises(DataError):
        opened("MNIST", tmp_path)
