"""Judging one class a picture: accuracy and its kin, ranking, calibration; each with an interval."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.figures import Figure, Matrix, Table
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import Measures, Numbers, Sums, Weights, summing
from visus.metrics.calibration import error_interval, fit_temperature, gaps
from visus.metrics.counts import Counts, class_table
from visus.metrics.curves import reliability, roc_curves
from visus.metrics.ranking import Ranking, Rankings
from visus.metrics.rows import RowMetric

MOST_CLASSES_OF_A_MATRIX = 40
SCORES = (
    "accuracy", "top5_accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted",
    "precision_micro", "recall_micro", "f1_micro", "roc_auc_macro", "average_precision_macro", "log_loss", "brier",
    "calibration_error",
)  # fmt: skip
EXACT = 2_000_000_000
_CHUNK = 4096


class Classification(RowMetric["JudgedClasses"]):
    """Scores of predicted classes against true ones; pictures whose class is unknown (-1) are left out.

    ``accuracy``, ``top5_accuracy`` (more than five classes; equal logits rank by class index), ``balanced_accuracy``
    (mean recall of the classes shown); ``precision``, ``recall`` and ``f1``: ``_macro`` over the classes shown or
    named, ``_micro``, and ``f1_weighted`` by how often a class is shown; ``roc_auc_macro`` and
    ``average_precision_macro``, each class against the rest by its probability, over the classes where that is defined;
    ``log_loss`` in nats; ``brier``, the mean squared distance between probabilities and truth, in [0, 2], halved for
    two classes as is the custom; ``calibration_error``, the expected one over 15 equal bins of the top probability.

    A score that the data does not define is left out, never shown as 0.  A picture for which the network said NaN or
    infinity counts as mistaken, with a log loss of a thousand nats.

    Intervals are a bootstrap's over pictures, see ``interval`` and ``error_interval``.  Where items x classes x
    resamples exceed two milliards, those of the ranking scores come from linearised resamples, see
    ``Ranking.influences``.

    Args:
        classes: names, in the order of the logits.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.
        temperature: by which logits are divided, as the decoder does.
    """

    @staticmethod
    def scores_of(classes: int) -> tuple[str, ...]:
        """Return the names of the scores for so many classes."""
        return tuple(name for name in SCORES if classes > 5 or name != "top5_accuracy")

    def __init__(
        self, classes: Sequence[str], *, score: str = "accuracy", resamples: int = 1000, temperature: float = 1.0
    ) -> None:
        self.classes, self.temperature = tuple(classes), temperature
        none = torch.zeros(0, dtype=torch.int64)
        empty = {"logits": torch.zeros(0, len(classes)), "label": none, "index": none}
        super().__init__(empty, ("accuracy", "top5_accuracy", "f1_macro", "log_loss", score), resamples)

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember the logits of the labelled pictures of a batch."""
        label = batch.targets["label"].cpu()
        known = label >= 0
        self.add(logits=raw["logits"].detach().cpu()[known], label=label[known], index=batch.indices[known])

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedClasses:
        """Return what follows from the logits."""
        return JudgedClasses(rows, self.temperature, self.resamples)

    def measures(self, items: JudgedClasses) -> Measures:
        """Return value, low and high of every score."""
        found = super().measures(items)
        low, high = error_interval(items.confidence, items.right, self.resamples)
        return {**found, "calibration_error": (found["calibration_error"][0], np.float64(low), np.float64(high))}

    def figures(self) -> Sequence[Figure]:
        """Return classes, confusions, the reliability of probabilities, and ROC curves."""
        items = self.judged()
        if not items.n:
            return ()
        figures: list[Figure] = [class_table(self.classes, items.counts, items.n, self.resamples)]
        if len(self.classes) <= MOST_CLASSES_OF_A_MATRIX:
            pairs = items.label * items.k + items.predicted
            confusion = np.bincount(pairs, minlength=items.k**2).reshape(items.k, items.k)
            figures.append(Matrix("Confusion matrix", self.classes, self.classes, confusion))
        figures.append(self._mistakes(items))
        name = "as the network says" if self.temperature == 1 else f"at temperature {self.temperature:.2f}"
        figures.append(reliability(items.confidence, items.right, name))
        areas = items.ranks.by_class[:, 0].copy()
        areas[: 1 if items.k == 2 else 0] = np.nan  # the first of two classes is the mirror image of the second
        if not np.isnan(areas).all():
            figures.append(roc_curves(self.classes, items.ranking, areas))
        return figures

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the most confident mistakes, and the pictures of highest and lowest loss."""
        items = self.judged()
        wrong = np.flatnonzero(~items.right)
        confident = wrong[np.argsort(-items.confidence[wrong], kind="stable")][:n]
        by_loss = np.argsort(items.loss, kind="stable")
        return {
            "most confident mistakes": items.indices[confident].tolist(),
            "worst": items.indices[by_loss[::-1][:n]].tolist(),
            "best": items.indices[by_loss[:n]].tolist(),
        }

    def calibration(self) -> dict[str, float]:
        """Return the temperature that makes these pictures least surprising."""
        state = self.state()
        return {"temperature": fit_temperature(state["logits"], state["label"])}

    def _mistakes(self, items: JudgedClasses) -> Table:
        pairs, count = np.unique((items.label * items.k + items.predicted)[~items.right], return_counts=True)
        order = np.argsort(-count, kind="stable")[:15]
        names = [(self.classes[pair // items.k], self.classes[pair % items.k]) for pair in pairs[order]]
        rows = [(*pair, int(c)) for pair, c in zip(names, count[order], strict=True)]
        note = "" if rows else "There are none."
        return Table("Most frequent mistakes", ("truth", "prediction", "pictures"), rows, note)


class JudgedClasses:
    """What follows from the rows of N pictures and K classes.

    Attributes:
        indices, label, predicted: (N,).
        loss: (N,) nats; brier: (N,) squared distance; confidence: (N,) top probability.
        above: (N,) classes ranked above the true one.
    """

    def __init__(self, rows: Mapping[str, Tensor], temperature: float, resamples: int) -> None:
        self.temperature, self.resamples = temperature, resamples
        logits, label = _finite(rows["logits"], rows["label"]), rows["label"]
        self.n, self.k = logits.shape
        parts = [
            _judged(*part, temperature)
            for part in zip(torch.split(logits, _CHUNK), torch.split(label, _CHUNK), strict=True)
        ]
        columns = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
        self.logits, self.label, self.indices = logits.numpy(), label.numpy(), rows["index"].numpy()
        self.predicted, self.above = columns["predicted"], columns["above"]
        self.loss, self.confidence = columns["loss"], columns["confidence"]
        self._top, self._mass = columns["top"], columns["mass"]
        self.brier = columns["brier"] / (2 if self.k == 2 else 1)
        self.right: NDArray[np.bool_] = self.predicted == self.label

    def counts(self, weights: Weights) -> Counts:
        """Return the weighted counts of each class."""
        right, named, shown = self._sums
        return Counts(right @ weights, named @ weights, shown @ weights)

    def ranking(self, k: int) -> Ranking:
        """Return class ``k`` against the rest, by its probability."""
        z = (self.logits[:, k].astype(np.float64) - self._top) / self.temperature
        return Ranking(np.exp(z) / self._mass, self.label == k)

    @cached_property
    def ranks(self) -> Rankings:
        """Every class against the rest."""
        return Rankings(map(self.ranking, range(self.k)), self.n, exact=self.n * self.k * self.resamples <= EXACT)

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r); only those named, if any are."""
        total = weights.sum(0)
        counts = self.counts(weights)
        means = self._linear @ weights / total
        found = {"accuracy": counts.right.sum(0) / total}
        if self.k > 5:
            found["top5_accuracy"] = means[2]
        recall = counts.recall()
        found["balanced_accuracy"] = np.nanmean(recall, axis=0)
        found |= counts.scores()
        if not names or {"roc_auc_macro", "average_precision_macro"} & set(names):
            found["roc_auc_macro"], found["average_precision_macro"] = self.ranks.areas(weights)
        found |= {"log_loss": means[0], "brier": means[1], "calibration_error": np.abs(means[3:]).sum(0)}
        return {name: value for name, value in found.items() if not names or name in names}

    @cached_property
    def _sums(self) -> tuple[Sums, Sums, Sums]:
        right = np.flatnonzero(self.right)
        return (
            summing(self.label[right], self.k, self.n, right),
            summing(self.predicted, self.k, self.n),
            summing(self.label, self.k, self.n),
        )

    @cached_property
    def _linear(self) -> Numbers:
        """(3 + 15, N) rows whose weighted means are log loss, Brier score, top-5 accuracy and calibration gaps."""
        return np.concatenate([[self.loss, self.brier, self.above < 5], gaps(self.confidence, self.right)])


def _judged(logits: Tensor, label: Tensor, temperature: float) -> dict[str, Tensor]:
    """Return columns of some pictures, computed in float64."""
    top = logits.double().amax(1)
    z = (logits.double() - top[:, None]) / temperature  # a shift of all logits leaves not even a last digit behind
    own = z.gather(1, label[:, None])
    masses = z.exp()
    mass = masses.sum(1)
    probability = masses / mass[:, None]
    first = torch.arange(z.shape[1]) < label[:, None]
    return {
        "predicted": z.argmax(1),
        "top": top,
        "mass": mass,
        "loss": mass.log() - own[:, 0],
        "confidence": probability.amax(1),
        "brier": probability.square().sum(1) - 2 * probability.gather(1, label[:, None])[:, 0] + 1,
        "above": (z > own).sum(1) + ((z == own) & first).sum(1),
    }


def _finite(logits: Tensor, label: Tensor) -> Tensor:
    """Return logits in which a row that is not finite says that anything but the truth is certain."""
    broken = ~torch.isfinite(logits).all(1)
    if not broken.any():
        return logits
    denial = torch.zeros_like(logits).scatter_(1, label[:, None], -1000.0)
    return torch.where(broken[:, None], denial, logits)
