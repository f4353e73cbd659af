import contextlib
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tests.metrics.boxes import NAMES_OF_STATS, judged, pycocotools

from visus.core.figures import Curve, Matrix, Table
from visus.core.task import Batch
from visus.metrics.detection import Detection, differences
from visus.verbs.judging import judge_results

REAL = Path(os.environ.get("VISUS_TEST_DATA", "")) / "coco_eval"
EXPECTED = {
    "map": 0.504581, "map50": 0.696973, "map75": 0.572982, "map_small": 0.585626, "map_medium": 0.519400,
    "map_large": 0.501398, "mar_1": 0.386813, "mar_10": 0.593680, "mar_100": 0.595353, "mar_small": 0.639811,
    "mar_medium": 0.566421, "mar_large": 0.564291,
}  # fmt: skip
"""Of COCO's official fake results on 100 images of val2014."""

SIDES = (8, 20, 32, 33, 64, 96, 120)
boxes = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    st.integers(0, 12), st.integers(0, 12), st.sampled_from(SIDES), st.sampled_from(SIDES),
)  # fmt: skip
areas = st.sampled_from([60.0, 1023.0, 1024.0, 1025.0, 9216.0, 9217.0])


@st.composite
def cases(draw):
    """Draw classes and pictures: crowds, equal scores, bounds of sizes, pictures and classes without objects."""
    k = draw(st.integers(1, 3))
    labels = st.integers(0, k - 1)
    scores = st.sampled_from([0.1, 0.3, 0.5, 0.5000001, 0.9])
    found = st.lists(st.tuples(boxes, scores, labels), max_size=14)
    truth = st.lists(st.tuples(boxes, labels, st.booleans(), areas), max_size=6)
    return k, draw(st.lists(st.tuples(found, truth), min_size=1, max_size=4))


def scattered(seed=0, n=40, k=4, crowds=True):
    """Return pictures whose detections are objects, moved a little, and some of another class or of nothing."""
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(n):
        objects, found = [], []
        for _ in range(random.integers(0, 7)):
            x, y, w, h = random.integers((0, 0, 10, 10), (300, 300, 150, 150)).tolist()
            label = int(random.integers(k))
            objects.append(((x, y, x + w, y + h), label, bool(crowds and random.random() < 0.1), float(w * h)))
            for _ in range(random.integers(0, 4)):
                box = np.array([x, y, x + w, y + h]) + random.integers(-12, 13, 4) * random.integers(0, 2)
                label = label if random.random() < 0.8 else int(random.integers(k))
                found.append((tuple(box.tolist()), float(random.integers(1, 40) / 40), label))
        for _ in range(random.integers(0, 3)):
            x, y = random.integers(0, 300, 2).tolist()
            found.append(((x, y, x + 40, y + 30), float(random.integers(1, 30) / 40), int(random.integers(k))))
        pictures.append((found, objects))
    return pictures


def values(metric):
    return {name: score.value for name, score in metric.compute().items()}


def check_against_pycocotools(pictures, k):
    stats, precision = pycocotools(pictures, k)
    metric = judged(pictures, k, resamples=2)
    items = metric.judged()
    found = {name: value[0] for name, value in items.weighted(np.ones((items.n, 1))).items()}
    for name, value in stats.items():
        assert np.isnan(found[name]) if value == -1 else found[name] == pytest.approx(value, abs=1e-9), name
    of_class = items.everything(np.ones((items.n, 1)))
    for name, steps in (("AP", slice(0, 10)), ("AP50", slice(0, 1)), ("AP75", slice(5, 6))):
        expected = precision[steps, :, :, 0, -1].mean((0, 1))
        np.testing.assert_allclose(of_class[name][0], np.where(expected < 0, np.nan, expected), atol=1e-9)


@given(cases())
@settings(max_examples=80)
def test_every_number_of_coco_and_of_each_class_equals_pycocotools(case):
    k, pictures = case
    check_against_pycocotools(pictures, k)


@pytest.mark.parametrize("seed", range(5))
def test_plausible_pictures_equal_pycocotools(seed):
    check_against_pycocotools(scattered(seed), 4)


@pytest.mark.parametrize("seed", range(20))
def test_overlaps_of_just_a_threshold_are_settled_as_pycocotools_does(seed):
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(5):
        objects, found = [], []
        for _ in range(random.integers(0, 7)):
            (x, y), (w, h) = (
                (random.integers(0, 200, 2) / 10).tolist(),
                random.choice((8.0, 19.7, 32.0, 96.1), 2).tolist(),
            )
            objects.append(((x, y, round(x + w, 6), round(y + h, 6)), 0, False, 1024.0))
            for share in random.choice(np.arange(50, 101, 5) / 100, 2):
                found.append(((x, y, x + round(w * float(share), 6), y + h), float(random.integers(1, 6) / 5), 0))
        pictures.append((found, objects))
    check_against_pycocotools(pictures, 1)


def test_more_than_a_hundred_detections_of_a_class_are_cut_as_pycocotools_does():
    random = np.random.default_rng(0)
    objects = [((30 * i, 0, 30 * i + 20, 20), 0, False, 400.0) for i in range(130)]
    found = [(box, float(score), 0) for (box, *_), score in zip(objects, random.integers(1, 90, 130) / 90, strict=True)]
    check_against_pycocotools([(found, objects), ([], objects[:3])], 1)


def test_the_official_fake_results_have_their_published_numbers():
    if not REAL.exists():
        pytest.skip("VISUS_TEST_DATA holds no coco_eval")
    stated = json.loads((REAL / "instances_val2014_100.json").read_text())
    results = json.loads((REAL / "instances_val2014_fakebbox100_results.json").read_text())
    classes = {category["id"]: k for k, category in enumerate(stated["categories"])}
    pictures = {image: ([], []) for image in sorted(image["id"] for image in stated["images"])}

    def corners(box):
        return (box[0], box[1], box[0] + box[2], box[1] + box[3])

    for row in results:
        pictures[row["image_id"]][0].append((corners(row["bbox"]), row["score"], classes[row["category_id"]]))
    for row in stated["annotations"]:
        pictures[row["image_id"]][1].append(
            (corners(row["bbox"]), classes[row["category_id"]], bool(row["iscrowd"]), float(row["area"]))
        )
    found = values(judged(list(pictures.values()), len(classes)))
    for name, value in EXPECTED.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_a_resample_is_judged_as_the_pictures_it_drew():
    pictures = scattered(3)
    drawn = np.sort(np.random.default_rng(1).integers(0, len(pictures), len(pictures)))
    weights = np.bincount(drawn, minlength=len(pictures)).astype(np.float64)[:, None]
    resampled = judged(pictures, 4).weighted(weights)
    repeated, _ = pycocotools([pictures[i] for i in drawn], 4)
    for name, value in repeated.items():
        assert resampled[name][0] == pytest.approx(value, abs=1e-9), name


def test_costs_of_a_resample_are_those_of_the_pictures_it_drew():
    pictures = scattered(4)
    drawn = np.sort(np.random.default_rng(2).integers(0, len(pictures), len(pictures)))
    weights = np.bincount(drawn, minlength=len(pictures)).astype(np.float64)[:, None]
    resampled = judged(pictures, 4).judged().everything(weights)["cost"]
    items = judged([pictures[i] for i in drawn], 4).judged()
    np.testing.assert_allclose(resampled, items.everything(np.ones((items.n, 1)))["cost"], atol=1e-12)


def test_perfect_detections_score_one_with_an_interval_that_admits_doubt():
    objects = [((0, 0, 20, 20), 0), ((50, 50, 150, 150), 1)]
    found = values(metric := judged([([(box, 0.9, k) for box, k in objects], objects)] * 30, 2))
    assert all(value == 1 for value in found.values())
    assert metric.compute()["map"].low == pytest.approx(0.025 ** (1 / 30))


def test_no_detection_at_all_scores_zero():
    found = values(judged([([], [((0, 0, 20, 20), 0)])] * 3, 1))
    assert found["map"] == found["mar_100"] == found["recall"] == found["f1"] == 0
    assert "precision" not in found
    assert "map_large" not in found


def test_data_without_objects_defines_no_average_precision():
    found = values(judged([([((0, 0, 20, 20), 0.5, 0)], [])] * 3, 1))
    assert "map" not in found
    assert "recall" not in found


def test_the_threshold_is_that_of_the_best_f1_by_trying_all():
    pictures = scattered(5)
    metric = judged(pictures, 4)
    items = metric.judged()
    counted, right = items.matches.counted(0, 0), items.matches.right(0, 0)
    scores = items.matches.found.score
    n = int((~items.truth.crowd).sum())
    f1 = {s: 2 * (right & (scores >= s)).sum() / ((counted & (scores >= s)).sum() + n) for s in np.unique(scores)}
    assert metric.calibration()["threshold"] == pytest.approx(max(f1, key=f1.get), rel=2e-5)


def test_the_detection_that_sets_the_threshold_is_shown_by_other_arithmetic_too():
    metric = judged([([((0, 0, 20, 20), 0.8, 0)], [((0, 0, 20, 20), 0)])], 1)
    assert metric.calibration()["threshold"] < 0.8 * (1 - 1e-6)


def test_each_class_has_the_threshold_of_its_own_best_f1():
    metric = judged(scattered(5), 4)
    items = metric.judged()
    label, scores = items.matches.found.label, items.matches.found.score
    counted, right = items.matches.counted(0, 0), items.matches.right(0, 0)
    (table,) = (figure for figure in metric.figures() if figure.title == "Classes")
    told = {row[0]: row for row in table.rows}
    assert not items.scarce.any()
    for k in range(4):
        n = int((~items.truth.crowd & (items.truth.label == k)).sum())
        f1 = {s: 2 * (right & (label == k) & (scores >= s)).sum() / ((counted & (label == k) & (scores >= s)).sum() + n)
              for s in np.unique(scores[label == k])}  # fmt: skip
        least = max(f1, key=f1.get)
        assert metric.calibration()[f"threshold/class {k}"] == pytest.approx(least, rel=2e-5)
        assert told[f"class {k}"][-1] == f"{least:.3f}" and told[f"class {k}"][-2].value == pytest.approx(f1[least])


def test_a_class_on_few_pictures_and_one_that_is_never_right_have_the_threshold_of_all():
    a, b = (0, 0, 20, 20), (50, 50, 70, 70)
    rare = [([(a, 0.9, 0)], [(a, 0)])] * 8 + [([(a, 0.8, 0), (b, 0.2, 1)], [(a, 0), (b, 1)])] * 2
    assert judged(rare, 2).judged().thresholds.tolist() == [0.8, 0.2]
    never = [([(a, 0.9, 0), (a, 0.5, 1)], [(a, 0), (b, 1)])] * 8
    assert judged(never, 2).judged().thresholds.tolist() == [0.9, 0.9]


def test_precision_and_recall_are_counts_at_the_threshold():
    objects = [((0, 0, 20, 20), 0), ((50, 50, 70, 70), 0), ((90, 90, 120, 120), 0)]
    found = [(objects[0][0], 0.9, 0), (objects[1][0], 0.8, 0), ((200, 0, 220, 20), 0.7, 0), ((0, 200, 20, 220), 0.1, 0)]
    metric = judged([(found, objects)], 1)
    assert metric.calibration() == {"threshold": pytest.approx(0.8, rel=2e-5)}
    assert values(metric)["precision"] == 1
    assert values(metric)["recall"] == pytest.approx(2 / 3)
    assert values(metric)["f1"] == pytest.approx(4 / 5)


def test_what_cannot_be_found_right_calibrates_nothing():
    assert judged([([((0, 0, 9, 9), 0.5, 0)], [((50, 50, 60, 60), 0)])], 1).calibration() == {}


def test_the_confusion_matrix_counts_every_object_and_every_sure_detection_once():
    a, b, c, d = (0, 0, 20, 20), (50, 50, 70, 70), (90, 90, 120, 120), (200, 200, 240, 240)
    found = [(a, 0.9, 0), (b, 0.8, 1), (b, 0.7, 0), ((300, 0, 320, 20), 0.6, 1), (d, 0.95, 1)]
    metric = judged([(found, [(a, 0), (b, 0), (c, 1), (d, 1)])], 2)
    matrix = next(figure for figure in metric.figures() if isinstance(figure, Matrix))
    assert matrix.rows == matrix.columns == ("class 0", "class 1", "background")
    assert metric.calibration() == {"threshold": pytest.approx(0.7, rel=2e-5)}
    assert matrix.values.tolist() == [[2, 0, 0], [0, 1, 1], [0, 1, 0]]


def test_an_object_called_another_class_stands_off_the_diagonal():
    a, b = (0, 0, 20, 20), (50, 50, 70, 70)
    metric = judged([([(a, 0.9, 0), (b, 0.9, 1)], [(a, 0), (b, 0)])], 2)
    matrix = next(figure for figure in metric.figures() if isinstance(figure, Matrix))
    assert matrix.values.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_the_confusion_matrix_are_the_objects_and_columns_the_detections(seed):
    metric = judged(scattered(seed), 4)
    items = metric.judged()
    matrix = items.confusion()
    held = ~items.truth.crowd
    sure = items.matches.counted(0, 0) & (items.matches.found.score >= items.thresholds[items.matches.found.label])
    assert matrix.sum(1)[:4].tolist() == np.bincount(items.truth.label[held], minlength=4).tolist()
    assert matrix.sum(0)[:4].tolist() == np.bincount(items.matches.found.label[sure], minlength=4).tolist()
    assert matrix.diagonal()[:4].sum() == items.counts(np.ones((items.n, 1))).right.sum()


def test_the_class_table_starts_with_the_worst_and_holds_the_mean():
    table = next(figure for figure in judged(scattered(2), 4).figures() if isinstance(figure, Table))
    assert table.columns == ("class", "objects", "AP", "AP50", "AP75", "precision", "recall", "F1", "from score")
    column = [row[2].value for row in table.rows]
    assert column == sorted(column)
    assert np.mean(column) == pytest.approx(values(judged(scattered(2), 4))["map"])
    assert all(row[2].low <= row[2].value <= row[2].high for row in table.rows)


def test_the_curve_of_a_class_ends_at_its_recall():
    metric = judged(scattered(2), 4)
    curve = next(figure for figure in metric.figures() if isinstance(figure, Curve))
    items = metric.judged()
    for k, line in enumerate(curve.lines):
        n_right = (items.matches.right(0, 0) & (items.matches.found.label == k)).sum()
        assert line.x[-1] == n_right / (~items.truth.crowd & (items.truth.label == k)).sum()
        assert all(0 < y <= 1 for y in line.y)


def test_the_gallery_names_the_surest_mistakes_that_are_shown_and_the_most_and_fewest():
    a, b, far = (0, 0, 20, 20), (50, 50, 70, 70), (200, 200, 220, 220)
    objects = [(a, 0), (b, 0)]
    pictures = [
        ([(a, 0.9, 0), (b, 0.9, 0)], objects),
        ([(a, 0.9, 0), (far, 0.4, 0)], objects),
        ([(far, 0.99, 0)], objects),
        ([], []),
    ]
    shown = judged(pictures, 1).gallery(2)
    assert shown == {"most confident mistakes": [2], "worst": [2, 1], "best": [0]}


def test_boxes_come_home_by_the_frame_and_what_is_not_finite_is_unsaid():
    metric = Detection(("a",), resamples=5)
    home = torch.tensor([[2.0, 0.0, 10.0], [0.0, 2.0, 20.0], [0.0, 0.0, 1.0]])
    box = torch.tensor([[10.0, 20.0, 50.0, 60.0]], dtype=torch.float64)
    stated = SimpleNamespace(
        boxes=box, labels=torch.tensor([0]), crowd=torch.tensor([False]), area=torch.tensor([1600.0])
    )
    raw = {
        "boxes": torch.tensor([[[0.0, 0.0, 20.0, 20.0], [0.0, torch.nan, 20.0, 20.0], [0.0, 0.0, 1.0, 1.0]]]),
        "scores": torch.tensor([[0.5, 0.9, -1.0]]),
        "labels": torch.zeros(1, 3, dtype=torch.int64),
    }
    metric.update(raw, Batch((), {"stated": [stated]}, ("x",), torch.tensor([7]), home[None]))
    assert values(metric)["map"] == 1
    assert metric.indices.tolist() == [7]
    assert len(metric.state()["found_score"]) == 1


def test_a_picture_of_unknown_objects_is_left_out():
    metric = Detection(("a",))
    raw = {"boxes": torch.zeros(1, 0, 4), "scores": torch.zeros(1, 0), "labels": torch.zeros(1, 0).long()}
    metric.update(raw, Batch((), {"stated": [None]}, ("x",), torch.tensor([0]), torch.eye(3)[None]))
    assert metric.compute() == {}


def test_an_object_of_unknown_class_is_left_out():
    metric = judged([([((0, 0, 9, 9), 0.5, 0)], [((0, 0, 9, 9), 0), ((20, 20, 30, 30), -1)])], 1)
    assert values(metric)["mar_100"] == 1


def test_the_difference_of_a_metric_to_itself_is_nothing():
    metric = judged(scattered(6), 4)
    found = differences(metric, metric)
    assert set(NAMES_OF_STATS) < set(found)
    assert all(np.all(np.asarray(value) == 0) for value, _, _ in found.values())


def test_differences_hold_what_better_boxes_gain_in_each_class_and_kind():
    pictures = scattered(7, crowds=False)
    better = [([(box, 0.9, label) for box, label, *_ in objects], objects) for _, objects in pictures]
    a, b = judged(pictures, 4), judged(better, 4)
    found = differences(a, b)
    value, low, high = found["map"]
    assert value == pytest.approx(1 - values(a)["map"])
    assert low <= value <= high
    assert found["AP"][0].shape == (4,)
    assert (found["AP"][0] > 0).all()
    np.testing.assert_allclose(found["cost"][0], -a.judged().measures["cost"][0])


def with_masks(seed=0):
    """Return COCO's ground truth and seeded detections: its masks moved and gnawed at, some of another class."""
    random = np.random.default_rng(seed)
    page = json.loads((REAL / "instances_val2014_100.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in page["images"]}
    found = []
    for number, one in enumerate(page["annotations"]):
        height, width = sizes[one["image_id"]]
        stated = one["segmentation"]
        runs = coco.frPyObjects(stated, height, width)
        mask = coco.decode(coco.merge(runs) if isinstance(stated, list) else runs)
        for _ in range(random.integers(0, 3)):
            moved = np.roll(mask, random.integers(-9, 10, 2) * random.integers(0, 2), (0, 1))
            moved[: random.integers(0, 1 + height // 3)] *= random.integers(0, 2, dtype=np.uint8)
            if moved.any():
                other = page["annotations"][random.integers(len(page["annotations"]))]
                found.append({
                    "image_id": one["image_id"], "score": float(random.integers(1, 60) / 60),
                    "category_id": (one if random.random() < 0.9 else other)["category_id"], "id": number,
                    "segmentation": coco.encode(np.asfortranarray(moved)),
                })  # fmt: skip
    for one in found:
        one["segmentation"] = {**one["segmentation"], "counts": one["segmentation"]["counts"].decode()}
    return page, found


@pytest.mark.skipif(not REAL.exists(), reason="VISUS_TEST_DATA has no coco_eval")
def test_mask_scores_are_those_of_pycocotools_on_real_objects_with_crowds(tmp_path):
    page, found = with_masks()
    assert sum(one["iscrowd"] for one in page["annotations"]) > 0
    (tmp_path / "results.json").write_text(json.dumps(found))
    (tmp_path / "instances.json").write_text(json.dumps(page))
    truth = COCO()
    truth.dataset = page
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(one) for one in found]), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores = judge_results(tmp_path / "results.json", tmp_path / "instances.json").scores
    for name, value in zip(NAMES_OF_STATS, evaluation.stats, strict=True):
        assert scores[f"mask_{name}"].value == pytest.approx(value, abs=1e-9), name
    assert scores["mask_map"].low < scores["mask_map"].value < scores["mask_map"].high


def test_detections_without_masks_have_no_mask_scores():
    assert not [name for name in judged(scattered(n=5), 4).compute() if name.startswith("mask")]


def test_behind_a_mean_over_classes_are_the_pictures_that_show_each_and_behind_other_scores_all():
    small, large = ((0, 0, 20, 20), 0), ((50, 50, 150, 150), 1)
    metric, inf = judged([([], [small])] * 3 + [([], [small, large])] * 2 + [([], [])], 3), np.inf
    assert metric.behind("map").tolist() == [[5, inf]] * 3 + [[5, 2]] * 2 + [[inf, inf]]
    assert metric.behind("map_large").tolist() == [[inf]] * 3 + [[2]] * 2 + [[inf]]
    assert metric.behind("f1").tolist() == [[6]]
