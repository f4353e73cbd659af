"""Judging several classes a picture, each on its own: ranking, F1 and its kin; each with an interval."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.figures import Figure
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import Numbers, Weights
from visus.metrics.calibration import fit_temperature
from visus.metrics.counts import Counts, class_table
from visus.metrics.curves import precision_recall_curves, reliability
from visus.metrics.ranking import EXACT, Ranking, Rankings
from visus.metrics.rows import RowMetric, ends, of_classes

SCORES = (
    "average_precision_macro", "roc_auc_macro", "precision_macro", "recall_macro", "f1_macro", "f1_weighted",
    "precision_micro", "recall_micro", "f1_micro", "subset_accuracy", "hamming_loss", "log_loss",
)  # fmt: skip


class Multilabel(RowMetric["JudgedLabels"]):
    """Scores of the classes said to be shown (probability above one half) against those that are.

    What is unknown of a picture (NaN) is left out, and so is a picture of which nothing is known.
    ``average_precision_macro`` (mean average precision) and ``roc_auc_macro``, over the classes where they are defined;
    ``precision``, ``recall`` and ``f1``: ``_macro`` over the classes shown or named, ``_micro``, and ``f1_weighted`` by
    how often a class is shown; ``subset_accuracy``, the share of pictures without a single error; ``hamming_loss``, the
    share of errors among a picture's known classes, and ``log_loss``, their mean surprise in nats; both averaged over
    pictures.

    A score that the data does not define is left out, never shown as 0.  A picture for which the network said NaN or
    infinity counts as mistaken in every class.  Intervals as in ``Classification``.

    Args:
        classes: names, in the order of the logits.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.
        temperature: by which logits are divided, as the decoder does.
    """

    SCORES = SCORES
    shares = frozenset(SCORES) - {"log_loss"}

    def __init__(
        self,
        classes: Sequence[str],
        *,
        score: str = "average_precision_macro",
        resamples: int = 1000,
        temperature: float = 1.0,
    ) -> None:
        self.classes, self.temperature = tuple(classes), temperature
        none = torch.zeros(0, len(classes))
        empty = {"logits": none, "labels": none, "index": torch.zeros(0, dtype=torch.int64)}
        super().__init__(empty, ("average_precision_macro", "f1_macro", "subset_accuracy", score), resamples)

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember the logits of the pictures of a batch of which something is known."""
        labels = batch.targets["labels"].cpu()
        known = ~labels.isnan().all(1)
        self.add(known, logits=raw["logits"], labels=labels, index=batch.indices)

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedLabels:
        """Return what follows from the logits."""
        return JudgedLabels(rows, self.temperature, self.resamples)

    def right(self, name: str) -> NDArray[np.bool_] | None:
        """Return which pictures show no error: what ``subset_accuracy`` is the share of."""
        return np.asarray(~self.judged().wrong.any(1)) if name == "subset_accuracy" else None

    def behind(self, name: str) -> Numbers:
        """Return how many pictures show each class that a picture shows, of a mean over classes; of precision, say."""
        items = self.judged()
        if not name.endswith("_macro"):
            return super().behind(name)
        return of_classes(items.said if name == "precision_macro" else items.shown)

    def figures(self) -> Sequence[Figure]:
        """Return the classes, precision against recall, and the reliability of probabilities."""
        items = self.judged()
        if not items.n:
            return ()
        areas = items.ranks.by_class[:, 1]
        figures: list[Figure] = [class_table(self.classes, items.counts, items.n, self.resamples, areas)]
        if not np.isnan(areas).all():
            figures.append(precision_recall_curves(self.classes, lambda k: items.ranking(k).precision_recall(), areas))
        name = "as the network says" if self.temperature == 1 else f"at temperature {self.temperature:.2f}"
        right = items.shown[items.known]
        return [*figures, reliability(items.probability[items.known], right, name, "probability of a class")]

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the pictures of the most confident mistakes, and of highest and lowest loss."""
        items = self.judged()
        doubt = np.where(items.wrong, np.abs(items.probability - 0.5), -1).max(1, initial=-1)
        confident = np.argsort(-doubt, kind="stable")[: min(n, int((doubt >= 0).sum()))]
        worst, best = ends(items.loss, n)
        return {
            "most confident mistakes": items.indices[confident].tolist(),
            "worst": items.indices[worst].tolist(),
            "best": items.indices[best].tolist(),
        }

    def calibration(self) -> dict[str, float]:
        """Return the one temperature that makes all classes of these pictures least surprising."""
        rows = self.ordered()
        known = ~rows["labels"].isnan()
        logits, labels = rows["logits"][known], rows["labels"][known]
        two = torch.stack([torch.zeros_like(logits), logits], 1)  # a sigmoid is a softmax against 0
        return {"temperature": fit_temperature(two, labels.round().long())}


class JudgedLabels:
    """What follows from the rows of N pictures and K classes.

    Attributes:
        indices: (N,); labels, probability: (N, K); known, said, wrong: (N, K) bool.
        loss: (N,) mean surprise over the known classes, nats.
    """

    def __init__(self, rows: Mapping[str, Tensor], temperature: float, resamples: int) -> None:
        self.resamples = resamples
        self.indices = rows["index"].numpy()
        self.labels: Numbers = rows["labels"].double().numpy()
        self.n, self.k = self.labels.shape
        self.known: NDArray[np.bool_] = ~np.isnan(self.labels)
        shown = self.labels > 0.5
        logits = rows["logits"].double().numpy() / temperature
        broken = ~np.isfinite(logits).all(1)
        logits[broken] = np.where(shown[broken], -1000.0, 1000.0)
        self.shown: NDArray[np.bool_] = shown & self.known
        self.said: NDArray[np.bool_] = (logits > 0) & self.known
        self.wrong: NDArray[np.bool_] = (self.said != self.shown) & self.known
        self.probability: Numbers = np.exp(-np.logaddexp(0, -logits))
        surprise = np.where(self.known, np.logaddexp(0, np.where(shown, -logits, logits)), 0)
        known = self.known.sum(1)
        self.loss: Numbers = surprise.sum(1) / known
        self._pictures = np.stack([~self.wrong.any(1), self.wrong.sum(1) / known, self.loss])  # (3, N)

    def counts(self, weights: Weights) -> Counts:
        """Return the weighted counts of each class."""
        right, said, shown = self._sums
        return Counts(right @ weights, said @ weights, shown @ weights)

    def ranking(self, k: int) -> Ranking:
        """Return the pictures of which class ``k`` is known, by its probability."""
        items = np.flatnonzero(self.known[:, k])
        return Ranking(self.probability[items, k], self.shown[items, k], items, self.n)

    @cached_property
    def ranks(self) -> Rankings:
        """Every class against the rest."""
        return Rankings(map(self.ranking, range(self.k)), self.n, exact=self.n * self.k * self.resamples <= EXACT)

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r); only those named, if any are."""
        found: dict[str, Numbers] = {}
        if not names or {"roc_auc_macro", "average_precision_macro"} & set(names):
            found["roc_auc_macro"], found["average_precision_macro"] = self.ranks.areas(weights)
        found |= self.counts(weights).scores()
        subset, hamming, loss = self._pictures @ weights / weights.sum(0)
        found |= {"subset_accuracy": subset, "hamming_loss": hamming, "log_loss": loss}
        return {name: value for name, value in found.items() if not names or name in names}

    @cached_property
    def _sums(self) -> tuple[Numbers, Numbers, Numbers]:
        right, said, shown = (
            np.ascontiguousarray(marks.T, dtype=np.float64) for marks in (self.said & self.shown, self.said, self.shown)
        )
        return right, said, shown
