"""The bench on which candidates of a compression are made and measured, each against the float32 model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit
from torch import Tensor, nn

from visus import __version__
from visus.compressors import Candidate, Subject
from visus.compressors._peak import peak
from visus.compressors._timing import in_turns
from visus.core.deployment import Contract
from visus.core.errors import DataError, IntegrityError, UsageError
from visus.core.files import write_bytes
from visus.core.modelfile import Card, read_model, write_model
from visus.core.recipe import ModelSettings
from visus.core.scores import UNBOUNDED, Score, kind_of
from visus.data.dataset import Dataset
from visus.data.pixels import pictures as decoded
from visus.engine.evaluate import judge
from visus.exporters import EXPORTERS
from visus.metrics.compare import Difference, paired
from visus.metrics.moved import moved
from visus.metrics.rows import RowMetric
from visus.models.folding import folded
from visus.models.weights import card_of
from visus.tasks import TASKS
from visus.verbs.assembly import feed, spread
from visus.verbs.compress import FEWEST, Tried
from visus.verbs.export import example_of, readable, trained_on
from visus.verbs.fine_tuning import fine_tune
from visus.verbs.load import Model, opened
from visus.verbs.parts import part_for

if TYPE_CHECKING:
    from visus.core.task import Batch, Metric, Task

CALIBRATING = 128
"""Training pictures from which methods learn which numbers to expect."""

TIMED = 8
"""Pictures that are timed."""

ROUNDING = 1e-6
"""Difference up to which two scores of one network are the same."""

Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Form:
    """A candidate as it was measured.

    Attributes:
        candidate: what was proposed, where its file is made anew once its decoder is fitted; None of weights.
        file: that would be kept.
        calibration: fitted for its decoder on the judged pictures, as at the end of a run.
        decoder: what its decoder knows.
    """

    candidate: Candidate | None
    file: Path
    calibration: dict[str, float]
    decoder: dict[str, float]


@dataclass
class Bench:
    """Where candidates are made and measured.

    Attributes:
        given: the model to be made smaller, where it trains; ``model``: the same where it is judged, in float32.
        dataset: with ``judged``: which validation pictures, and ``seen``: which training pictures methods learn from.
        dtype: of the pictures as they are decoded.
        folder: for drafts.
        tell: told what happens.
        notes: on the data, a sentence each.
        minutes, steps: that a method which trains may use.
        wanted: settings that the user has for methods, by dotted key.
        files: how many were written.
        whole: what was measured of the float32 model.
    """

    given: Model
    model: Model
    dataset: Dataset
    judged: NDArray[np.int64]
    seen: NDArray[np.int64]
    dtype: Any
    folder: Path
    tell: Tell
    notes: list[str]
    minutes: float | None = None
    steps: int | None = None
    wanted: Mapping[str, Any] = field(default_factory=dict)
    files: int = 0
    _metric: Metric = field(init=False)
    _file: Model = field(init=False)
    whole: Tried = field(init=False)

    @staticmethod
    def begin(model: Model, data: str | Path | None, folder: Path, most: int, tell: Tell) -> Bench:
        """Open the data and measure the float32 model.

        Raises:
            UsageError: no data, a missing library, or a network that cannot be exported.
            DataError: COMPRESS-010 too few pictures to judge by or to learn from, COMPRESS-011 no score.
        """
        notes: list[str] = []
        if data is None:
            dataset = trained_on(model, "visus compress MODEL --data DATA")
        else:
            part = part_for(model, data, "val", instead="--data DATA with more pictures")
            dataset = part.dataset
            notes += part.notes
        judged = spread(dataset.indices("val"), most)
        _check_enough(dataset, judged, "validation")
        judged, _, dtype, _ = readable(model, dataset, judged, notes)
        _check_enough(dataset, judged, "validation")
        pool = spread(dataset.indices("train"), CALIBRATING)
        _check_enough(dataset, pool, "training")
        seen, _, depth, _ = readable(model, dataset, pool, notes)
        if depth != dtype:
            what = f"{dataset.name}: training pictures are {depth}, validation pictures {dtype}"
            raise DataError("COMPRESS-012", what,
                            done="nothing was written", fix="--data DATA whose pictures are alike")  # fmt: skip
        bench = Bench(model, model.on_processor(), dataset, judged, seen, dtype, folder, tell, notes)
        bench._measure_whole()
        return bench

    @property
    def name(self) -> str:
        """Of the data."""
        return self.dataset.name

    @property
    def behind(self) -> NDArray[np.float64]:
        """Pictures behind the parts that the score is the mean of, see ``RowMetric.behind``."""
        assert isinstance(self._metric, RowMetric)  # or nothing had been compared
        return self._metric.behind(self.model.task.score)

    @property
    def subject(self) -> Subject:
        """What methods are given."""
        model = self.model
        return Subject(model.network, model.task, model.recipe, model.card, self._batches, self._pictures,
                       self.exported, self._fit, self.wanted)  # fmt: skip

    def exported(self, network: nn.Module, calibration: dict[str, float] | None = None) -> Path:
        """Return an .onnx file of a network, batch normalisation folded: from decoded pictures to what is said.

        Args:
            network: of the task.
            calibration: what its decoder knows; by default what that of the model itself does.
        """
        card, task = self.model.card, self.model.task
        if calibration is not None:
            task = TASKS[card.task](self.model.recipe, card.classes)
            task.calibrate(calibration)
        elif network is self.model.network and self.files:
            return self._file.path  # by this the whole model was measured
        images = torch.zeros(1, card.input.channels, *card.input.size)
        module = task.deployed(folded(network, images), deep=self.dtype == "uint16").eval()
        contract = Contract(
            visus=__version__, target="onnx", format="", dtype=self.dtype, channels=card.input.channels, size=None,
            batch=None, outputs=dict(module.outputs), card=card,
        )  # fmt: skip
        place = self._place()
        EXPORTERS["onnx"].export(module, example_of(contract), contract, place)
        return place

    def measure(self, method: str, candidate: Candidate, chance: float) -> tuple[Tried, Form]:
        """Return what is measured of a candidate, and what would be kept.

        Args:
            method: that proposed it.
            candidate: a file or a network.
            chance: by which each interval may miss what it is of.
        """
        kept, file = self._written(candidate)
        model = opened(file)
        metric = self._judged(model)
        score = self.model.task.score
        turns = in_turns(self._file.network, model.network, self._timed(), chance=chance)
        scores = metric.compute()
        if score not in scores:
            raise UsageError("COMPRESS-026", f"what {method} makes of the model defines no {score} on {self.name}",
                             done="nothing was written", fix="another method: visus list compressors")  # fmt: skip
        one = Tried(
            method, candidate.settings, scores[score], kept.stat().st_size, turns.other, self._peak(file),
            compared(self._metric, metric, score, chance), turns.ratio, turns.low, turns.high, chance=chance,
        )  # fmt: skip
        known = self.model.card.calibration
        return one, Form(candidate if candidate.rewritten else None, kept, metric.calibration(), known)

    def fitted(self, form: Form, kept: Tried) -> Form:
        """Return a candidate whose decoder knows what was fitted for it on the judged pictures.

        In a file the decoder is part of the graph, so the file is made anew: it is judged again, for what is kept has
        to be what was measured.

        Args:
            form: as it was measured.
            kept: what was measured.

        Raises:
            IntegrityError: COMPRESS-028, COMPRESS-029, the new file is not that network.
        """
        if form.candidate is None or form.calibration == form.decoder:
            return replace(form, decoder=form.calibration)
        file = self._written(form.candidate, form.calibration)[0]
        again = self._judged(opened(file)).compute()[self.model.task.score]
        _check_same(again, kept.score)
        return replace(form, file=file, decoder=form.calibration)

    def describe(self, form: Form, kept: Tried, verdict: str) -> None:
        """Write what was measured of a candidate into the card in its file."""
        score = {self.model.task.score: kept.score.json()}
        about = {"method": kept.method, "settings": dict(kept.settings), "data": self.name, "verdict": verdict,
                 "scores_of_float32": {self.model.task.score: self.whole.score.json()}}  # fmt: skip
        update = {"scores": score, "split": "val", "compressed": about, "calibration": form.decoder}
        if form.file.suffix == ".onnx":
            onnx = EXPORTERS["onnx"]
            contract = onnx.load(form.file).contract
            onnx.stamp(form.file, contract.model_copy(update={"card": contract.card.model_copy(update=update)}))
        else:
            tensors, card = read_model(form.file)
            write_model(form.file, tensors, card.model_copy(update=update))

    def _measure_whole(self) -> None:
        score = self.model.task.score
        file = self.exported(self.model.network)
        self._file = opened(file)
        self._metric = self._judged(self.model)
        scores = self._metric.compute()
        if score not in scores:
            raise DataError("COMPRESS-011", f"{self.name}: its validation part defines no {score}, by which to judge",
                            done="nothing was written", fix="--data DATA that shows what the model says")  # fmt: skip
        turns = in_turns(self._file.network, self._file.network, self._timed(), seconds=1.0)
        self.whole = Tried("float32", {}, scores[score], file.stat().st_size, turns.one, self._peak(file))

    def _written(self, candidate: Candidate, calibration: dict[str, float] | None = None) -> tuple[Path, Path]:
        """Return the file of a candidate that would be kept, and the .onnx file by which it is measured."""
        file = self.exported(candidate.network, calibration)
        if candidate.rewritten is not None:
            kept, contract = self._place(), self._file.contract
            write_bytes(kept, candidate.rewritten(file))
            assert contract is not None
            EXPORTERS["onnx"].stamp(kept, contract)
            return kept, kept
        kept = file.with_suffix(".safetensors")
        write_model(kept, candidate.network.state_dict(), self._card(candidate))
        return kept, file

    def _place(self) -> Path:
        self.files += 1
        return self.folder / f"{self.files}.onnx"

    def _card(self, candidate: Candidate) -> Card:
        """Return the card of a candidate: the model's own, but for what was changed."""
        card = self.model.card
        recipe = {**card.recipe, **candidate.recipe}
        changes: dict[str, Any] = {"recipe": recipe}
        if candidate.architecture is not None:
            changes["architecture"] = candidate.architecture
        weights = str(candidate.recipe.get("model.weights", "none"))
        if weights != "none":  # beside those of the model itself, which taught it
            start = card_of(ModelSettings(name=recipe["model.name"], weights=weights))
            changes |= {"weights": start.name, "licences": {**card.licences, f"weights {start.name}": start.licence}}
            recipe["model.weights"] = Path(weights).name
        return card.model_copy(update=changes)

    def _judged(self, model: Model) -> Metric:
        device = model.device()
        with feed(self.dataset, self.judged, model.task, model.recipe, device, train=False) as shown:
            return judge(model.task, model.network, shown, device, micro=model.at_once)[0]

    def _batches(self) -> Iterator[Batch]:
        model = self.model
        device = model.device()
        with feed(self.dataset, self.seen, model.task, model.recipe, device, train=False) as shown:
            yield from shown.sweep()

    def _pictures(self) -> Iterator[Tensor]:
        return self._of(self.seen)

    def _of(self, indices: NDArray[np.int64]) -> Iterator[Tensor]:
        source = decoded(self.dataset.images, self.model.card.input.channels)
        for i in indices:
            for image in source.take(np.array([i]), lambda index: None).images:
                yield image.movedim(0, -1)[None].contiguous()

    def _timed(self) -> list[Tensor]:
        return list(self._of(self.judged[:TIMED]))

    def _fit(self, network: nn.Module, task: Task | None = None, *, rate: float = 0.1, share: float = 1.0) -> None:
        minutes = self.minutes * share if self.minutes is not None else None
        steps = max(1, round(self.steps * share)) if self.steps is not None else None
        fine_tune(self.given, self.dataset, network, task, rate=rate, minutes=minutes, steps=steps, watch=self.tell)

    def _peak(self, file: Path) -> int | None:
        try:
            return peak(file, next(self._of(self.judged)).shape, self.dtype, torch.get_num_threads())
        except ChildProcessError as error:
            note = f"memory was not measured: {error}"
            if note not in self.notes:
                self.notes.append(note)
            return None


def compared(a: object, b: object, score: str, chance: float) -> Difference:
    """Return how far a score of B lies above that of A, with an interval that misses it by a small chance at most.

    Of a share of items that are right, the interval is that of ``moved``, which needs no resamples; of any other score
    it is the one of ``paired``, ``widened``.
    """
    before, after = (each.right(score) if isinstance(each, RowMetric) else None for each in (a, b))
    if before is None or after is None:
        change = paired(a, b, score)
        assert isinstance(a, RowMetric)  # or it was refused
        return widened(change, chance, a.behind(score))
    change = paired(a, b, score, resamples=1)  # an interval that nobody looks at
    low, high = moved(int((before & ~after).sum()), int((after & ~before).sum()), change.n, chance)
    return replace(change, low=low, high=high)


def widened(change: Difference, chance: float, behind: NDArray[np.float64]) -> Difference:
    """Return a difference whose 95 % interval is one that misses it by a smaller chance, however few items changed.

    A thousand resamples hold no ends as rare as that, so both ends are moved out as those of a mean of n items would
    be: by Student's t instead of the normal 1.96, and by the root of n / (n - 1) that resamples lack.

    Nor can resamples tell of changes that are so rare that these items show none: of m alike, up to
    1 - (chance / 2) ** (1 / m) of all others may be lost.  So far, times the share of the score that hangs on the
    rarest of the items, both ends are moved out once more, whatever the resamples say: of counts of 0, 1, 2 ... changed
    items, both together reach further than the exact limits of Clopper and Pearson.  Of an error without bounds it is
    that part of what the error was.

    Args:
        change: with an interval from resamples.
        chance: by which it may miss.
        behind: (kinds, K) items behind the parts that the score is the mean of, see ``RowMetric.behind``.

    Source:
        Hesterberg, What teachers should know about the bootstrap, The American Statistician 2015 (expanded
        percentile intervals); Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 1934.
    """
    n = max(change.n, 2)
    wider = float(-stdtrit(n - 1, chance / 2) / ndtri(0.975) * (n / (n - 1)) ** 0.5)
    more = unseen(change.score, change.a, behind, chance)
    low, high = (change.value + wider * (end - change.value) for end in (change.low, change.high))
    return replace(change, low=low - more, high=high + more)


def unseen(score: str, value: float, behind: NDArray[np.float64], chance: float) -> float:
    """Return how far a score may fall by what these items do not show, where not one of them changes.

    Args:
        score: of which ``value`` is what it was.
        behind: (kinds, K) items behind the parts that the score is the mean of.
        chance: by which it may fall further, on both sides together.
    """
    scale = abs(value) if kind_of(score) in UNBOUNDED else 1.0
    return scale * float((1 - (chance / 2) ** (1 / behind)).mean(1).max())


def _check_same(again: Score, measured: Score) -> None:
    """Refuse a file that is judged otherwise than the one that was measured, but for rounding.

    Raises:
        IntegrityError: COMPRESS-029.
    """
    pairs = [(getattr(again, part), getattr(measured, part)) for part in ("value", "low", "high", "n")]
    if not all(math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING) for one, other in pairs):
        raise IntegrityError(
            "COMPRESS-029", "the file whose decoder was fitted is judged otherwise than the one that was measured",
            where=f"{again.value:.6g}, not {measured.value:.6g}", done="the one that was measured is kept",
            fix="visus evaluate judges it; --method NAME tries another one",
        )  # fmt: skip


def _check_enough(dataset: Dataset, indices: NDArray[np.int64], part: str) -> None:
    if len(indices) < FEWEST:
        raise DataError(
            "COMPRESS-010", f"{dataset.name}: {len(indices):,} {part} pictures; at least {FEWEST} are needed",
            done="nothing was written", fix="--data DATA with more of them",
        )  # fmt: skip
