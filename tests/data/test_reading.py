"""Opening a data set: the right format, or an error that says what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from tests.data import examples
from tests.data.examples import write_picture, write_tree

from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.data.reading import open_data

SETTINGS = DataSettings()


def refused(source: str | Path, settings: DataSettings = SETTINGS, **options: object) -> DataError | UsageError:
    with pytest.raises((DataError, UsageError)) as caught:
        open_data(source, settings, **options)
    return caught.value


def test_a_misspelt_folder_is_answered_with_its_neighbour(tmp_path: Path):
    examples.folder(tmp_path / "photos")
    error = refused(tmp_path / "photoz")
    assert error.code == "DATA-001" and error.fix == f"did you mean {tmp_path}/photos?"
    assert refused(f"{tmp_path}/photoz/train").fix == f"did you mean {tmp_path}/photos?"


def test_a_folder_unlike_any_is_answered_with_what_is_there(tmp_path: Path):
    (tmp_path / "xylophone").mkdir()
    assert "holds xylophone" in refused(tmp_path / "photos").fix


@pytest.mark.parametrize(
    ("name", "guess"),
    [("digit", "'digits'"), ("torchvison:MNIST", "torchvision:MNIST"), ("torchvision:CIFAR-10", "'CIFAR10'")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(
    name: str, guess: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert guess in refused(name).fix


def test_a_folder_that_bears_the_name_of_a_set_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    examples.folder(tmp_path / "digits")
    assert open_data("digits", SETTINGS).classes == ("cat", "dog", "owl")


def test_an_empty_folder_is_told(tmp_path: Path):
    assert refused(tmp_path).code == "DATA-004"


def test_pictures_without_labels_are_told_with_both_ways_out(tmp_path: Path):
    for i in range(4):
        write_picture(tmp_path / f"{i}.png", i)
    error = refused(tmp_path)
    assert error.code == "DATA-006" and "4" in error.what and "labels.csv" in error.fix and "DATA/cat/" in error.fix


def test_a_folder_of_other_things_is_told_with_what_was_looked_for(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "log.csv").write_text("epoch,loss\n1,2\n")
    error = refused(tmp_path)
    assert error.code == "DATA-002" and "is not a data set that visus can read" in error.what
    assert "class folders (found 0)" in error.looked and "log.csv has no path column, only epoch, loss" in error.looked
    assert "torchvision" not in error.looked


def test_the_folder_above_is_proposed_where_one_class_was_named(tmp_path: Path):
    examples.folder(tmp_path)
    assert f"the folder above, {tmp_path}/train, holds 3 class folders" in refused(tmp_path / "train/cat").where


def test_the_folder_inside_is_proposed_after_unpacking(tmp_path: Path):
    examples.idx(tmp_path / "data/mnist")
    (tmp_path / "readme.txt").touch()
    assert refused(tmp_path / "data").fix.startswith(
        f"did you mean {tmp_path}/data/mnist? It holds 2 pairs of IDX files"
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [("a.png", "one picture (png)"), ("a.zip", "an archive"), ("m.safetensors", "a model"), ("a.txt", "a file")],
)
def test_a_file_instead_of_a_folder_is_told(name: str, told: str, tmp_path: Path):
    path = tmp_path / name
    if name == "a.png":
        write_picture(path)
    elif name == "a.zip":
        zipfile.ZipFile(path, "w").close()
        path.write_bytes(b"PK\x03\x04" + path.read_bytes())
    else:
        path.write_text("words")
    error = refused(path)
    assert error.code == "DATA-005" and told in error.what and error.fix


def test_an_unknown_format_is_answered_with_the_nearest(tmp_path: Path):
    examples.folder(tmp_path)
    error = refused(tmp_path, DataSettings(format="foldr"))
    assert error.code == "USE-004" and "'folder'" in error.fix


def test_a_format_can_be_named(tmp_path: Path):
    examples.csv(tmp_path)
    examples.folder(tmp_path)
    assert open_data(tmp_path, SETTINGS).format == "csv"
    assert open_data(tmp_path, DataSettings(format="folder")).format == "folder"


def test_where_two_formats_fit_it_is_said(tmp_path: Path):
    examples.csv(tmp_path)
    examples.folder(tmp_path)
    assert any("it could also be read as folder" in note for note in open_data(tmp_path, SETTINGS).notes)


def test_a_named_format_does_not_read_a_folder(tmp_path: Path):
    examples.folder(tmp_path)
    for name in ("digits", "torchvision"):
        assert refused(tmp_path, DataSettings(format=name)).code == "DATA-003"


def test_shares_and_seed_are_the_settings(tmp_path: Path):
    write_tree(tmp_path, {"cat": 20, "dog": 20})
    dataset = open_data(tmp_path, DataSettings(validation=0.25, test=0.5), seed=3)
    assert [len(dataset.indices(split)) for split in ("train", "val", "test")] == [14, 6, 20]
    assert all("seed 3" in note for note in dataset.notes)


def test_the_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    dataset = open_data("digits", SETTINGS, carve=False)
    images, labels = load_digits(return_X_y=True)
    assert dataset.columns["label"].tolist() == labels.tolist() and len(dataset) == 1797
    assert abs(dataset.images.read(5) / 255 - images[5].reshape(8, 8) / 16).max() < 0.5 / 255 + 1e-12
    assert dataset.licence


def test_there_is_only_one_set_of_digits():
    assert refused("digits:big").code == "DATA-003"


def test_pictures_beside_masks_are_not_said_to_be_class_folders_too(tmp_path: Path):
    examples.masks(tmp_path)
    dataset = open_data(tmp_path, SETTINGS)
    assert dataset.format == "masks" and not any("could also be read" in note for note in dataset.notes)
