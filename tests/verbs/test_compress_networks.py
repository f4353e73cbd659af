"""``visus compress`` by methods that make another network: what they write is a model file like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.verbs.examples import train, train_detector, write_boxes
from tests.verbs.segmenting import TINY as SCENES
from tests.verbs.segmenting import write_scenes

import visus
from visus.compressors import Subject, prune
from visus.core.errors import UsageError
from visus.core.modelfile import read_card
from visus.models.building import rebuild
from visus.verbs.assembly import feed
from visus.verbs.fine_tuning import fine_tune
from visus.verbs.load import load
from visus.verbs.parts import part_for

METHODS = ("prune", "low_rank", "distill")
WIDE = {"model.options.widths": [64, 96], "model.options.hidden": [512]}


@pytest.fixture(scope="module")
def digits(photos, tmp_path_factory):
    """Return a run of a network that is large enough to become smaller."""
    return train(photos, tmp_path_factory.mktemp("runs") / "digits", settings=WIDE)


@pytest.fixture(scope="module", params=METHODS)
def made(request, digits, tmp_path_factory):
    """Return what a method makes of it in a few steps, with a promise that anything keeps."""
    out = tmp_path_factory.mktemp("small") / f"{request.param}.safetensors"
    return visus.compress(digits.folder, method=request.param, target="size", max_drop=100, steps=30, out=out)


def test_what_is_kept_is_smaller_and_nearly_as_good(made):
    assert made.path.stat().st_size < 0.9 * made.whole.bytes
    assert made.kept.score.value > 0.8
    assert made.whole.score.n == made.kept.score.n == 60
    assert made.best.settings.get("importance", "Taylor") == "Taylor"  # these pictures say what is true


def test_the_file_is_judged_and_predicts_as_was_measured(made, photos):
    judged = visus.evaluate(made.path, photos, split="val")
    assert judged.scores["accuracy"].value == pytest.approx(made.kept.score.value, abs=0.02)
    assert len(visus.predict(made.path, photos / "test")) == 90


def test_the_file_describes_itself(made, digits):
    model = load(made.path)
    picture = np.zeros((16, 16), np.uint8)
    assert model.predict([picture])[0].label in model.classes
    assert model.card.compressed["method"] == made.best.method
    weights = [sum(p.numel() for p in each.network.parameters()) for each in (model, load(digits.best))]
    assert weights[0] < weights[1]


@pytest.mark.parametrize("made", ["low_rank"], indirect=True)
def test_the_file_is_explained_exported_and_made_smaller_again(made, photos, tmp_path):
    visus.export(made.path, to="onnx", out=tmp_path / "a.onnx", data=photos)
    small = visus.compress(made.path, method="weight_only", target="size", max_drop=100, data=photos,
                           out=tmp_path / "b.onnx")  # fmt: skip
    assert small.path.stat().st_size < made.path.stat().st_size
    explained = visus.explain(made.path, sorted(photos.glob("test/one/*.png"))[:1], data=photos)
    assert explained


def test_a_run_that_starts_from_it_is_as_small(made, photos, tmp_path):
    start = load(made.path)
    network = start.card.architecture
    settings = {"model.name": network.name, "model.weights": str(made.path), "input.size": 16}
    settings |= {f"model.options.{key}": value for key, value in network.options.items()}
    run = train(photos, tmp_path / "run", steps=3, settings=settings)
    assert read_card(run.best).architecture == start.card.architecture


@pytest.mark.parametrize(("method", "student"), [
    ("prune", {}),
    pytest.param("distill", {"model.options": {"width": 8, "normalisation": "group"}}, marks=pytest.mark.slow),
])  # fmt: skip
def test_segmenters_are_pruned_and_taught(method, student, tmp_path):
    """What is kept must be judged like any model file."""
    scenes = write_scenes(tmp_path / "scenes", train=12, val=12, test=2)
    run = visus.train(scenes, out=tmp_path / "run", steps=3, set={**SCENES, "model.options.width": 32})
    made = visus.compress(run.folder, method=method, max_drop=1000, target="size", steps=2, set=student,
                          out=tmp_path / "small.safetensors")  # fmt: skip
    assert visus.evaluate(made.path, scenes).n


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Return pictures with boxes on which a detector can be judged; nothing may write into the folder."""
    splits = ("train",) * 12 + ("val",) * 8 + ("test",) * 2
    return write_boxes(tmp_path_factory.mktemp("data") / "squares", splits=splits)


@pytest.mark.slow
def test_detectors_are_taught(squares, tmp_path):
    run = train_detector(squares, tmp_path / "run", settings={"model.options": {"width": 32, "normalisation": "group"}})
    made = visus.compress(run.folder, method="distill", max_drop=1000, target="size", steps=2,
                          set={"model.options": {"width": 8, "normalisation": "group"}},
                          out=tmp_path / "a.safetensors")  # fmt: skip
    assert load(made.path).card.architecture.options["width"] == 8
    assert visus.evaluate(made.path, squares).n == 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [
    ("anchor_free", {"width": 32}), ("fcos:resnet18", {"width": 64, "layers": 1}),
    ("retinanet:resnet18", {"width": 64}),
])  # fmt: skip
def test_detectors_are_pruned_as_their_tasks_ask_them(name, options, squares, tmp_path):
    run = train_detector(squares, tmp_path / "run", steps=1, settings={"model.name": name, "model.options": options})
    subject = given(load(run.folder, precision="float32").on_processor(), squares)
    made = next(prune.propose(subject))
    before, after = (sum(p.numel() for p in each.parameters()) for each in (subject.network, made.network))
    assert after < 0.6 * before
    again = rebuild(made.architecture, 3, (64, 64))
    again.load_state_dict(made.network.state_dict())
    batch = next(subject.batches())
    with torch.no_grad():
        said, wanted = (subject.task.raw(network.eval(), batch) for network in (again, made.network))
    assert said.keys() == wanted.keys() and all(torch.equal(said[part], wanted[part]) for part in said)


def given(model, data):
    """Return what a method that trains is given of a model, by which it learns for a step."""
    dataset = part_for(model, data, "val").dataset

    def batches():
        with feed(dataset, dataset.indices("train"), model.task, model.recipe, model.device(), train=False) as shown:
            yield from shown.sweep()

    def fit(network, task=None, *, rate, share=1.0):
        fine_tune(model, dataset, network, task, rate=rate, minutes=None, steps=1, watch=lambda row: None)

    return Subject(model.network, model.task, model.recipe, model.card, batches, None, None, fit)


@pytest.mark.usefixtures("exported_once")
def test_a_student_may_be_named_and_must_be_smaller(digits, tmp_path):
    named = {"model.options": {"widths": [16, 32], "hidden": [32]}}
    out = tmp_path / "named.safetensors"
    made = visus.compress(digits.folder, method="distill", target="size", max_drop=100, steps=3, set=named, out=out)
    assert load(made.path).card.architecture.options["widths"] == [16, 32]
    with pytest.raises(UsageError, match="COMPRESS-034"):
        visus.compress(digits.folder, method="distill", steps=3, set={"model.options": {"widths": [128, 256]}},
                       out=tmp_path / "larger.safetensors")  # fmt: skip


def test_settings_that_no_method_takes_are_refused(digits, tmp_path):
    with pytest.raises(UsageError, match="COMPRESS-007"):
        visus.compress(
            digits.folder, method="prune", steps=3, set={"model.name": "cnn"}, out=tmp_path / "a.safetensors"
        )


@pytest.mark.usefixtures("exported_once")
def test_methods_that_find_nothing_to_save_are_named_where_several_are_tried(photos, tmp_path):
    run = train(photos, tmp_path / "run", steps=2, settings={"model.options.widths": [8, 8]})
    made = visus.compress(run.folder, max_drop=1000, target="size", steps=1)
    assert {one.method for one in made.tried} == {"int8", "qat", "weight_only"}
    assert {note.partition(" ")[0] for note in made.notes if "was left out" in note} == set(METHODS)
