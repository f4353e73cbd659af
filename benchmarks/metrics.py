"""Judging predictions: visus.metrics against torchmetrics and scikit-learn, equal numbers in less time.

Each side computes the same scores of the same logits, in turn, in one process at one thread; the figure is the median
over rounds of the ratio within a round.  What visus says is compared with both others, and the largest difference is
printed.  Ours starts from batches of 256 and also computes what the other side has no score for.

    python benchmarks/metrics.py [--rounds 5] [--out metrics.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sklearn
from torch import Tensor
from torchmetrics import functional as torchmetrics

from visus.core.task import Batch
from visus.metrics.classification import Classification
from visus.metrics.multilabel import Multilabel

Scores = dict[str, float]


def classes(n: int, k: int) -> tuple[Tensor, Tensor]:
    """Return logits (n, k) of a fair classifier and the labels (n,)."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(k, (n,), generator=generator)
    return torch.randn(n, k, generator=generator) + 3 * torch.nn.functional.one_hot(label, k), label


def labels(n: int, k: int) -> tuple[Tensor, Tensor]:
    """Return logits (n, k) of a fair tagger and what is shown (n, k)."""
    generator = torch.Generator().manual_seed(0)
    shown = (torch.rand(n, k, generator=generator) < 0.05).float()
    return torch.randn(n, k, generator=generator) + 3 * shown - 2, shown


def seen(metric: Any, logits: Tensor, **targets: Tensor) -> Any:
    """Return the metric after it has seen everything, in batches of 256."""
    n = len(logits)
    frames = torch.eye(3).expand(n, 3, 3)
    for start in range(0, n, 256):
        rows = slice(start, min(start + 256, n))
        part = {name: target[rows] for name, target in targets.items()}
        index = torch.arange(n)[rows]
        metric.update({"logits": logits[rows]}, Batch((), part, ("",) * len(index), index, frames[rows]))
    return metric


def ours(metric: Any, names: tuple[str, ...] = ()) -> Scores:
    n = len(metric.indices)
    return {name: float(value[0]) for name, value in metric.weighted(np.ones((n, 1)), names).items()}


def places_of_torchmetrics(logits: Tensor, label: Tensor) -> Scores:
    k = logits.shape[1]
    return {
        "accuracy": torchmetrics.accuracy(logits, label, "multiclass", num_classes=k, average="micro").item(),
        "top5_accuracy": torchmetrics.accuracy(
            logits, label, "multiclass", num_classes=k, average="micro", top_k=5
        ).item(),
    }


def all_of_torchmetrics(logits: Tensor, label: Tensor) -> Scores:
    k = logits.shape[1]
    probability = logits.double().softmax(1)
    given: dict[str, Any] = {"task": "multiclass", "num_classes": k}
    found = places_of_torchmetrics(logits, label)
    for name, function in (("precision", torchmetrics.precision), ("recall", torchmetrics.recall),
                           ("f1", torchmetrics.f1_score)):  # fmt: skip
        for average in ("macro", "micro"):
            found[f"{name}_{average}"] = function(logits, label, average=average, **given).item()
    found["f1_weighted"] = torchmetrics.f1_score(logits, label, average="weighted", **given).item()
    found["roc_auc_macro"] = torchmetrics.auroc(probability, label, **given).item()
    found["average_precision_macro"] = torchmetrics.average_precision(probability, label, **given).item()
    found["calibration_error"] = torchmetrics.calibration_error(probability, label, n_bins=15, **given).item()
    return found


def all_of_sklearn(logits: Tensor, label: Tensor) -> Scores:
    k = logits.shape[1]
    y, said = label.numpy(), logits.argmax(1).numpy()
    probability = logits.double().softmax(1).numpy()
    found = {"accuracy": sklearn.accuracy_score(y, said), "balanced_accuracy": sklearn.balanced_accuracy_score(y, said)}
    found["top5_accuracy"] = sklearn.top_k_accuracy_score(y, probability, k=5, labels=range(k))
    for average in ("macro", "micro"):
        precision, recall, f1, _ = sklearn.precision_recall_fscore_support(y, said, average=average)
        found |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
    found["f1_weighted"] = sklearn.f1_score(y, said, average="weighted")
    found["roc_auc_macro"] = sklearn.roc_auc_score(y, probability, multi_class="ovr", average="macro")
    found["average_precision_macro"] = sklearn.average_precision_score(np.eye(k)[y], probability, average="macro")
    found["log_loss"] = sklearn.log_loss(y, probability, labels=range(k))
    found["brier"] = sklearn.brier_score_loss(y, probability, labels=range(k))
    return found


def labels_of_torchmetrics(logits: Tensor, shown: Tensor) -> Scores:
    given: dict[str, Any] = {"task": "multilabel", "num_labels": logits.shape[1]}
    probability, y = logits.double().sigmoid(), shown.long()
    return {
        "average_precision_macro": torchmetrics.average_precision(probability, y, **given).item(),
        "roc_auc_macro": torchmetrics.auroc(probability, y, **given).item(),
        "f1_macro": torchmetrics.f1_score(probability, y, average="macro", **given).item(),
        "f1_micro": torchmetrics.f1_score(probability, y, average="micro", **given).item(),
        "subset_accuracy": torchmetrics.exact_match(probability, y, **given).item(),
        "hamming_loss": torchmetrics.hamming_distance(probability, y, **given).item(),
    }


def labels_of_sklearn(logits: Tensor, shown: Tensor) -> Scores:
    probability, y, said = logits.double().sigmoid().numpy(), shown.numpy(), (logits > 0).numpy()
    return {
        "average_precision_macro": sklearn.average_precision_score(y, probability, average="macro"),
        "roc_auc_macro": sklearn.roc_auc_score(y, probability, average="macro"),
        "f1_macro": sklearn.f1_score(y, said, average="macro"),
        "f1_micro": sklearn.f1_score(y, said, average="micro"),
        "subset_accuracy": sklearn.accuracy_score(y, said),
        "hamming_loss": sklearn.hamming_loss(y, said),
    }


def race(
    title: str, mine: Callable[[], Scores], others: dict[str, Callable[[], Scores]], rounds: int
) -> list[dict[str, Any]]:
    """Time all sides in turn, and return a row for each of the others."""
    seconds: dict[str, list[float]] = {"visus": [], **{name: [] for name in others}}
    said: dict[str, Scores] = {}
    for _ in range(rounds):
        for name, compute in (("visus", mine), *others.items()):
            began = time.perf_counter()
            said[name] = compute()
            seconds[name].append(time.perf_counter() - began)
    rows = []
    for name in others:
        shared = set(said["visus"]) & set(said[name])
        rows.append({
            "what": title, "peer": name, "scores": len(shared),
            "visus_ms": 1e3 * statistics.median(seconds["visus"]), "peer_ms": 1e3 * statistics.median(seconds[name]),
            "ratio": statistics.median(b / a for a, b in zip(seconds["visus"], seconds[name], strict=True)),
            "largest_difference": max(abs(said["visus"][score] - said[name][score]) for score in shared),
        })  # fmt: skip
    return rows


def intervals(n: int, k: int, rounds: int) -> dict[str, Any]:
    """Return how long every score with its interval takes, against scikit-learn once for each resample."""
    logits, label = classes(n, k)
    mine, theirs, count = [], [], 0
    for _ in range(rounds):
        began = time.perf_counter()
        count = len(seen(Classification([str(c) for c in range(k)]), logits, label=label).compute())
        mine.append(time.perf_counter() - began)
        began = time.perf_counter()
        all_of_sklearn(logits, label)
        theirs.append(1000 * (time.perf_counter() - began))
    return {
        "what": f"intervals, 1,000 resamples, {n:,} x {k}", "peer": "scikit-learn, one call x 1,000", "scores": count,
        "visus_ms": 1e3 * statistics.median(mine), "peer_ms": 1e3 * statistics.median(theirs),
        "ratio": statistics.median(b / a for a, b in zip(mine, theirs, strict=True)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []

    logits, label = classes(50_000, 1000)
    names = [str(c) for c in range(1000)]
    rows += race(
        "top-1 and top-5, 50,000 x 1,000",
        lambda: ours(seen(Classification(names), logits, label=label), ("accuracy", "top5_accuracy")),
        {"torchmetrics": lambda: places_of_torchmetrics(logits, label)},
        arguments.rounds,
    )
    for n, k in ((10_000, 10), (10_000, 100)):
        few, truth = classes(n, k)
        known = [str(c) for c in range(k)]
        rows += race(
            f"every score, {n:,} x {k}",
            lambda few=few, truth=truth, known=known: ours(seen(Classification(known), few, label=truth)),
            {
                "torchmetrics": lambda few=few, truth=truth: all_of_torchmetrics(few, truth),
                "scikit-learn": lambda few=few, truth=truth: all_of_sklearn(few, truth),
            },
            arguments.rounds,
        )
    tagged, shown = labels(5000, 80)
    rows += race(
        "every score of several labels, 5,000 x 80",
        lambda: ours(seen(Multilabel([str(c) for c in range(80)]), tagged, labels=shown)),
        {
            "torchmetrics": lambda: labels_of_torchmetrics(tagged, shown),
            "scikit-learn": lambda: labels_of_sklearn(tagged, shown),
        },
        arguments.rounds,
    )
    rows.append(intervals(10_000, 10, max(1, arguments.rounds // 2)))

    print(f"{'what':44} {'against':32} {'scores':>6} {'visus':>10} {'peer':>12} {'ratio':>8} {'difference':>11}")
    for row in rows:
        apart = f"{row['largest_difference']:11.1e}" if "largest_difference" in row else f"{'':11}"
        print(
            f"{row['what']:44} {row['peer']:32} {row['scores']:6d} {row['visus_ms']:7.0f} ms "
            f"{row['peer_ms']:9.0f} ms {row['ratio']:7.1f}x {apart}"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
