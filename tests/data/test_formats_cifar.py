"""CIFAR's batches: read as published, and never executed."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.examples import cifar_batch

from visus.core.errors import DataError
from visus.core.recipe import DataSettings
from visus.data.dataset import ArrayImages, Dataset
from visus.data.formats import FORMATS
from visus.data.formats.cifar import CIFAR10, read_pickled


def read(path: Path) -> Dataset:
    return FORMATS["cifar"].read(path, DataSettings())


def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """Return a batch byte for byte as Python 2's cPickle wrote the published ones (protocol 2)."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    shape = b"".join(b"J" + struct.pack("<i", size) for size in data.shape)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01"
        + shape
        + b"\x86"
        b"cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )
    listed = b"]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03"
        + text(b"labels") + b"q\x04" + listed + text(b"data") + b"q\x06" + array + text(b"filenames") + b"q\x0c]q\r"
        + b"U\x01xau."
    )  # fmt: skip


def test_a_batch_of_python_2_is_read_as_pickle_would(tmp_path: Path):
    data = np.random.default_rng(0).integers(0, 256, (7, 3072), dtype=np.uint8)
    (tmp_path / "x").write_bytes(python2_batch(data, [3, 1, 4, 1, 5, 9, 2]))
    ours = read_pickled(tmp_path / "x")
    theirs = pickle.loads((tmp_path / "x").read_bytes(), encoding="latin1")
    assert (
        ours.keys() == theirs.keys() and ours["labels"] == theirs["labels"] and ours["filenames"] == theirs["filenames"]
    )
    np.testing.assert_array_equal(ours["data"], theirs["data"])


plain = st.recursive(
    st.integers(-(2**40), 2**40) | st.text(max_size=4) | st.none() | st.booleans() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@given(value=plain, protocol=st.sampled_from([2, 3, 4]))
def test_any_plain_value_comes_back(value: object, protocol: int, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("pickle") / "x"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_pickled(path) == value


class Runs:
    """What unpickling would call."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_code_in_a_batch_is_refused_and_not_run(protocol: int, tmp_path: Path):
    batch = cifar_batch(10, 0) | {"filenames": Runs(f"touch {tmp_path}/ran")}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=protocol))
    with pytest.raises(DataError, match="data_batch_1") as caught:
        read_pickled(tmp_path / "data_batch_1")
    assert caught.value.code == "DATA-160" and not (tmp_path / "ran").exists()


@given(data=st.data())
def test_no_damage_crashes_the_reader(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    whole = bytearray(python2_batch(np.zeros((1, 3072), np.uint8), [1]))
    header = [at for at in range(len(whole)) if not 240 < at < 240 + 3000]
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.sampled_from(header))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("pickle") / "x"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        read_pickled(path)
    except DataError as error:
        assert error.code == "DATA-160"


def test_a_few_bytes_that_stand_for_billions_of_values_are_read_at_once(tmp_path: Path):
    doubled: list[object] = ["x"]
    for _ in range(60):
        doubled = [doubled, doubled]
    (tmp_path / "x").write_bytes(pickle.dumps(doubled, protocol=2))
    read = read_pickled(tmp_path / "x")
    assert isinstance(read, list) and read[0] is read[1]


@pytest.mark.parametrize("key", ["tuple", "deep tuple"])
def test_a_key_that_takes_for_ever_to_hash_is_refused(key: str, tmp_path: Path):
    doubled = b"\x85q\x01" + b"h\x01\x86q\x01" * 60 if key == "tuple" else b"\x85" * 1_000_000
    (tmp_path / "x").write_bytes(b"\x80\x02}K\x01" + doubled + b"K\x02s.")
    with pytest.raises(DataError, match="a key in it is neither text nor a number"):
        read_pickled(tmp_path / "x")


def test_a_list_that_is_nested_without_end_is_refused(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with pytest.raises(DataError) as caught:
        read_pickled(tmp_path / "x")
    assert caught.value.code == "DATA-160"


def test_a_list_that_holds_itself_is_read(tmp_path: Path):
    itself: list[object] = []
    itself.append(itself)
    (tmp_path / "x").write_bytes(pickle.dumps(itself, protocol=2))
    read = read_pickled(tmp_path / "x")
    assert isinstance(read, list) and read[0] is read


def test_pixels_are_red_green_blue_and_splits_those_of_the_files(tmp_path: Path):
    planes = np.zeros((2, 3, 32, 32), np.uint8)
    planes[:, 0], planes[:, 2, 5, 7] = 200, 9
    (tmp_path / "data_batch_1").write_bytes(python2_batch(planes.reshape(2, 3072), [3, 8]))
    (tmp_path / "test_batch").write_bytes(python2_batch(planes.reshape(2, 3072), [0, 1]))
    dataset = read(tmp_path)
    assert dataset.images.read(0)[5, 7].tolist() == [200, 0, 9] and dataset.images.read(0).shape == (32, 32, 3)
    assert dataset.columns["label"].tolist() == [3, 8, 0, 1] and dataset.split.tolist() == [0, 0, 2, 2]
    assert dataset.classes == CIFAR10 and "does not name the classes" in dataset.notes[0]


def test_the_hundred_classes_are_the_fine_ones(tmp_path: Path):
    names = [f"class {i}" for i in range(100)]
    (tmp_path / "train").write_bytes(pickle.dumps(cifar_batch(5, 0, "fine_labels"), protocol=2))
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, protocol=2))
    dataset = read(tmp_path)
    assert dataset.classes == tuple(names) and dataset.columns["label"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("fine", [False, True])
def test_the_binary_version_holds_the_same_pictures(fine: bool, tmp_path: Path):
    rows = np.random.default_rng(0).integers(0, 10, (4, 3072 + 1 + fine), dtype=np.uint8)
    folder = tmp_path / ("cifar-100-binary" if fine else "cifar-10-batches-bin")
    folder.mkdir()
    (folder / ("train.bin" if fine else "data_batch_1.bin")).write_bytes(rows.tobytes())
    dataset = read(tmp_path)
    assert dataset.columns["label"].tolist() == rows[:, 1 if fine else 0].tolist()
    np.testing.assert_array_equal(dataset.images.read(2).transpose(2, 0, 1).ravel(), rows[2, -3072:])
    assert len(dataset.classes) == (100 if fine else 10)


def test_a_binary_batch_that_is_cut_is_refused(tmp_path: Path):
    (tmp_path / "data_batch_1.bin").write_bytes(b"\0" * 4000)
    with pytest.raises(DataError, match="not a whole number of records") as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-160"


@pytest.mark.parametrize("change", [
    {"data": None}, {"data": np.zeros((10, 3071), np.uint8)}, {"data": np.zeros((10, 3072), np.int64)},
    {"labels": [1, 2]}, {"labels": ["1"] * 10}, {"labels": [10] * 10},
])  # fmt: skip
def test_a_batch_that_holds_something_else_is_refused(change: dict[str, object], tmp_path: Path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(cifar_batch(10, 0) | change, protocol=2))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-160" and "data_batch_1" in caught.value.what


@pytest.mark.parametrize("label", [10, -1, 1 << 40, 10**400])
def test_a_label_that_is_no_class_is_told_with_its_batch(label: int, tmp_path: Path):
    for name in ("data_batch_1", "test_batch"):
        held = cifar_batch(3, 0) | ({"labels": [0, label, 2]} if name == "test_batch" else {})
        (tmp_path / name).write_bytes(pickle.dumps(held, protocol=2))
    with pytest.raises(DataError, match="test_batch") as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-160"


@pytest.mark.parametrize("listed", [[*CIFAR10, CIFAR10[0]], [*CIFAR10[:9], "a\0b"], [*CIFAR10[:9], ""]])
def test_names_that_cannot_be_those_of_classes_are_not_taken(listed: list[str], tmp_path: Path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(cifar_batch(3, 0), protocol=2))
    names = {"label_names": listed}
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    dataset = read(tmp_path)
    assert dataset.classes == CIFAR10 and "does not name the classes" in dataset.notes[0]


def test_a_folder_called_train_is_not_taken_for_a_batch(tmp_path: Path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").write_text("words")
    assert FORMATS["cifar"].sniff(tmp_path) is None


@pytest.mark.parametrize("fine", [False, True])
def test_batches_are_read_to_the_bit_as_torchvision_unpickles_them(
    fine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from torchvision.datasets import CIFAR10, CIFAR100, cifar

    theirs = CIFAR100 if fine else CIFAR10
    folder = tmp_path / theirs.base_folder
    folder.mkdir()
    for seed, (name, _) in enumerate([*theirs.train_list, *theirs.test_list]):
        batch = cifar_batch(12, seed, "fine_labels" if fine else "labels")
        held = pickle.dumps(batch, protocol=2) if fine else python2_batch(batch["data"], batch["labels"])
        (folder / name).write_bytes(held)
    names = [f"class {i}" for i in range(100 if fine else 10)]
    (folder / theirs.meta["filename"]).write_bytes(pickle.dumps({theirs.meta["key"]: names}, protocol=2))
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)  # the published bytes alone have its sums
    ours = read(tmp_path)
    assert isinstance(ours.images, ArrayImages) and ours.classes == tuple(names)
    for split, train in (("train", True), ("test", False)):
        expected, at = theirs(str(tmp_path), train=train), ours.indices(split)
        np.testing.assert_array_equal(ours.images.array[at], expected.data)
        assert ours.columns["label"][at].tolist() == expected.targets
