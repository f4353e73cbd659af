"""How many wrong boxes ``visus check --labels`` finds: mistakes of four kinds are planted.

A share of the boxes is given another class, drawn uniformly; as many are taken away; as many are drawn on nothing, of
the size and class of another box, where they overlap no box by a tenth or more; and as many are moved and scaled until
they overlap their object by 0.2 to 0.5.  No box gets two mistakes.

Printed for each seed and kind: how many were planted, how many boxes are listed, how many of the planted ones are
listed (recall), how many of the listed ones were planted (precision), the average precision of the ranking, what is not
listed coming last, and, where boxes are ranked, its area under the ROC curve.  An object that was taken away is listed
where a suspected box overlaps it by half or more.  ``any list`` says how many are listed under any of the four.
Mistakes that the data has of its own are no hits here, so precision is a lower bound.

    python benchmarks/box_label_errors.py DATA [--seeds 0] [--share 0.03] [--most 400] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from visus.checks._box_doubts import KINDS, Doubt, Kind, doubts
from visus.cli.options import settings
from visus.core.boxes import pairwise_iou
from visus.core.recipe import Choice, DataSettings
from visus.data.dataset import SPLITS, Dataset
from visus.data.objects import Mark, Objects
from visus.data.reading import open_data
from visus.verbs.choosing import LENGTHS, resolve
from visus.verbs.out_of_fold import detections_out_of_fold

Box = tuple[float, float, float, float]
TRIES = 200


def plant(
    objects: Objects, sizes: NDArray[np.int64], classes: int, share: float, seed: int
) -> tuple[Objects, dict[Kind, list[tuple[int, Box]]]]:
    """Return objects with mistakes, and of each kind the record and the box: as it stands, or as it was taken away.

    Args:
        objects: as they are stated.
        sizes: (N, 2) height and width of the pictures; 0 of those that are left alone.
        classes: how many there are.
        share: of the boxes, for each kind.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    records = [objects[i] for i in range(len(objects))]
    record_of = objects.records
    place_of = np.arange(len(record_of)) - objects.starts[record_of]
    sides = (objects.boxes[:, 2:] - objects.boxes[:, :2]).min(1)
    held = np.flatnonzero((objects.labels >= 0) & ~objects.crowd & (sides > 0) & (sizes[record_of, 0] > 0))
    each = round(share * len(held))
    kinds = [kind for kind in KINDS if classes > 1 or kind != "class"]
    chosen = iter(random.permutation(held).tolist())
    planted: dict[Kind, list[tuple[int, Box]]] = {kind: [] for kind in kinds}
    gone: set[tuple[int, int]] = set()
    for kind in kinds:
        while len(planted[kind]) < each and (m := next(chosen, None)) is not None:
            i, j = int(record_of[m]), int(place_of[m])
            mark, size = records[i][j], (int(sizes[i, 0]), int(sizes[i, 1]))
            if kind == "class":
                records[i][j] = replace(mark, label=(mark.label + int(random.integers(1, classes))) % classes)
                planted[kind].append((i, mark.box))
            elif kind == "missing":
                gone.add((i, j))
                planted[kind].append((i, mark.box))
            elif kind == "place" and (box := moved(mark.box, size, random)) is not None:
                records[i][j] = replace(mark, box=box, area=float("nan"), polygons=(), mask="")
                planted[kind].append((i, box))
            elif kind == "extra" and (at := free(objects, sizes, mark.box, random)) is not None:
                there, box = at
                records[there].append(Mark(box, mark.label))
                planted[kind].append((there, box))
    left = [[mark for j, mark in enumerate(marks) if (i, j) not in gone] for i, marks in enumerate(records)]
    return Objects.of(left), planted


def moved(box: Box, size: tuple[int, int], random: np.random.Generator) -> Box | None:
    """Return a box that overlaps another by 0.2 to 0.5, inside the picture; None where none was met."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    for _ in range(TRIES):
        wide, high = width * random.uniform(0.6, 1.6), height * random.uniform(0.6, 1.6)
        x = (x0 + x1 - wide) / 2 + width * random.uniform(-0.6, 0.6)
        y = (y0 + y1 - high) / 2 + height * random.uniform(-0.6, 0.6)
        other = max(0.0, x), max(0.0, y), min(float(size[1]), x + wide), min(float(size[0]), y + high)
        if 0.2 <= overlap(other, [box])[0] <= 0.5:
            return other
    return None


def free(objects: Objects, sizes: NDArray[np.int64], like: Box, random: np.random.Generator) -> tuple[int, Box] | None:
    """Return a record and a box of the size of another that overlaps none by a tenth; None where none was met."""
    wide, high = like[2] - like[0], like[3] - like[1]
    for _ in range(TRIES):
        i = int(random.integers(len(objects)))
        if wide >= sizes[i, 1] or high >= sizes[i, 0]:
            continue
        x, y = random.uniform(0, sizes[i, 1] - wide), random.uniform(0, sizes[i, 0] - high)
        box = (x, y, x + wide, y + high)
        others = objects.boxes[objects.starts[i] : objects.starts[i + 1]]
        if not len(others) or overlap(box, others.tolist()).max() < 0.1:
            return i, box
    return None


def overlap(box: Box, others: list[Box]) -> NDArray[np.float64]:
    """Return the IoU of a box with others."""
    one, rest = (torch.tensor(some, dtype=torch.float64) for some in ([box], others))
    found: NDArray[np.float64] = pairwise_iou(one, rest)[0].numpy()
    return found


def hits(listed: list[tuple[int, Box]], planted: list[tuple[int, Box]], least: float) -> tuple[list[bool], list[bool]]:
    """Return which of the listed boxes are planted ones, each of which counts once, and which of those were listed."""
    free_of: dict[int, list[int]] = {}
    for number, (record, _) in enumerate(planted):
        free_of.setdefault(record, []).append(number)
    right, found = [], [False] * len(planted)
    for record, box in listed:
        here = [number for number in free_of.get(record, []) if not found[number]]
        values = overlap(box, [planted[number][1] for number in here]) if here else np.zeros(1)
        right.append(bool(values.max() >= least))
        if right[-1]:
            found[here[int(values.argmax())]] = True
    return right, found


def report(dataset: Dataset, at: NDArray[np.int64], share: float, seed: int, wanted: list[Choice]) -> None:
    """Plant mistakes, have them looked for, and print how many were found."""
    assert dataset.objects is not None
    sizes = np.zeros((len(dataset), 2), np.int64)
    sizes[at] = [dataset.images.read(i).shape[:2] for i in at.tolist()]
    objects, planted = plant(dataset.objects, sizes, len(dataset.classes), share, seed)
    part = np.full(len(dataset), len(SPLITS), np.uint8)
    part[at] = SPLITS.index("train")
    noisy = dataset.with_(objects=objects, split=part)
    recipe = resolve(noisy, [*wanted, Choice("seed", seed, "--seeds")])
    timed = any(key in LENGTHS for choice in wanted for key in choice.sets())
    began = time.perf_counter()
    said = detections_out_of_fold(noisy, recipe, at, lambda row: None, timed=timed)
    trained = time.perf_counter() - began
    found = doubts(objects, said, len(dataset.classes))
    seconds = time.perf_counter() - began
    sure = ", ".join(f"{name} {t:.2f}" for name, t in zip(dataset.classes, found.thresholds, strict=True))
    print(
        f"seed {seed}: {int(found.asked.sum()):,} boxes asked about in {seconds:.0f} s, of which "
        f"comparing took {seconds - trained:.1f} s; usual scores {sure}"
    )

    def box_of(doubt: Doubt) -> Box:
        sides = objects.boxes[doubt.object] if doubt.object >= 0 else said.box[doubt.found]
        return tuple(sides.tolist())  # type: ignore[return-value]

    every = [(doubt.record, box_of(doubt)) for kind in KINDS for doubt in found.of[kind]]
    of, counts = found.surest
    for kind in planted:
        listed = [(doubt.record, box_of(doubt)) for doubt in found.of[kind]]
        least = 0.5 if kind == "missing" else 0.999
        right, _ = hits(listed, planted[kind], least)
        anyhow = sum(hits(every, planted[kind], least)[1])
        precisions = np.cumsum(right) / np.arange(1, len(right) + 1)
        average = float(precisions[np.array(right, bool)].sum() / max(1, len(planted[kind]))) if right else 0.0
        area = ""
        if kind != "missing":
            ranks = np.zeros(len(objects.boxes))
            truth = np.zeros(len(objects.boxes), bool)
            ranks[[doubt.object for doubt in found.of[kind]]] = [doubt.rank for doubt in found.of[kind]]
            for record, box in planted[kind]:
                here = np.arange(objects.starts[record], objects.starts[record + 1])
                truth[here[(objects.boxes[here] == np.array(box)).all(1)]] = True
            area = f", AUROC {roc_auc_score(truth[found.asked], ranks[found.asked]):.3f}"
        many = max(1, len(planted[kind]))
        print(
            f"  {kind:8} {len(planted[kind]):4} planted, {len(listed):4} listed, recall {sum(right) / many:.3f} "
            f"({anyhow / many:.3f} in any list), precision {np.mean(right) if right else 0:.3f}, "
            f"AP {average:.3f}{area}; {counts[kind]} of the {of} surest",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--most", type=int, help="look at so many pictures, drawn at random, instead of all")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = open_data(given.data, DataSettings(), carve=False)
    assert dataset.objects is not None, "these data have no boxes"
    at = np.sort(np.random.default_rng(0).permutation(len(dataset))[: given.most])
    print(f"{dataset.name}: {len(at):,} pictures, {int(np.isin(dataset.objects.records, at).sum()):,} boxes of "
          f"{len(dataset.classes)} classes; {given.share:.1%} of the boxes get a mistake of each kind")  # fmt: skip
    for seed in given.seeds:
        report(dataset, at, given.share, seed, settings(given.set))


if __name__ == "__main__":
    main()
