"""Calibration: whether a score of 0.9 is right nine times in ten, and the temperature that brings it nearer."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from visus.core.seeds import derive
from visus.metrics.bootstrap import Numbers, resampled, summing

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
_ROWS = 8192


def fit_temperature(logits: Float[Tensor, "N K"], labels: Int[Tensor, "N"]) -> float:
    """Return the temperature T for which softmax(logits / T) is least surprised by the labels.

    T divides every logit alike: no decision changes.  Few items, or hardly a mistake among them, would ask for answers
    as sharp as can be; so each of N labels is taken as wrong with the probability 1 / (N + 2), spread over the other
    classes: what one would expect of a next label after none was wrong.  With more items that is nothing.

    The loss is convex in 1 / T; Newton's method, kept inside a shrinking bracket, finds its one minimum, in float64.

    Args:
        logits: unnormalised scores on items that the network was not trained on.
        labels: true classes, -1 where unknown.

    Returns:
        T in [0.05, 20]; 1 where nothing is labelled.

    Source:
        Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2; the doubt about labels: Platt,
        Probabilistic outputs for support vector machines, 1999, section 2.2.
    """
    known = (labels >= 0) & torch.isfinite(logits).all(1)
    logits, labels = logits[known], labels[known].long()
    if not len(labels) or logits.shape[1] < 2:
        return 1.0
    low, high = 1 / HOTTEST, 1 / COLDEST
    sharpness = 1.0
    for _ in range(100):
        slope, bend = _slope_and_bend(logits, labels, sharpness)
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        step = sharpness - slope / bend if bend > 0 else math.nan
        proposed = step if low < step < high else math.sqrt(low * high)
        if abs(proposed - sharpness) <= 1e-10 * sharpness or high / low < 1 + 1e-10:
            break
        sharpness = proposed
    return 1 / sharpness


def reliability_bins(confidence: Numbers) -> NDArray[np.int64]:
    """Return which of 15 equally wide bins (a, b] each confidence in [0, 1] falls into."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def gaps(confidence: Numbers, right: NDArray[np.bool_]) -> Numbers:
    """Return the (15, N) matrix whose products with weights, without signs, sum to the expected calibration error.

    Source:
        Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; Guo et al., eq. 3.
    """
    rows = np.zeros((BINS, len(confidence)))
    rows[reliability_bins(confidence), np.arange(len(confidence))] = confidence - right
    return rows


def error_interval(confidence: Numbers, right: NDArray[np.bool_], resamples: int) -> tuple[float, float]:
    """Return the ends of a 95 % interval of the expected calibration error.

    The error is a sum of absolute values, so chance alone keeps it above zero, and resampling adds as much again:
    percentiles of its resamples do not even hold the truth of a perfectly calibrated network.  Here the low end is 0
    where chance could have made all of the error, by outcomes simulated from the probabilities themselves, and else the
    value less what the upper resamples exceed it by; the high end is that of every other score.

    Source:
        Simulated outcomes: Broecker and Smith, Increasing the reliability of reliability diagrams, 2007, section 3.
    """
    n, rows = len(confidence), gaps(confidence, right)
    value = np.abs(rows.sum(1)).sum() / n
    draws = resampled(lambda weights: {"error": np.abs(rows @ weights).sum(0) / n}, n, resamples)["error"]
    members = summing(reliability_bins(confidence), BINS, n)
    random = np.random.Generator(np.random.PCG64(derive(0, "calibration", n)))

    def by_chance(weights: Numbers) -> dict[str, Numbers]:
        outcomes = random.random(weights.shape) < confidence[:, None]
        return {"error": np.abs(members @ (confidence[:, None] - outcomes)).sum(0) / n}

    above = np.quantile(draws, 0.975)
    contradicted = value > np.quantile(resampled(by_chance, n, resamples)["error"], 0.975)
    return max(0.0, float(2 * value - above)) if contradicted else 0.0, float(value + above - draws.mean())


def _slope_and_bend(logits: Tensor, labels: Tensor, sharpness: float) -> tuple[float, float]:
    """Return the first and second derivative of the summed loss by 1 / T."""
    slope, bend = 0.0, 0.0
    k = logits.shape[1]
    doubt = 1 / (len(logits) + 2)
    for part, truth in zip(torch.split(logits, _ROWS), torch.split(labels, _ROWS), strict=True):
        z = part.double()
        z = z - z.amax(1, keepdim=True)
        p = (sharpness * z).softmax(1)
        expected = (p * z).sum(1)
        own = z.gather(1, truth[:, None])[:, 0]
        labelled = (1 - doubt) * own + doubt * (z.sum(1) - own) / (k - 1)
        slope += float((expected - labelled).sum())
        bend += float((p * (z - expected[:, None]).square()).sum())
    return slope, bend
