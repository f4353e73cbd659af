"""What small models say of labelled pictures that they did not learn from: of their classes, objects or pixels."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import Interrupted
from visus.core.seeds import derive
from visus.data.dataset import SPLITS

if TYPE_CHECKING:
    from torch import Tensor

    from visus.checks import Detections
    from visus.checks._mask_doubts import Doubts as MaskDoubts
    from visus.core.recipe import Recipe
    from visus.core.task import Batch, Metric, Raw
    from visus.data.dataset import Dataset
    from visus.engine.device import Device
    from visus.verbs.assembly import Tell

FOLDS, NETWORKS = 5, 3
"""Models of which each judges the pictures that it did not learn from; and, where each is a whole network, fewer: the
same time then trains each of them longer."""

LOOKS, EPOCHS = 20_000, 30.0
"""Pictures that a network is shown at most where no length is asked for, repeats included; and how often each."""

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


def detections_out_of_fold(
    dataset: Dataset, recipe: Recipe, readable: NDArray[np.int64], tell: Tell, *, timed: bool = False
) -> Detections:
    """Return what detectors find on readable pictures, of all splits, that they did not learn from.

    Args:
        dataset: with objects.
        recipe: with which it would be trained.
        readable: records that detectors learn from and are asked about.
        tell: told what is being done.
        timed: the recipe's length was asked for; see ``judged_out_of_fold``.

    Returns:
        Everything from the recipe's least score on, after suppression, in original pixels.
    """
    from visus.checks import Detections

    metric = judged_out_of_fold(dataset, recipe, readable, tell, timed=timed)
    said = {name: column.numpy() for name, column in metric.state().items()}
    judged = np.zeros(len(dataset), np.bool_)
    judged[said["index"]] = True
    return Detections(said["found_index"], said["found_label"], said["found_score"], said["found_box"], judged)


def masks_out_of_fold(
    dataset: Dataset, recipe: Recipe, readable: NDArray[np.int64], tell: Tell, *, timed: bool = False
) -> MaskDoubts:
    """Return what segmenters that did not learn from them contradict in the maps of readable pictures.

    Args:
        dataset: with class maps.
        recipe, readable, tell, timed: as of ``detections_out_of_fold``.
    """
    from visus.checks._mask_doubts import LONGEST, Evidence

    names = [name.casefold() for name in dataset.classes]
    evidence = Evidence(len(names), names.index("background") if "background" in names else -1)

    def heard(raw: Raw, batch: Batch) -> None:
        for i, stated in enumerate(batch.targets["stated"]):
            height, width = size = int(stated.shape[0]), int(stated.shape[1])
            step = -(-max(size) // LONGEST)
            grid = slice(step // 2 if step <= min(size) else 0, None, step)
            said = _probabilities_on(grid, raw, batch, i, (height, width), len(names))
            evidence.add(int(batch.indices[i]), stated[grid, grid].cpu().numpy(), said.cpu().numpy(), size)

    asked_out_of_fold(dataset, recipe, readable, heard, tell, timed=timed)
    return evidence.doubts()


def judged_out_of_fold(
    dataset: Dataset, recipe: Recipe, known: NDArray[np.int64], tell: Tell, *, timed: bool = False
) -> Metric:
    """Return the task's metric of some records, each judged by a network that did not learn from it.

    Args and errors are those of ``asked_out_of_fold``.
    """
    from visus.verbs.assembly import task_of

    metric = task_of(recipe, dataset).metric()
    asked_out_of_fold(dataset, recipe, known, metric.update, tell, timed=timed)
    return metric


def asked_out_of_fold(
    dataset: Dataset,
    recipe: Recipe,
    known: NDArray[np.int64],
    heard: Callable[[Raw, Batch], None],
    tell: Tell,
    *,
    timed: bool = False,
) -> None:
    """Ask about some records, each of them a network that did not learn from it.

    The records are cut into folds, stratified and with whole groups; for each fold a network is trained on the others,
    without a validation part, so that nothing of what it will judge chooses its weights, and its last weights judge.
    Everything is the task's and the engine's own.

    Args:
        dataset: what is known of it is learned from; its splits do not matter.
        recipe: with which it would be trained.  Its length is that of each network, but minutes are those of all of
            them together.
        known: records that can be read.
        heard: told the answers, some records at a time.
        tell: told what is being done.
        timed: the recipe's length was asked for; if not, it is reckoned, see ``of_length``.

    Raises:
        Interrupted: a signal came; nothing is kept.
        ResourceError, DivergedError: as ``loop.fit``.
    """
    from visus.data.splitting import strata_of
    from visus.engine.device import opened

    groups = dataset.groups[known] if dataset.groups is not None else None
    fold = folds(strata_of(dataset)[known] + 1, groups, recipe.seed, NETWORKS)
    parts = [known[fold == one] for one in np.unique(fold)]
    with opened(recipe) as device:
        for number, held in enumerate(parts if len(parts) > 1 else ()):
            shown = np.setdiff1d(known, held)
            tell({"note": f"training network {number + 1} of {len(parts)} on {len(shown):,} pictures, "
                          f"to ask it about {len(held):,} others"})  # fmt: skip
            part = np.full(len(dataset), len(SPLITS), np.uint8)  # what cannot be read is in none
            part[shown], part[held] = SPLITS.index("train"), SPLITS.index("test")
            settled = of_length(recipe, len(shown), len(parts), timed)
            _ask(dataset.with_(split=part), settled, device, heard, tell)


def folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, seed: int, most: int = FOLDS
) -> NDArray[np.int64]:
    """Return the fold of each record: every class is spread evenly, and no group is torn apart.

    Args:
        labels: (N,) classes.
        groups: (N,) what stays together, or None.
        seed: of the draw.
        most: folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    wholes = len(np.unique(groups)) if groups is not None else len(labels)
    count = min(most, wholes, int(np.bincount(labels).max()))
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


def of_length(recipe: Recipe, pictures: int, networks: int, timed: bool) -> Recipe:
    """Return the recipe of one network of several that learns from so many pictures.

    Args:
        recipe: of training.
        pictures: that it learns from.
        networks: among which minutes are divided.
        timed: its length was asked for; if not, each picture is shown ``EPOCHS`` times, or as often as makes ``LOOKS``.
    """
    length: dict[str, Any] = {"batch": min(recipe.batch, pictures)}
    if timed and recipe.minutes:
        length["minutes"] = recipe.minutes / networks
    elif not timed:
        length |= {"minutes": None, "steps": None, "epochs": min(EPOCHS, LOOKS / pictures)}
    return recipe.model_copy(update=length)


def _ask(dataset: Dataset, recipe: Recipe, device: Device, heard: Callable[[Raw, Batch], None], tell: Tell) -> None:
    """Tell what a network that the training part alone has taught says of the test part."""
    from visus.engine import loop
    from visus.engine.device import short_of_memory
    from visus.engine.evaluate import answers
    from visus.engine.folder import RunFolder
    from visus.verbs.assembly import assemble, feed, with_rate

    def learning(row: Mapping[str, Any]) -> None:
        if not {"note", "validation", "decoding"} & row.keys():
            tell(row)

    lean = short_of_memory("nothing was written", "less else running, or --set input.size=SMALLER")
    with lean, tempfile.TemporaryDirectory(prefix="visus-check-") as place, RunFolder(Path(place, "run")) as held:
        recipe = with_rate(recipe, dataset, None, device)
        run = assemble(recipe, dataset, held, device, given=None, started=time.perf_counter(), tell=learning)
        try:
            loop.fit(run)
            run.state.swap_average()
            with feed(dataset, dataset.indices("test"), run.task, recipe, device, train=False) as asked:
                micro = run.micro(run.state.progress.step)
                for batch, raw in answers(run.task, run.state.model, asked.sweep(), device, micro):
                    heard(raw, batch)
        except Interrupted as error:
            raise Interrupted(error.exit - 128, error.what, done="nothing was written", fix="ask again") from error
        finally:
            run.train.close()


def _probabilities_on(grid: slice, raw: Raw, batch: Batch, i: int, size: tuple[int, int], classes: int) -> Tensor:
    """Return (K, R, C) probabilities at some rows and columns of picture ``i`` of a batch, in original pixels.

    A picture that was read in tiles has those of the likeliest classes; what they leave is shared by the others.
    """
    from visus.core.home import at_home

    if "logits" in raw:
        return at_home(raw["logits"][i], batch.frames[i], size, grid, grid).softmax(0)
    likeliest, sure = (raw[name][i, : size[0], : size[1]][grid, grid] for name in ("classes", "scores"))
    rest = (1 - sure.float()) / max(1, classes - 1)
    said = rest.expand(classes, *rest.shape).clone()
    return said.scatter_(0, likeliest.long().clamp(max=classes - 1)[None], sure.float()[None]) * (likeliest < classes)


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
