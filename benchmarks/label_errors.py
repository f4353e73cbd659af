"""How many wrong labels ``visus check --labels`` finds: a share of the labels is moved to another class, uniformly.

The labels of all records are ranked by how strongly the pictures contradict them.  Printed for each seed: the recall
within the first 10 % of the ranking; how many of those counted as mistakes were planted (precision), and how many of
the planted ones were counted (recall); what the share of wrong labels is estimated at; and the seconds, of which the
description of the pictures, the same for every seed, is told apart.  Wrong labels that the data has of its own are no
hits here, so precision is a lower bound.

    python benchmarks/label_errors.py DATA [--seeds 0 1 2] [--share 0.05] [--most 6000] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from visus.checks.labels import are_issues, contradictions, noise_rate
from visus.core.recipe import DataSettings, Recipe
from visus.data.dataset import Dataset
from visus.data.reading import open_data
from visus.verbs.features import features
from visus.verbs.out_of_fold import out_of_fold

SURE = 0.95
"""Probability of another class from which on a mistake is counted as sure, to see how many of those are."""


def plant(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, NDArray[np.bool_]]:
    """Return the data with a share of its labels moved to another class, and which were."""
    random = np.random.default_rng(seed)
    labels, k = dataset.columns["label"].astype(np.int64).copy(), len(dataset.classes)
    moved = np.zeros(len(labels), np.bool_)
    moved[random.choice(len(labels), round(share * len(labels)), replace=False)] = True
    labels[moved] = (labels[moved] + random.integers(1, k, int(moved.sum()))) % k
    return dataset.with_(columns={"label": labels}), moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--most", type=int, help="look at so many pictures, drawn at random, instead of all")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = open_data(given.data, DataSettings(), carve=False)
    began = time.perf_counter()
    shorter = min(dataset.images.read(0).shape[:2])
    at = np.sort(np.random.default_rng(0).permutation(len(dataset))[: given.most])
    found = features(dataset, at, shorter, lambda line: None)
    describing = time.perf_counter() - began
    print(f"{dataset.name}: {len(at):,} pictures, {len(dataset.classes)} classes, described in {describing:.0f} s")
    recalls, walls = [], []
    for seed in given.seeds:
        noisy, moved = plant(dataset, given.share, seed)
        began = time.perf_counter()
        said = out_of_fold(noisy, Recipe(seed=seed), lambda line: None, lambda: found)[at]
        labels, moved = noisy.columns["label"][at], moved[at]
        scores, issues = contradictions(labels, said), are_issues(labels, said)
        walls.append(time.perf_counter() - began)
        first = np.argsort(-scores, kind="stable")[: round(0.1 * len(labels))]
        recalls.append(float(moved[first].sum() / moved.sum()))
        rate, low, high = noise_rate(labels, said)
        sure = issues & (said.max(1) >= SURE)
        print(
            f"seed {seed}: recall {recalls[-1]:.3f} within 10 %; {issues.sum():,} counted, precision "
            f"{moved[issues].mean():.3f}, recall {moved[issues].sum() / moved.sum():.3f}; {sure.sum():,} sure, "
            f"precision {moved[sure].mean():.3f}; wrong by estimate {rate:.1%} ({low:.1%} to {high:.1%}); "
            f"{walls[-1]:.0f} s",
            flush=True,
        )
    spread = statistics.stdev(recalls) if len(recalls) > 1 else 0.0
    print(f"recall within the first 10 %: {statistics.mean(recalls):.3f} +- {spread:.3f} over {len(recalls)} seeds "
          f"(least {min(recalls):.3f}), {describing + statistics.mean(walls):.0f} s a check")  # fmt: skip


if __name__ == "__main__":
    main()
