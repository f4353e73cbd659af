"""What every format keeps to: a new file in ``data/formats`` is tested because it exists, once it has an example."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.data.examples import EXAMPLES

from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.data.converting import convert, differences
from visus.data.dataset import SPLITS, Dataset
from visus.data.formats import FORMATS
from visus.data.reading import open_data

SETTINGS = DataSettings()
STATING = [name for name in FORMATS if name != "pictures"]
"""Formats that say something of their pictures; what says nothing is tested in data/test_formats_pictures.py."""


def opened(name: str, root: Path, carve: bool = False) -> Dataset:
    return open_data(EXAMPLES[name](root), SETTINGS, root=root, carve=carve)


def test_every_format_has_an_example_here():
    assert set(EXAMPLES) == set(STATING)


def test_importing_every_format_loads_no_torch():
    imports = "import sys; from visus.data.formats import FORMATS; [FORMATS[name] for name in FORMATS]"
    program = f"{imports}; assert not {{'torch', 'torchvision', 'sklearn', 'PIL'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", STATING)
def test_its_own_example_is_recognised_by_it_and_by_no_other(name: str, tmp_path: Path):
    example = EXAMPLES[name](tmp_path)
    if isinstance(example, str):
        assert FORMATS[name].named is not None
        return
    scores = {other: found.score for other in FORMATS if (found := FORMATS[other].sniff(example))}
    assert max(scores, key=scores.__getitem__) == name and sorted(scores.values())[-1:] > [0.5]


@pytest.mark.parametrize("name", STATING)
def test_every_column_has_a_row_for_every_record(name: str, tmp_path: Path):
    dataset = opened(name, tmp_path)
    assert len(dataset) >= 12
    assert {len(column) for column in (*dataset.columns.values(), dataset.split)} == {len(dataset)}
    assert len(set(dataset.ids)) == len(dataset)
    assert set(dataset.split.tolist()) <= set(range(len(SPLITS)))
    assert dataset.split.dtype == np.uint8


@pytest.mark.parametrize("name", STATING)
def test_labels_are_dense_indices_of_named_classes(name: str, tmp_path: Path):
    dataset = opened(name, tmp_path)
    assert len(set(dataset.classes)) == len(dataset.classes) >= 3
    if dataset.objects is not None:
        assert set(dataset.objects.labels.tolist()) == set(range(len(dataset.classes)))
    elif dataset.maps is not None:
        assert len(dataset.maps.values) == len(dataset.classes)
    elif dataset.drawn is not None:
        assert len(dataset.drawn.values) == len(dataset.classes)
    else:
        labels = dataset.columns["label"]
        assert labels.dtype == np.int64
        assert set(labels[dataset.indices("train")].tolist()) == set(range(len(dataset.classes)))


@pytest.mark.parametrize("name", STATING)
def test_what_is_marked_has_an_entry_for_every_record_and_boxes_lie_in_their_pictures(name: str, tmp_path: Path):
    dataset = opened(name, tmp_path)
    marked = dataset.objects if dataset.objects is not None else dataset.of_pixels
    if marked is None:
        assert dataset.columns
        return
    assert len(marked) == len(dataset)
    for i in range(len(dataset)) if dataset.objects is not None else ():
        height, width = dataset.images.read(i).shape[:2]
        for mark in dataset.objects[i]:
            x0, y0, x1, y1 = mark.box
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].write is not None])
def test_what_it_writes_it_reads_back_without_a_loss(name: str, tmp_path: Path):
    there = tmp_path / "there"
    there.mkdir()
    dataset = opened(name, there)
    assert convert(dataset, name, tmp_path / "copy") == []
    assert differences(dataset, open_data(tmp_path / "copy", SETTINGS, carve=False)) == []


@pytest.mark.parametrize("name", STATING)
def test_every_picture_can_be_read(name: str, tmp_path: Path):
    dataset = opened(name, tmp_path)
    for i in (0, len(dataset) // 2, len(dataset) - 1):
        pixels = dataset.images.read(i)
        assert pixels.dtype == np.uint8 and pixels.ndim in {2, 3} and pixels.size


@pytest.mark.parametrize("name", STATING)
def test_it_says_what_it_is_and_what_it_recognised(name: str, tmp_path: Path):
    dataset = opened(name, tmp_path)
    assert dataset.format == name and dataset.name and dataset.evidence
    assert FORMATS[name].looks_for


@pytest.mark.parametrize("name", STATING)
def test_reading_twice_gives_the_same_data(name: str, tmp_path: Path):
    example = EXAMPLES[name](tmp_path)
    first, again = (open_data(example, SETTINGS, root=tmp_path, carve=False) for _ in range(2))
    assert first.fingerprint() == again.fingerprint() and list(first.ids) == list(again.ids)


@pytest.mark.parametrize("name", STATING)
def test_it_can_be_sent_to_a_worker(name: str, tmp_path: Path):
    dataset = opened(name, tmp_path)
    there = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(there.images.read(3), dataset.images.read(3))


@pytest.mark.parametrize("name", STATING)
def test_what_is_missing_is_carved_and_every_class_stays_in_training(name: str, tmp_path: Path):
    dataset = opened(name, tmp_path, carve=True)
    assert all(len(dataset.indices(split)) for split in SPLITS) and "val" in dataset.carved
    if "label" in dataset.columns:
        labels = dataset.columns["label"]
        assert set(labels[dataset.indices("train")].tolist()) == set(range(len(dataset.classes)))
    assert any("carved" in note for note in dataset.notes)


@pytest.mark.parametrize("name", STATING)
def test_an_empty_folder_is_not_recognised_and_not_read(name: str, tmp_path: Path):
    found = FORMATS[name].sniff(tmp_path)
    assert found is None or found.score == 0
    with pytest.raises((DataError, UsageError)):
        FORMATS[name].read(tmp_path, SETTINGS)


@pytest.mark.parametrize("name", STATING)
def test_reading_writes_nothing(name: str, tmp_path: Path):
    example = EXAMPLES[name](tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    open_data(example, SETTINGS, root=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
