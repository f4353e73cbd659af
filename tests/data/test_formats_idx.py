"""IDX: MNIST's family, and every way in which such a file can lie."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tests.data.examples import idx_bytes, write_idx

from visus.core.errors import DataError
from visus.core.recipe import DataSettings
from visus.data.dataset import ArrayImages, Dataset
from visus.data.formats import FORMATS
from visus.data.formats.idx import FASHION, read_idx
from visus.data.reading import open_data

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 4), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def read(path: Path) -> Dataset:
    return FORMATS["idx"].read(path, DataSettings())


@given(array=arrays(np.uint8, array_shapes(max_dims=4, max_side=6)), packed=st.booleans())
def test_any_array_comes_back(array: np.ndarray, packed: bool, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)


@given(data=st.data())
def test_a_file_with_any_other_length_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    whole = idx_bytes(PIXELS)
    other = data.draw(
        st.one_of(
            st.integers(0, len(whole) - 1).map(lambda n: whole[:n]),
            st.binary(min_size=1, max_size=9).map(lambda b: whole + b),
        )
    )
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(gzip.compress(other) if data.draw(st.booleans()) else other)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert caught.value.code in {"DATA-150", "DATA-151"}


@given(header=st.binary(min_size=4, max_size=20), packed=st.booleans())
def test_no_header_crashes_the_reader(header: bytes, packed: bool, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("idx") / "x"
    data = b"\0\0" + header[2:]
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        read_idx(path)
    except DataError as error:
        assert error.code in {"DATA-150", "DATA-151"}


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_announces_terabytes_is_refused_before_they_are_asked_for(packed: bool, tmp_path: Path):
    lying = b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**20, 2**20) + b"\0" * 100
    (tmp_path / "x").write_bytes(gzip.compress(lying) if packed else lying)
    with pytest.raises(DataError, match="more than it can hold") as caught:
        read_idx(tmp_path / "x")
    assert caught.value.code == "DATA-151"


@given(cut=st.integers(0, 10_000))
def test_a_packed_file_that_is_cut_is_refused(cut: int, tmp_path_factory: pytest.TempPathFactory):
    whole = gzip.compress(idx_bytes(PIXELS))
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(DataError):
        read_idx(path)


def test_a_packed_file_with_a_flipped_byte_is_refused(tmp_path: Path):
    whole = bytearray(gzip.compress(idx_bytes(PIXELS)))
    whole[-6] ^= 1  # its checksum
    (tmp_path / "x").write_bytes(whole)
    with pytest.raises(DataError, match="damaged") as caught:
        read_idx(tmp_path / "x")
    assert caught.value.code == "DATA-151"


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_labels_and_splits_are_as_written(packed: bool, tmp_path: Path):
    write_idx(tmp_path, "train", PIXELS, LABELS, packed)
    write_idx(tmp_path, "t10k", PIXELS[::-1], LABELS[::-1], packed)
    dataset = read(tmp_path)
    np.testing.assert_array_equal(dataset.images.read(1), PIXELS[1])
    np.testing.assert_array_equal(dataset.images.read(6), PIXELS[5])
    assert dataset.columns["label"].tolist() == [*LABELS, *LABELS[::-1]]
    assert dataset.split.tolist() == [0] * 6 + [2] * 6
    assert (dataset.ids[1], dataset.ids[6]) == ("train/1", "t10k/0")


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "emnist-letters-train-images-idx3-ubyte"]
)
def test_the_names_of_the_family_are_known(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(idx_bytes(PIXELS))
    (tmp_path / name.replace("images", "labels").replace("idx3", "idx1")).write_bytes(idx_bytes(LABELS))
    assert len(read(tmp_path)) == 6


def test_classes_are_the_labels_that_occur(tmp_path: Path):
    write_idx(tmp_path, "train", PIXELS, LABELS + 1)  # as EMNIST's letters, which begin at 1
    dataset = read(tmp_path)
    assert dataset.classes == ("1", "2", "3") and dataset.columns["label"].tolist() == LABELS.tolist()


def test_fashion_is_named_where_the_folder_or_its_readme_says_so(tmp_path: Path):
    pixels, labels = np.zeros((10, 2, 2)), np.arange(10)
    write_idx(tmp_path / "FashionMNIST/raw", "train", pixels, labels)
    write_idx(tmp_path / "told", "train", pixels, labels)
    (tmp_path / "told/README.txt").write_text("Fashion-MNIST")
    write_idx(tmp_path / "mnist", "train", pixels, labels)
    assert read(tmp_path / "FashionMNIST").classes == read(tmp_path / "FashionMNIST/raw").classes == FASHION
    assert read(tmp_path / "told").classes == FASHION
    assert read(tmp_path / "mnist").classes == tuple("0123456789")


def test_of_a_file_that_is_there_plain_and_packed_the_plain_one_is_read(tmp_path: Path):
    write_idx(tmp_path, "train", PIXELS, LABELS)
    write_idx(tmp_path, "train", PIXELS[:3], LABELS[:3], packed=True)
    assert len(read(tmp_path)) == 6


@pytest.mark.parametrize(("labels", "told"), [
    (idx_bytes(np.arange(5)), "6 pictures, but 5 labels"),
    (idx_bytes(PIXELS), "are no labels"),
    (b"PK\x03\x04" + b"\0" * 20, "does not start as"),
])  # fmt: skip
def test_labels_that_do_not_belong_to_the_pictures_are_refused(labels: bytes, told: str, tmp_path: Path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(PIXELS))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match=told):
        read(tmp_path)


def test_pictures_of_two_sizes_are_refused(tmp_path: Path):
    write_idx(tmp_path, "train", PIXELS, LABELS)
    write_idx(tmp_path, "t10k", PIXELS[:, :2], LABELS)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-152"


def test_a_test_label_without_training_is_refused(tmp_path: Path):
    write_idx(tmp_path, "train", PIXELS, LABELS)
    write_idx(tmp_path, "t10k", PIXELS, LABELS + 1)
    with pytest.raises(DataError, match="the label 3 of t10k/2 does not occur in training") as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-153"


def test_pictures_without_labels_are_not_recognised(tmp_path: Path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(PIXELS))
    assert FORMATS["idx"].sniff(tmp_path) is None


def test_fashion_mnist_opens_with_its_names_and_its_own_test_part(real_data: Path):
    dataset = open_data(real_data / "fashion_mnist", DataSettings())
    assert [len(dataset.indices(split)) for split in ("train", "val", "test")] == [54_000, 6_000, 10_000]
    assert dataset.classes == FASHION
    assert np.bincount(dataset.columns["label"][dataset.indices("val")]).tolist() == [600] * 10


def test_fashion_mnist_is_read_to_the_bit_as_torchvision_reads_it(real_data: Path, tmp_path: Path):
    from torchvision.datasets import FashionMNIST

    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    for file in (real_data / "fashion_mnist").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    ours = read(real_data / "fashion_mnist")
    assert isinstance(ours.images, ArrayImages)
    for split, train in (("train", True), ("test", False)):
        theirs, at = FashionMNIST(str(tmp_path), train=train), ours.indices(split)
        np.testing.assert_array_equal(ours.images.array[at], theirs.data.numpy())
        np.testing.assert_array_equal(ours.columns["label"][at], theirs.targets.numpy())
