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
from visus.metrics.bootstrap import Measures, Numbers, Sums, Weights, mean_of_defined, summing
from visus.metrics.calibration import error_interval, fit_temperature, gaps
from visus.metrics.counts import Counts, class_table
from visus.metrics.curves import reliability, roc_curves
from visus.metrics.ranking import EXACT, Ranking, Rankings
from visus.metrics.rows import RowMetric, ends

MOST_CLASSES_OF_A_MATRIX = 1000
SCORES = (
    "accuracy", "top5_accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted",
    "precision_micro", "recall_micro", "f1_micro", "roc_auc_macro", "average_precision_macro", "log_loss", "brier",
    "calibration_error",
)  # fmt: skip
_CHUNK = 262_144  # logits looked at at once, which the processor's cache holds


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

    Intervals are a bootstrap's over pictures, see ``interval`` and ``error_interval``.  Where pictures x classes x
    resamples exceed two billion, those of the ranking scores come from linearised resamples, see
    ``Ranking.influences``.

    Args:
        classes: names, in the order of the logits.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.
        temperature: by which logits are divided, as the decoder does.
    """

    shares = frozenset(SCORES) - {"log_loss", "brier", "calibration_error"}

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
        there = self.scores_of(len(classes))
        quick = [name for name in ("accuracy", "top5_accuracy", "f1_macro", "log_loss") if name in there]
        super().__init__(empty, (*quick, score), resamples)

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember the logits of the labelled pictures of a batch."""
        label = batch.targets["label"].cpu()
        known = label >= 0
        self.add(known, logits=raw["logits"], label=label, index=batch.indices)

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedClasses:
        """Return what follows from the logits."""
        return JudgedClasses(rows, self.temperature, self.resamples)

    def measures(self, items: JudgedClasses) -> Measures:
        """Return value, low and high of every score."""
        found = super().measures(items)
        low, high = error_interval(items.confidence, items.right, self.resamples)
        return {**found, "calibration_error": (found["calibration_error"][0], np.float64(low), np.float64(high))}

    def right(self, name: str) -> NDArray[np.bool_] | None:
        """Return which pictures are right: of accuracy, which all ``_micro`` are, too, and of that of the top five."""
        items = self.judged()
        known = dict.fromkeys(("accuracy", "precision_micro", "recall_micro", "f1_micro"), items.right)
        return {**known, "top5_accuracy": items.above < 5}.get(name)

    def behind(self, name: str) -> Numbers:
        """Return how many pictures the rarest class of a mean over classes has; see ``Counts.behind``."""
        items = self.judged()
        return items.counts(np.ones((items.n, 1))).behind(name, items.n)

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
        worst, best = ends(items.loss, n)
        return {
            "most confident mistakes": items.indices[confident].tolist(),
            "worst": items.indices[worst].tolist(),
            "best": items.indices[best].tolist(),
        }

    def calibration(self) -> dict[str, float]:
        """Return the temperature that makes these pictures least surprising."""
        rows = self.ordered()
        return {"temperature": fit_temperature(rows["logits"], rows["label"])}

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
        logits: (N, K); indices, label: (N,).
        predicted: (N,) classes; right: (N,) bool; above: (N,) classes ranked above the true one.
        loss: (N,) nats; brier: (N,) squared distance; confidence: (N,) top probability.
    """

    def __init__(self, rows: Mapping[str, Tensor], temperature: float, resamples: int) -> None:
        self.temperature, self.resamples = temperature, resamples
        self.logits: NDArray[np.float32] = _finite(rows["logits"], rows["label"]).numpy()
        self.label: NDArray[np.int64] = rows["label"].numpy()
        self.indices: NDArray[np.int64] = rows["index"].numpy()
        self.n, self.k = self.logits.shape
        self.predicted, self.above = _places(self.logits, self.label)
        self.right: NDArray[np.bool_] = self.predicted == self.label

    @property
    def loss(self) -> Numbers:
        """(N,) surprise in nats."""
        return self._masses["loss"]

    @property
    def brier(self) -> Numbers:
        """(N,) squared distance between probabilities and truth, halved for two classes."""
        return self._masses["brier"] / (2 if self.k == 2 else 1)

    @property
    def confidence(self) -> Numbers:
        """(N,) probability of the predicted class."""
        return 1 / self._masses["mass"]

    def counts(self, weights: Weights) -> Counts:
        """Return the weighted counts of each class."""
        right, named, shown = self._sums
        return Counts(right @ weights, named @ weights, shown @ weights)

    def ranking(self, k: int) -> Ranking:
        """Return class ``k`` against the rest, by its probability."""
        z = (self.logits[:, k].astype(np.float64) - self._masses["top"]) / self.temperature
        return Ranking(np.exp(z) / self._masses["mass"], self.label == k)

    @cached_property
    def ranks(self) -> Rankings:
        """Every class against the rest."""
        return Rankings(map(self.ranking, range(self.k)), self.n, exact=self.n * self.k * self.resamples <= EXACT)

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r); only those named, if any are."""
        wanted = set(names or SCORES)
        total = weights.sum(0)
        counts = self.counts(weights)
        found = {
            "accuracy": counts.right.sum(0) / total,
            "balanced_accuracy": mean_of_defined(counts.recall()),
            **counts.scores(),
        }
        if self.k > 5:
            found["top5_accuracy"] = (self.above < 5) @ weights / total
        if wanted & {"roc_auc_macro", "average_precision_macro"}:
            found["roc_auc_macro"], found["average_precision_macro"] = self.ranks.areas(weights)
        if wanted & {"log_loss", "brier", "calibration_error"}:
            means = self._linear @ weights / total
            found |= {"log_loss": means[0], "brier": means[1], "calibration_error": np.abs(means[2:]).sum(0)}
        return {name: value for name, value in found.items() if name in wanted}

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
        """(2 + 15, N) rows whose weighted means are log loss, Brier score and the gap of each confidence bin."""
        return np.concatenate([[self.loss, self.brier], gaps(self.confidence, self.right)])

    @cached_property
    def _masses(self) -> dict[str, Numbers]:
        """(N,) columns: the top logit, and of softmax above it the mass, the loss and the squared distance."""
        logits, label = torch.from_numpy(self.logits), torch.from_numpy(self.label)
        parts = [
            _softmax(part, truth, self.temperature)
            for part, truth in zip(_chunks(logits, self.k), _chunks(label, self.k), strict=True)
        ]
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _places(logits: NDArray[np.float32], label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (N,) the class of the highest logit, and how many rank above the true one; equal ones rank by index."""
    n, k = logits.shape
    predicted, above = np.empty(n, np.int64), np.empty(n, np.int64)
    rows = max(1, _CHUNK // k)
    for start in range(0, n, rows):
        part, truth = logits[start : start + rows], label[start : start + rows]
        own = np.take_along_axis(part, truth[:, None], 1)
        ahead = np.count_nonzero(part > own, axis=1)
        tied = np.flatnonzero(np.count_nonzero(part >= own, axis=1) - ahead > 1)
        first = np.arange(k) < truth[tied, None]
        ahead[tied] += ((part[tied] == own[tied]) & first).sum(1)
        predicted[start : start + rows], above[start : start + rows] = part.argmax(1), ahead
    return predicted, above


def _softmax(logits: Tensor, label: Tensor, temperature: float) -> dict[str, Tensor]:
    """Return columns of some pictures, computed in float64."""
    top = logits.double().amax(1)
    z = (logits.double() - top[:, None]) / temperature  # a shift of all logits leaves not even a last digit behind
    own = z.gather(1, label[:, None])[:, 0]
    masses = z.exp()
    mass = masses.sum(1)
    brier = masses.square().sum(1) / mass.square() - 2 * own.exp() / mass + 1
    return {"top": top, "mass": mass, "loss": mass.log() - own, "brier": brier}


def _chunks(rows: Tensor, k: int) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, _CHUNK // k))


def _finite(logits: Tensor, label: Tensor) -> Tensor:
    """Return logits in which a row that is not finite says that anything but the truth is certain."""
    if torch.isfinite(logits.sum()):
        return logits
    broken = ~torch.isfinite(logits).all(1)
    denial = torch.zeros_like(logits).scatter_(1, label[:, None], -1000.0)
    return torch.where(broken[:, None], denial, logits)
