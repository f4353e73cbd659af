"""A story of real pictures, really learned, and a reader of its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from visus.core.figures import Curve, Line, Matrix, Table
from visus.core.modelfile import Architecture, Card
from visus.core.recipe import Choice, Draft, InputSettings
from visus.core.scores import Score
from visus.report.story import Picture, Story

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@pytest.fixture(scope="session")
def digits() -> Story:
    """Return the story of a softmax regression on scikit-learn's digits: real pictures, steps, mistakes and scores."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels, truth = data.data / 16, data.target
    draw = np.random.Generator(np.random.Philox(0))
    order = draw.permutation(len(truth))
    train, val, test = order[:1200], order[1200:1350], order[1350:]
    weights = np.zeros((64, 10))
    log: list[dict[str, Any]] = []
    for step in range(1, 241):
        rows = draw.choice(train, 32, replace=False)
        probability = _softmax(pixels[rows] @ weights)
        gradient = pixels[rows].T @ (probability - np.eye(10)[truth[rows]]) / len(rows)
        weights -= 0.5 * gradient
        loss = -np.log(probability[np.arange(len(rows)), truth[rows]]).mean()
        log.append({"step": step, "epoch": step * 32 / 1200, "lr": 0.5, "loss": float(loss), "seconds": 0.01 * step,
                    "gradient_norm": float(np.linalg.norm(gradient))})  # fmt: skip
        if step % 40 == 0:
            judged = _softmax(pixels[val] @ weights)
            log.append({"step": step, "epoch": step * 32 / 1200, "validation": {
                "accuracy": float((judged.argmax(1) == truth[val]).mean()),
                "log_loss": float(-np.log(judged[np.arange(len(val)), truth[val]]).mean())}})  # fmt: skip
    probability = _softmax(pixels[test] @ weights)
    said, certain = probability.argmax(1), probability.max(1)
    right = said == truth[test]
    matrix = np.zeros((10, 10), np.int64)
    np.add.at(matrix, (truth[test], said), 1)
    accuracy = _score(right, draw)
    classes = [(name, matrix[i].sum(), _score(right[truth[test] == i], draw)) for i, name in enumerate(NAMES)]
    recipe = Draft([Choice("steps", 240, "--steps 240"), Choice("batch", 32, "--set batch=32")]).finish()
    mistakes = [i for i in np.argsort(-certain) if not right[i]]
    pictures = (data.images[test] * 255 / 16).astype(np.uint8)
    counts = {
        split: dict(zip(NAMES, np.bincount(truth[part], minlength=10).tolist(), strict=True))
        for split, part in (("train", train), ("val", val), ("test", test))
    }
    return Story(
        title="softmax regression on digits",
        command="visus train digits --steps 240 --set batch=32",
        task="classify",
        score="accuracy",
        scores={"accuracy": accuracy},
        figures=[
            Table("Classes", ("class", "n", "recall"), classes),
            Matrix("Confusion matrix", NAMES, NAMES, matrix),
            Table("Most frequent mistakes", ("truth", "prediction", "pictures"), [("one", "eight", 3)]),
            _reliability(certain, right),
        ],
        log=log,
        gallery=[
            Picture("most confident mistakes", f"{NAMES[truth[test[i]]]}, called {NAMES[said[i]]}", pictures[i])
            for i in mistakes
        ],
        recipe=recipe,
        card=Card(
            visus="0.1.0", task="classify", architecture=Architecture(name="cnn", outputs=10), classes=NAMES,
            input=InputSettings(size=(8, 8), channels=1), recipe=recipe.flat(), scores={"accuracy": accuracy.json()},
            split="test", calibration={"temperature": 1.1}, licences={"data": "CC BY 4.0"}, data={"name": "digits"},
            step=240,
        ),
        data={"name": "digits", "format": "folder", "evidence": "10 class folders", "notes": ["validation was carved"],
              "items": {"train": 1200, "val": 150, "test": 447}, "counts": counts,
              "bad": [("six/0042.png", "the file ends early")], "fingerprint": "9f2c", "licence": "CC BY 4.0"},
        seconds={"import": 2.0, "training/forward": 3.0, "training/backward": 5.0, "test": 0.5},
        events=[{"step": 120, "kind": "micro", "what": "16 rows a pass from now on"}],
        environment={"python": "3.11", "processor": "of the tests", "threads": 1},
        path="runs/digits/report.html",
    )  # fmt: skip


@dataclass
class Page(HTMLParser):
    """A page as its tags say it: a tag left open, closed twice or crossed fails at once."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, f"</{tag}> inside {self._open[-3:]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def close(self) -> None:
        super().close()
        assert not self._open, f"left open: {self._open}"

    def all(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def read() -> Callable[[str], Page]:
    """Return a function that parses a page strictly."""

    def parse(html: str) -> Page:
        page = Page()
        page.feed(html)
        page.close()
        return page

    return parse


def _softmax(logits: Any) -> Any:
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return exponent / exponent.sum(1, keepdims=True)


def _score(right: Any, draw: np.random.Generator) -> Score:
    means = [right[draw.integers(0, len(right), len(right))].mean() for _ in range(200)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Score(float(right.mean()), float(low), float(high), len(right))


def _reliability(certain: Any, right: Any) -> Curve:
    bins = np.minimum((certain * 10).astype(int), 9)
    held = [i for i in range(10) if (bins == i).any()]
    x, y = [[float(v[bins == i].mean()) for i in held] for v in (certain, right)]
    bars = [int((bins == i).sum()) for i in held]
    line = Line("as it says", x, y, [v - 0.05 for v in y], [v + 0.05 for v in y])
    return Curve("Reliability", "stated", "observed", [line], diagonal=True, points=True, bars=bars)
