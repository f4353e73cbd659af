"""Class folders, as people lay them out and as they get them wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.data.examples import write_picture, write_tree

from visus.core.errors import DataError
from visus.core.recipe import DataSettings
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.reading import open_data


def read(path: Path) -> Dataset:
    return FORMATS["folder"].read(path, DataSettings())


def counts(dataset: Dataset) -> tuple[int, int, int]:
    return tuple(len(dataset.indices(split)) for split in ("train", "val", "test"))


@pytest.mark.parametrize(("names", "expected"), [
    (("train", "val", "test"), (4, 2, 2)),
    (("train", "valid", "test"), (4, 2, 2)),
    (("Training", "validation", "Testing"), (4, 2, 2)),
])  # fmt: skip
def test_splits_are_known_by_their_usual_names(names: tuple[str, ...], expected: tuple[int, ...], tmp_path: Path):
    tree = {f"{part}/{name}": count for part, count in zip(names, (2, 1, 1), strict=True) for name in ("cat", "dog")}
    dataset = read(write_tree(tmp_path, tree))
    assert counts(dataset) == expected and dataset.classes == ("cat", "dog")


def test_without_splits_everything_is_train(tmp_path: Path):
    assert counts(read(write_tree(tmp_path, {"cat": 3, "dog": 2}))) == (5, 0, 0)


def test_a_class_may_be_called_train(tmp_path: Path):
    assert read(write_tree(tmp_path, {"bus": 2, "car": 2, "train": 2})).classes == ("bus", "car", "train")


def test_classes_with_numbers_stand_in_the_order_people_count(tmp_path: Path):
    assert read(write_tree(tmp_path, {f"s{i}": 1 for i in (10, 2, 1)})).classes == ("s1", "s2", "s10")


def test_a_picture_bears_the_label_of_its_folder(tmp_path: Path):
    dataset = read(write_tree(tmp_path, {"train/dog": 2, "train/cat": 1, "test/dog": 1}))
    labels = dict(zip(dataset.ids, dataset.columns["label"].tolist(), strict=True))
    assert labels == {"train/cat/0.png": 0, "train/dog/0.png": 1, "train/dog/1.png": 1, "test/dog/0.png": 1}


def test_pictures_deeper_down_belong_to_the_first_folder_and_it_is_said(tmp_path: Path):
    dataset = read(write_tree(tmp_path, {"cat/monday/morning": 2, "dog": 1}))
    assert len(dataset) == 3 and dataset.classes == ("cat", "dog")
    assert any("deeper" in note for note in dataset.notes)


def test_files_that_are_no_pictures_are_named(tmp_path: Path):
    write_tree(tmp_path, {"cat": 2, "dog": 2})
    for name in ("notes.txt", "scan.pdf", "strange"):
        (tmp_path / "cat" / name).write_text("words")
    dataset = read(tmp_path)
    (note,) = dataset.notes
    assert len(dataset) == 4 and note.startswith("left out 3 files") and "cat/notes.txt" in note


def test_files_of_the_system_are_counted(tmp_path: Path):
    write_tree(tmp_path, {"cat": 2, "dog": 2, ".git": 1})
    for name in (".DS_Store", "Thumbs.db", "._0.png", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    (note,) = read(tmp_path).notes
    assert "4 hidden or system files" in note


def test_a_picture_without_an_ending_is_known_by_its_bytes(tmp_path: Path):
    write_tree(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "cat/0.png").rename(tmp_path / "cat/picture")
    assert "cat/picture" in list(read(tmp_path).ids)


def test_a_pipe_among_the_pictures_is_left_out_and_never_opened(tmp_path: Path):
    write_tree(tmp_path, {"cat": 1, "dog": 1})
    os.mkfifo(tmp_path / "cat/pipe.jpg")
    dataset = read(tmp_path)
    assert len(dataset) == 2 and "cat/pipe.jpg" in dataset.notes[0]


def test_a_circle_of_links_ends(tmp_path: Path):
    write_tree(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "cat/round").symlink_to(tmp_path / "cat")
    assert len(read(tmp_path)) == 2


def test_a_linked_class_is_followed(tmp_path: Path):
    write_tree(tmp_path / "elsewhere", {"dog": 2})
    write_tree(tmp_path / "data", {"cat": 1})
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere/dog")
    assert len(read(tmp_path / "data")) == 3


def test_names_of_any_bytes_can_be_read(tmp_path: Path):
    for name in (b"caf\xe9", b"dog"):
        write_picture(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b"/\xff.png")))
    dataset = read(tmp_path)
    assert dataset.classes == (r"caf\xe9", "dog")
    assert dataset.images.read(0).shape == (8, 8, 3) and dataset.images.read(1).shape == (8, 8, 3)


def test_an_empty_class_folder_of_the_training_part_is_an_error_that_names_it(tmp_path: Path):
    write_tree(tmp_path, {"train/cat": 2, "train/dog": 0, "test/cat": 1})
    with pytest.raises(DataError, match="train/dog: this class folder holds no picture") as caught:
        open_data(tmp_path, DataSettings())
    assert caught.value.code == "DATA-130" and caught.value.fix


def test_an_empty_class_folder_of_the_test_part_is_a_note(tmp_path: Path):
    dataset = read(write_tree(tmp_path, {"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 0}))
    assert "test/dog holds no picture" in dataset.notes


def test_a_class_that_only_the_test_part_knows_is_an_error_with_the_nearest_name(tmp_path: Path):
    write_tree(tmp_path, {"train/cats": 2, "train/dogs": 2, "test/Cats": 1})
    with pytest.raises(DataError, match="in test but not in train") as caught:
        open_data(tmp_path, DataSettings())
    assert caught.value.code == "DATA-131" and "'cats'" in caught.value.fix


def test_a_class_of_the_test_part_alone_is_to_be_moved_or_removed(tmp_path: Path):
    (fault,) = read(write_tree(tmp_path, {"train/cat": 2, "train/dog": 2, "test/horse": 1})).faults
    assert fault.error.fix == "move some of its pictures into a folder of that name in train, or remove this folder"


def test_all_faults_are_gathered_and_everything_else_is_read(tmp_path: Path):
    tree = {"train/cat": 2, "train/dog": 2, "train/frog": 0, "train/newt": 0, "test/cat": 1, "test/horse": 3}
    dataset = open_data(write_tree(tmp_path, tree), DataSettings(), faulty=True, carve=False)
    assert [(fault.error.code, fault.file) for fault in dataset.faults] == [
        ("DATA-130", "train/frog"), ("DATA-130", "train/newt"), ("DATA-131", "test/horse")]  # fmt: skip
    assert counts(dataset) == (4, 0, 4) and dataset.classes == ("cat", "dog", "horse")
    assert [dataset.ids[i] for i in dataset.faults[2].records] == [f"test/horse/{i}.png" for i in range(3)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_may_not_be_read_is_a_fault_and_not_left_out_silently(tmp_path: Path):
    write_tree(tmp_path, {"cat": 1, "dog": 1, "dog/closed": 1})
    (tmp_path / "dog/closed").chmod(0)
    (fault,) = read(tmp_path).faults
    assert (fault.error.code, fault.file) == ("DATA-010", "dog") and "closed" in fault.error.what


def test_what_is_no_file_is_remarked_each_cause_by_itself(tmp_path: Path):
    write_tree(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "cat/gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "cat/self.png").symlink_to("self.png")
    (tmp_path / "dog/round").symlink_to(".")
    os.mkfifo(tmp_path / "dog/pipe.png")
    dataset = read(tmp_path)
    assert [(remark.code, remark.file, remark.status) for remark in dataset.remarks] == [
        ("DATA-132", "cat/gone.png", "skipped"), ("DATA-133", "cat/self.png", "skipped"),
        ("DATA-134", "dog/pipe.png", "skipped"), ("DATA-133", "dog/round", "skipped")]  # fmt: skip
    assert len(dataset) == 2 and all(remark.fix for remark in dataset.remarks)
    assert "left out a link that leads nowhere: cat/gone.png" in dataset.notes


def test_a_folder_beside_the_splits_is_noted(tmp_path: Path):
    dataset = read(write_tree(tmp_path, {"train/cat": 1, "train/dog": 1, "extras": 1}))
    assert "left out the folders beside train: extras" in dataset.notes


def test_loose_pictures_beside_class_folders_are_noted(tmp_path: Path):
    write_tree(tmp_path, {"cat": 1, "dog": 1})
    write_picture(tmp_path / "loose.png")
    assert any("1 pictures that lie in no class folder" in note for note in read(tmp_path).notes)


def test_train_and_test_without_class_folders_are_no_classes(tmp_path: Path):
    write_tree(tmp_path, {"train": 2, "test": 2})
    with pytest.raises(DataError, match="nothing says what they show") as caught:
        open_data(tmp_path, DataSettings())
    assert caught.value.code == "DATA-006"


def test_one_class_is_not_enough(tmp_path: Path):
    with pytest.raises(DataError, match=r"one class \(cat\)") as caught:
        open_data(write_tree(tmp_path, {"cat": 5}), DataSettings())
    assert caught.value.code == "DATA-181"


def test_one_picture_a_class_is_too_few_to_carve(tmp_path: Path):
    with pytest.raises(DataError, match="no test part can be carved from 3") as caught:
        open_data(write_tree(tmp_path, {"cat": 1, "dog": 1, "owl": 1}), DataSettings())
    assert caught.value.code == "DATA-182" and "put at least 3" in caught.value.fix


def test_the_jpeg_subset_of_cifar_opens_with_its_own_test_part(real_data: Path):
    dataset = open_data(real_data / "cifar10_jpg_subset", DataSettings())
    assert counts(dataset) == (9000, 1000, 2000) and dataset.carved == ("val",)
    assert dataset.images.read(0).shape == (32, 32, 3)


def test_faces_and_characters_open_without_splits(real_data: Path):
    faces = open_data(real_data / "orl_faces_s01_s20", DataSettings())
    assert counts(faces) == (140, 20, 40) and faces.images.read(0).shape == (112, 92)
    characters = open_data(real_data / "omniglot_small1", DataSettings())
    assert counts(characters) == (1904, 272, 544) and len(characters.classes) == 136
