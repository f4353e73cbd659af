"""What every metric keeps.  A new file in ``metrics`` is tested as soon as EXAMPLES says what it judges."""

import importlib
import inspect
import json
import math
import pkgutil
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import visus.metrics
from visus.core.figures import Curve, Matrix, Table
from visus.core.scores import SMALLER_IS_BETTER, kind_of
from visus.core.task import Batch
from visus.metrics.rows import RowMetric

N, K = 60, 7
NAMES = tuple(f"class {k}" for k in range(K))


def _metrics():
    modules = [importlib.import_module(f"visus.metrics.{m.name}") for m in pkgutil.iter_modules(visus.metrics.__path__)]
    found = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    return {c.__name__: c for c in found if issubclass(c, RowMetric) and c is not RowMetric}


METRICS = _metrics()


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LABEL = torch.arange(N) % K
SHOWN = (noise(N, K, seed=2) > 0.8).float()
NUMBERS = noise(N, K, seed=2).cumsum(0)
SIZES = torch.tensor([20.0, 25, 60, 70, 110, 130, 150])
CORNERS = torch.arange(K) * 300 + 20 * noise(N, K, seed=4)
BOXES = torch.stack([CORNERS, CORNERS, CORNERS + SIZES, CORNERS + SIZES], 2)
STATED = [
    SimpleNamespace(boxes=box.double(), labels=torch.arange(K), crowd=torch.zeros(K) > 0, area=SIZES.double() ** 2)
    for box in BOXES
]


def boxed(off):
    """Return two candidates for each box, of which the surer one is the better one."""
    return {
        "boxes": torch.cat([BOXES + off * noise(N, K, 4), BOXES + 2 * off * noise(N, K, 4, seed=5)], 1),
        "scores": torch.tensor([0.9, 0.3]).repeat_interleave(K).repeat(N, 1),
        "labels": torch.arange(K).repeat(N, 2),
    }


PIXELS = torch.stack([(torch.arange(8 * K) % K)[torch.randperm(8 * K, generator=torch.Generator().manual_seed(i))]
                      for i in range(N)]).reshape(N, 8, K).to(torch.uint8)  # fmt: skip


def pixels(off):
    """Return scores of every pixel."""
    return {"logits": 4 * F.one_hot(PIXELS.long(), K).movedim(-1, 1) + off * noise(N, K, 8, K)}


SETS = torch.randint(0, 2**K, (N, 8, K), generator=torch.Generator().manual_seed(6))


def sets(off):
    """Return scores of every class of every pixel."""
    shown = SETS[:, None] >> torch.arange(K)[:, None, None] & 1
    return {"logits": 4.0 * shown - 2 + off * noise(N, K, 8, K)}


REAL = noise(N, K, seed=7)


def generated(off):
    """Return features of generated pictures that lie ``off`` from real ones, and the classes that are seen in them."""
    seen = torch.where(torch.rand(N, generator=torch.Generator().manual_seed(8)) < off / 8, (LABEL + 1) % K, LABEL)
    return {"real": REAL, "generated": 0.2 * off * (1 + noise(N, K)) + REAL.roll(1, 0), "asked": LABEL, "seen": seen}


def painted(off):
    """Return what features say of pictures that are ``off`` by more or less."""
    apart = off * (1 + torch.rand(N, generator=torch.Generator().manual_seed(9)))
    return {"objective": apart, "before": torch.full_like(apart, 9.0), "after": apart, "content": apart / 2,
            "similarity": 1 / (1 + apart)}  # fmt: skip


EXAMPLES = {
    "Generation": ("generated", {"label": LABEL}, generated),
    "Classification": ("logits", {"label": LABEL}, lambda off: {"logits": 4 * F.one_hot(LABEL, K) + off * noise(N, K)}),
    "Multilabel": ("logits", {"labels": SHOWN}, lambda off: {"logits": 4 * SHOWN - 2 + off * noise(N, K)}),
    "Detection": ("boxes", {"stated": STATED}, boxed),
    "Segmentation": ("logits", {"stated": list(PIXELS)}, pixels),
    "MultilabelSegmentation": ("logits", {"stated": list(SETS)}, sets),
    "Stylization": ("objective", {}, painted),
    "Regression": ("predictions", {"numbers": NUMBERS}, lambda off: {"predictions": NUMBERS + off * noise(N, K)}),
}
"""By metric: the tensor it reads, the truth, and answers that are ``off`` by more or less."""


def empty(name, **settings):
    """Return a metric that has seen nothing."""
    of = {"width": K, "extractor": "noise"} if name == "Generation" else {}
    return METRICS[name]("noise" if name == "Stylization" else NAMES, **of, **settings)


@pytest.fixture(params=sorted(METRICS))
def name(request):
    """Return every metric by name."""
    return request.param


def judged(name, off=2.0, order=None, parts=1):
    """Return metrics that have seen all items between them, in some order."""
    _, truth, answers = EXAMPLES[name]
    order = torch.arange(N) if order is None else order
    metrics = [empty(name, resamples=30) for _ in range(parts)]
    for i, rows in enumerate(order.split(7)):
        batch = Batch(
            (),
            {key: t[rows] if isinstance(t, torch.Tensor) else [t[i] for i in rows] for key, t in truth.items()},
            ("",) * len(rows),
            rows,
            torch.eye(3).expand(len(rows), 3, 3),
        )
        metrics[i % parts].update({key: t[rows] for key, t in answers(off).items()}, batch)
    return metrics


def test_there_is_an_example_of_what_it_judges(name):
    assert name in EXAMPLES


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_neither_the_order_of_items_nor_the_number_of_ranks_matters(name, parts):
    (whole,) = judged(name)
    merged = empty(name, resamples=30)
    shuffled = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    merged.load([metric.state() for metric in judged(name, order=shuffled, parts=parts)])
    assert merged.quick() == whole.quick()
    assert merged.compute() == whole.compute()
    assert merged.gallery(4) == whole.gallery(4)
    assert merged.calibration() == whole.calibration()


def test_a_rank_that_saw_nothing_adds_nothing(name):
    (whole,) = judged(name)
    merged = empty(name, resamples=30)
    merged.load([empty(name).state(), whole.state(), empty(name).state()])
    assert merged.compute() == whole.compute()


def test_without_some_items_it_is_as_if_these_had_never_been_asked(name):
    (whole,), left = judged(name), torch.arange(0, N, 3)
    (fewer,) = judged(name, order=torch.tensor([i for i in range(N) if i % 3]))
    before = whole.compute()
    assert whole.without(left.tolist()).compute() == fewer.compute()
    assert whole.without([]).compute() == before == whole.compute()
    assert whole.without(range(N)).compute() == {}


def test_every_score_has_its_n_and_lies_in_its_interval(name):
    for key, score in judged(name)[0].compute().items():
        assert score.n == N, key
        assert score.low <= score.value <= score.high, key
        assert json.dumps(score.json(), allow_nan=False)


def test_every_score_is_better_for_better_answers_in_the_direction_it_is_said_to_have(name):
    good, poor = judged(name, off=1.0)[0].compute(), judged(name, off=6.0)[0].compute()
    assert set(good) == set(poor)
    for key in good:
        sign = -1 if kind_of(key) in SMALLER_IS_BETTER else 1
        assert sign * (good[key].value - poor[key].value) > 0, key


def test_the_headline_agrees_with_the_full_judgement(name):
    metric = judged(name)[0]
    full = metric.compute()
    assert metric.quick()
    assert all(value == full[key].value for key, value in metric.quick().items())


@pytest.mark.parametrize("n", [1, 4, 2 * N])
def test_no_picture_is_among_the_best_and_among_the_worst(name, n):
    shown = judged(name)[0].gallery(n)
    assert not set(shown["worst"]) & set(shown["best"])
    assert all(len(places) <= n for places in shown.values())
    assert shown["worst"] or shown["best"]


def test_nothing_seen_means_no_scores_and_no_pictures(name):
    metric = empty(name)
    assert metric.compute() == {}
    assert list(metric.figures()) == []
    assert all(not indices for indices in metric.gallery(3).values())
    assert all(math.isnan(value) for value in metric.quick().values())
    assert metric.calibration() in ({}, {"temperature": 1.0})


def test_its_figures_are_whole(name):
    figures = judged(name)[0].figures()
    assert figures
    for figure in figures:
        assert figure.title
        if isinstance(figure, Table):
            assert all(len(row) == len(figure.columns) for row in figure.rows)
        elif isinstance(figure, Matrix):
            assert figure.values.shape == (len(figure.rows), len(figure.columns))
        else:
            assert isinstance(figure, Curve)
            for line in figure.lines:
                assert len(line.x) == len(line.y)
                assert len(line.low) == len(line.high)
                assert all(map(math.isfinite, [*line.x, *line.y, *line.low, *line.high]))


def test_what_was_seen_first_is_no_longer_held_after_a_load(name):
    metric, (other,) = judged(name, off=6.0)[0], judged(name, off=1.0)
    metric.compute()
    metric.load([other.state()])
    assert metric.compute() == other.compute()
