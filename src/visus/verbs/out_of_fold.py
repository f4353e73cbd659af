"""Class probabilities of every labelled picture by small models that did not learn from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

    from visus.core.recipe import Recipe
    from visus.data.dataset import Dataset

FOLDS = 5
"""Models of which each judges the pictures that it did not learn from."""

ROUNDS = 100
"""Steps of L-BFGS at most."""


def out_of_fold(
    dataset: Dataset,
    recipe: Recipe | None,
    tell: Callable[[str], None],
    features: Callable[[], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Return class probabilities of every labelled picture, of all splits, by models that did not learn from it.

    What a pretrained network makes of the pictures is learned from: by one regularised logistic regression a fold, on
    the labels of the other folds.  Folds are stratified, and records of one group stay in one.  Each fold's
    temperature is fitted on what was said of the others.  The result depends on the data and the recipe's seed alone.

    Args:
        dataset: with one class a picture.
        recipe: gives the seed; 0 without one.
        tell: told what is being done, a sentence each.
        features: returns (N, D) features of the pictures, zeros for one that cannot be read.

    Returns:
        (N, K); NaN for a picture that is not labelled or cannot be read, and for one of a class that no other fold
        shows.

    Source:
        Northcutt et al., Confident learning, JAIR 2021, section 3: out-of-sample probabilities by cross-validation.
    """
    labels = dataset.columns["label"].astype(np.int64)
    found = np.full((len(dataset), len(dataset.classes)), np.nan, np.float32)
    seen = features()
    known = np.flatnonzero((labels >= 0) & seen.any(1))
    if not len(known):
        return found
    given, seed = labels[known], recipe.seed if recipe is not None else 0
    fold = folds(given, dataset.groups[known] if dataset.groups is not None else None, seed)
    standard = seen[known]
    standard -= standard.mean(0)
    standard /= standard.std(0) + 1e-6
    logits = np.full((len(known), len(dataset.classes)), -np.inf)
    for one in np.unique(fold):
        tell(f"learning labels without fold {one + 1} of {fold.max() + 1}")
        held = fold == one
        shown, dense = np.unique(given[~held], return_inverse=True)
        if len(shown) > 1:
            logits[np.ix_(held, shown)] = _learned(standard[~held], dense, standard[held])
    said = np.isfinite(logits[np.arange(len(known)), given])  # of another class nothing was learned
    for one in np.unique(fold[said]):
        here, others = said & (fold == one), said & (fold != one)
        found[known[here]] = _probabilities(logits[here], logits[others], given[others])
    return found


def folds(labels: NDArray[np.int64], groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64]:
    """Return the fold of each record: every class is spread evenly, and no group is torn apart.

    Args:
        labels: (N,) classes.
        groups: (N,) what stays together, or None.
        seed: of the draw.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    wholes = len(np.unique(groups)) if groups is not None else len(labels)
    count = min(FOLDS, wholes, int(np.bincount(labels).max()))
    fold = np.zeros(len(labels), np.int64)
    if count < 2:
        return fold
    make = StratifiedKFold if groups is None else StratifiedGroupKFold
    random = np.random.RandomState(derive(seed, "folds") % 2**32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # its pictures are in fewer folds
        parts = list(make(count, shuffle=True, random_state=random).split(np.zeros(len(labels)), labels, groups))
    for number, (_, held) in enumerate(parts):
        fold[held] = number
    return fold


def _learned(train: NDArray[np.float32], labels: NDArray[np.int64], held: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (R, K) logits of held-out pictures by multinomial logistic regression on the features of others.

    The squared penalty on the weights is that of a prior under which the logit of a picture has the variance one,
    however many features there are.
    """
    import torch
    import torch.nn.functional as F

    pictures, truth = torch.from_numpy(train), torch.from_numpy(labels)
    weight = torch.zeros(train.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        penalty = weight.square().sum() * len(weight) / (2 * len(truth))
        value = F.cross_entropy(pictures @ weight + bias, truth) + penalty
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        said: NDArray[np.float32] = (torch.from_numpy(held) @ weight + bias).numpy()
    return said


def _probabilities(
    logits: NDArray[np.float64], others: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return probabilities at the temperature that fits what was said of other folds."""
    import torch

    from visus.metrics.calibration import fit_temperature

    shared = np.flatnonzero(np.isfinite(others).all(0))  # a class that some fold did not show has no logit there
    rows = np.isin(labels, shared)
    temperature = fit_temperature(
        torch.from_numpy(others[rows][:, shared]).float(), torch.from_numpy(np.searchsorted(shared, labels[rows]))
    )
    values: NDArray[np.float32] = (torch.from_numpy(logits) / temperature).softmax(1).float().numpy()
    return values
