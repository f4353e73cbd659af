"""Judging a results file: the numbers of pycocotools, by what a stranger types, and why two files differ."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import visus
from visus.core.errors import DataError, UsageError

REAL = Path(os.environ.get("VISUS_TEST_DATA", "")) / "coco_eval"
NAMES = (
    "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip


def written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def made_up(folder: Path, off: float = 0.1, seed: int = 1) -> tuple[Path, Path]:
    """Write objects of two classes on 30 pictures, whose numbers fall, and results that are off by a part of a box."""
    random = np.random.default_rng(0)
    images = [{"id": 900 - 10 * i, "file_name": f"{i}.jpg", "height": 480, "width": 640} for i in range(30)]
    annotations, results = [], []
    moved = np.random.default_rng(seed)
    for image in images:
        for _ in range(random.integers(0, 5)):
            x, y, w, h = random.uniform((0, 0, 10, 10), (300, 200, 200, 200)).round(2).tolist()
            category = int(random.choice([5, 17]))
            common = {"image_id": image["id"], "category_id": category}
            number, crowd = len(annotations) + 1, int(random.random() < 0.1)
            annotations.append(
                common | {"id": number, "bbox": [x, y, w, h], "area": round(w * h / 2, 2), "iscrowd": crowd}
            )
            for _ in range(random.integers(0, 3)):
                dx, dy = (off * moved.normal(size=2) * (w, h)).round(2).tolist()
                score = float(moved.integers(1, 8) / 8)
                results.append(common | {"bbox": [round(x + dx, 2), round(y + dy, 2), w, h], "score": score})
    categories = [{"id": 17, "name": "cat"}, {"id": 5, "name": "dog"}]
    stated = {"images": images, "annotations": annotations, "categories": categories}
    return written(folder / "instances_val.json", stated), written(folder / f"results{seed}.json", results)


def of_pycocotools(data: Path, results: Path) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist(), strict=True))


def check(data: Path, results: Path) -> None:
    found = visus.evaluate(predictions=results, data=data)
    for name, value in of_pycocotools(data, results).items():
        assert found.scores[name].value == pytest.approx(value, abs=1e-9), name


def test_the_official_fake_results_are_judged_as_pycocotools_does():
    if not REAL.exists():
        pytest.skip("VISUS_TEST_DATA holds no coco_eval")
    check(REAL / "instances_val2014_100.json", REAL / "instances_val2014_fakebbox100_results.json")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pictures_whose_numbers_fall_are_judged_as_pycocotools_does(tmp_path, seed):
    check(*made_up(tmp_path, seed=seed))


def test_the_document_has_every_score_with_interval_and_n(tmp_path):
    data, results = made_up(tmp_path)
    told = json.loads(json.dumps(visus.evaluate(predictions=results, data=data).json()))
    assert told["scores"]["map"].keys() == {"value", "low", "high", "n"}
    assert told["n"] == 30 and told["split"] == "val" and "compared" not in told


def test_a_comparison_says_which_is_better_and_where(tmp_path):
    (data, good), (_, poor) = made_up(tmp_path, off=0.05), made_up(tmp_path, off=0.4, seed=2)
    found = visus.evaluate(predictions=poor, compare=good, data=data)
    told = json.loads(json.dumps(found.json()))["compared"]
    assert "B is better" in told["verdict"]
    assert told["differences"]["map"]["better"] == "B"
    assert {name: row["better"] for name, row in told["classes"].items()} == {"cat": "B", "dog": "B"}
    assert told["mistakes"]["localisation"]["count_a"] > told["mistakes"]["localisation"]["count_b"]
    assert told["mistakes"]["localisation"]["better"] == "B"
    alone = visus.evaluate(predictions=good, data=data).scores["map"].value
    assert told["differences"]["map"]["b"] == alone


def test_results_are_no_better_than_themselves(tmp_path):
    data, results = made_up(tmp_path)
    explained = visus.evaluate(predictions=results, compare=results, data=data).explained
    assert explained.verdict.startswith("+0.0 +- 0.0: no difference shown")
    assert all(len(row) == len(table.columns) for table in explained.tables() for row in table.rows)


def test_a_class_on_few_pictures_is_not_said_to_be_better(tmp_path):
    boxes = [{"id": i, "image_id": i, "category_id": 1 + i // 4, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0}
             for i in range(5)]  # fmt: skip
    data = written(tmp_path / "instances_val.json", {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 90, "width": 90} for i in range(5)],
        "annotations": boxes, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    })  # fmt: skip
    detections = [{key: box[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for box in boxes]
    a, b = (written(tmp_path / f"{k}.json", detections[: 4 + k]) for k in (0, 1))
    difference = visus.evaluate(predictions=a, compare=b, data=data).explained.classes["b"]
    assert difference.value == 1 and not difference.better


def test_of_several_parts_that_is_judged_on_whose_pictures_the_results_are(tmp_path):
    (tmp_path / "annotations").mkdir()
    data, results = made_up(tmp_path)
    document = json.loads(data.read_text())
    other = {**document, "images": [{**image, "id": image["id"] + 1, "file_name": f"t{image['id']}.jpg"}
                                    for image in document["images"]], "annotations": []}  # fmt: skip
    for part, stated in (("val", document), ("train", other)):
        (tmp_path / part).mkdir()
        written(tmp_path / "annotations" / f"instances_{part}.json", stated)
        for image in stated["images"]:
            (tmp_path / part / image["file_name"]).write_bytes(b"")
    data.unlink()
    results = results.rename(tmp_path.parent / f"{tmp_path.name}.json")
    assert visus.evaluate(predictions=results, data=tmp_path).split == "val"
    with pytest.raises(DataError, match="is no picture of the train part"):
        visus.evaluate(predictions=results, data=tmp_path, split="train")


def test_data_whose_pictures_have_no_numbers_says_how_to_give_them_some(tmp_path):
    _, results = made_up(tmp_path)
    table = tmp_path / "boxes.csv"
    table.write_text("path,xmin,ymin,xmax,ymax,label\n" + "a.png,1,2,30,40,cat\n")
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(DataError) as caught:
        visus.evaluate(predictions=results, data=table)
    assert caught.value.code == "DATA-324" and "visus convert" in caught.value.fix


def test_data_without_boxes_is_refused(tmp_path):
    _, results = made_up(tmp_path)
    with pytest.raises(DataError) as caught:
        visus.evaluate(predictions=results, data="digits")
    assert caught.value.code == "DATA-325"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data": "digits"},
        {"model": "a", "data": "b", "predictions": "c"},
        {"model": "a", "data": "b", "compare": "c"},
        {"predictions": "a"},
    ],
)
def test_either_a_model_or_results_and_data_are_asked_for(given):
    with pytest.raises(UsageError) as caught:
        visus.evaluate(**given)
    assert caught.value.code == "USE-056"


def test_an_empty_part_is_no_part_of_the_data(tmp_path):
    data, results = made_up(tmp_path)
    with pytest.raises(DataError, match="is no picture of the test part"):
        visus.evaluate(predictions=results, data=data, split="test")


def test_results_without_any_detection_find_nothing_and_say_so(tmp_path):
    data, _ = made_up(tmp_path)
    found = visus.evaluate(predictions=written(tmp_path / "empty.json", []), data=data)
    assert found.scores["map"].value == found.scores["mar_100"].value == found.scores["f1"].value == 0
    assert found.n == 30
    assert "the results hold no detection: every object is missed" in found.notes
    assert found.tables() and found.summary()


def test_results_without_any_detection_are_worse_than_others(tmp_path):
    data, results = made_up(tmp_path)
    explained = visus.evaluate(predictions=written(tmp_path / "empty.json", []), compare=results, data=data).explained
    assert "B is better" in explained.verdict
    assert explained.tables()
