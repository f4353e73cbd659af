"""Results files of strangers: read as they are, or refused with file and place, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import DataError
from visus.core.recipe import DataSettings
from visus.data.reading import open_data
from visus.data.results import read_results

ENTRY = {"image_id": 7, "category_id": 3, "bbox": [1, 2.5, 10, 20], "score": 0.75}


def written(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_detections_come_in_their_order_with_both_corners(tmp_path):
    more = {**ENTRY, "image_id": 8.0, "score": 1, "segmentation": {"size": [3, 3]}, "id": "x"}
    found = read_results(written(tmp_path / "r.json", [ENTRY, more]))
    assert found.images.tolist() == [7, 8] and found.categories.tolist() == [3, 3]
    assert found.scores.tolist() == [0.75, 1.0]
    assert found.boxes.tolist() == [[1, 2.5, 11, 22.5]] * 2


@pytest.mark.parametrize(
    ("document", "code", "told"),
    [
        ({}, "DATA-203", "it holds an object, not a list"),
        ("null", "DATA-203", "it holds null, not a list"),
        ("", "DATA-200", "the file is empty"),
        ("[] []", "DATA-200", "more text after the end of the list"),
        ([[1]], "DATA-320", "detections[0]: [1] is no object"),
        ([ENTRY, {**ENTRY, "image_id": "7"}], "DATA-320", "detections[1].image_id: '7' is no whole number"),
        ([{**ENTRY, "image_id": 1.5}], "DATA-320", "detections[0].image_id: 1.5 is no whole number"),
        ([{**ENTRY, "image_id": True}], "DATA-320", "image_id: true is no whole number"),
        ([{**ENTRY, "category_id": 10**30}], "DATA-320", "category_id: a number of more than 64 bits"),
        ([{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1}], "DATA-320", "category_id: is missing"),
        ([{**ENTRY, "score": None}], "DATA-320", "detections[0].score: is missing"),
        ([{**ENTRY, "score": "0.5"}], "DATA-320", "detections[0].score: '0.5' is no number"),
        ([{**ENTRY, "score": float("nan")}], "DATA-202", "detections[0].score: NaN is no number"),
        (json.dumps([ENTRY]).replace("0.75", "1e999"), "DATA-320", "detections[0].score: an infinite number"),
        ([{**ENTRY, "bbox": [1, 2, 3]}], "DATA-320", "detections[0].bbox: [1, 2, 3] is not x, y, width, height"),
        ([{**ENTRY, "bbox": [1, 2, 3, "4"]}], "DATA-320", "is not x, y, width, height"),
        ([{**ENTRY, "bbox": [1, 2, -3, 4]}], "DATA-320", "detections[0].bbox: a width or height of -3 is below 0"),
        (json.dumps([ENTRY]).replace("2.5", "1e999"), "DATA-320", "lies beyond any picture"),
        ([{k: v for k, v in ENTRY.items() if k != "bbox"}], "DATA-320", "detections[0].bbox: is missing"),
    ],
)
def test_what_is_no_results_file_is_refused_with_its_place(tmp_path, document, code, told):
    path = written(tmp_path / "r.json", document)
    with pytest.raises(DataError) as caught:
        read_results(path)
    assert caught.value.code == code
    assert told in caught.value.what and str(path) in caught.value.what


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(ENTRY, VALUES)) | VALUES, max_size=3) | VALUES)
def test_any_document_is_read_or_refused(tmp_path_factory, document):
    path = written(tmp_path_factory.mktemp("results") / "r.json", document)
    try:
        found = read_results(path)
    except DataError:
        return
    assert len(found) == len(document)
    assert np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()


@pytest.fixture
def data(tmp_path):
    """Return a data set of one picture, number 7, and one class, number 3."""
    document = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 50, "width": 50}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "area": 200, "iscrowd": 0}],
    }
    return open_data(written(tmp_path / "instances_val.json", document), DataSettings(), carve=False)


def test_pictures_and_classes_are_found_by_the_users_numbers(data, tmp_path):
    found = read_results(written(tmp_path / "r.json", [ENTRY]))
    assert found.records(np.array([5, 7]), "it").tolist() == [1]
    assert found.labels(data).tolist() == [0]


@pytest.mark.parametrize(
    ("entry", "code", "told"),
    [
        ({**ENTRY, "image_id": 8}, "DATA-321", "detections[1].image_id: 8 is no picture of all of it"),
        ({**ENTRY, "category_id": 1}, "DATA-322", "detections[1].category_id: 1 is no class of"),
    ],
)
def test_a_number_that_the_data_does_not_have_is_told_with_how_often(data, tmp_path, entry, code, told):
    found = read_results(written(tmp_path / "r.json", [ENTRY, entry, entry]))
    with pytest.raises(DataError) as caught:
        found.records(data.original.image_ids, "all of it")
        found.labels(data)
    assert caught.value.code == code and told in caught.value.what
    assert caught.value.where.startswith("2 of 3 detections")


def test_masks_are_read_where_every_entry_has_one_and_give_a_box_where_none_is_said(tmp_path):
    one = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": {"size": [4, 3], "counts": [5, 2, 5]}}
    found = read_results(written(tmp_path / "r.json", [one, {**one, "bbox": [0, 0, 1, 1]}]))
    assert [mask.tolist() for mask in found.masks] == [[5, 2, 5]] * 2
    assert found.boxes.tolist() == [[1, 1, 2, 3], [0, 0, 1, 1]]
    assert read_results(written(tmp_path / "s.json", [one, ENTRY])).masks is None


@pytest.mark.parametrize("counts", [[5, 2, 4], [5, -1, 8], "~", 7])
def test_a_mask_that_is_none_is_refused_with_its_place(tmp_path, counts):
    one = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": {"size": [4, 3], "counts": counts}}
    with pytest.raises(DataError, match=r"detections\[0\]\.segmentation\.counts"):
        read_results(written(tmp_path / "r.json", [one]))
