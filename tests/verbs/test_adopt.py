"""Adopting weights of other tools: the file then describes itself, and scores what its authors say."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import visus
from visus.core.errors import DataError, UsageError
from visus.core.modelfile import read_card

RESNETS = {"resnet20": ("resnet20-12fca82f.th", 0.8135), "resnet32": ("resnet32-d509ac18.th", 0.8380),
           "resnet56": ("resnet56-4bfd9763.th", 0.8315)}  # fmt: skip
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def weights(tmp_path):
    """Return the weights of a small network."""
    from visus.core.recipe import ModelSettings
    from visus.models.building import build

    model = build(ModelSettings(name="cnn", options={"widths": [4, 8]}), 3, 1, (16, 16))
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    (tmp_path / "plain.safetensors").rename(tmp_path / "theirs.weights")
    return tmp_path / "theirs.weights"


@pytest.fixture
def pickled(weights):
    """Return the same weights as PyTorch saves them, wrapped as they are by data parallel training."""
    torch.save({"state_dict": {f"module.{k}": v for k, v in load_file(weights).items()}}, weights.with_suffix(".pth"))
    return weights.with_suffix(".pth")


OPTIONS = {"widths": [4, 8]}


def test_weights_become_a_file_that_describes_itself(pickled):
    model = visus.adopt(pickled, model="cnn", options=OPTIONS, classes=["a", "b", "c"], size=16, licence="MIT")
    assert model.path == pickled.with_suffix(".safetensors")
    card = read_card(model.path)
    assert card.classes == ("a", "b", "c") and card.input.channels == 1 and card.input.size == (16, 16)
    assert card.licences["weights theirs.pth"] == "MIT" and card.architecture.outputs == 3
    theirs = torch.load(pickled, weights_only=True)["state_dict"]
    ours = visus.load(model.path).network.state_dict()
    assert all(torch.equal(ours[name.removeprefix("module.")], tensor) for name, tensor in theirs.items())


def test_names_may_come_from_a_list_a_file_or_data(weights, photos, tmp_path):
    (tmp_path / "names.txt").write_text("x\ny\nz\n")
    said = []
    for i, classes in enumerate(["p,q,r", tmp_path / "names.txt", photos, ()]):
        said.append(
            visus.adopt(weights, model="cnn", options=OPTIONS, classes=classes, out=tmp_path / f"{i}.safetensors")
        )
    assert [model.classes for model in said] == [
        ("p", "q", "r"),
        ("x", "y", "z"),
        ("one", "six", "two"),
        ("0", "1", "2"),
    ]


def test_names_that_are_not_said_are_not_taken_from_the_folder_one_is_in(weights, photos, monkeypatch):
    monkeypatch.chdir(photos)
    model = visus.adopt(weights, model="cnn", options=OPTIONS, classes="", out=weights.with_name("unsaid.safetensors"))
    assert model.classes == ("0", "1", "2")


def test_a_wrong_number_of_names_is_refused_with_both_numbers(weights):
    with pytest.raises(UsageError) as caught:
        visus.adopt(weights, model="cnn", options=OPTIONS, classes=["a", "b"])
    assert caught.value.what == "2 names for 3 outputs"
    assert not weights.with_suffix(".safetensors").exists()


def test_many_names_may_be_said_in_one_text(tmp_path, weights):
    names = ",".join(f"class number {i} with a long name" + 300 * "x" for i in range(3))
    model = visus.adopt(weights, model="cnn", options=OPTIONS, classes=names, out=tmp_path / "m.safetensors")
    assert model.classes == tuple(names.split(","))


@pytest.mark.parametrize(
    ("said", "told"),
    [({"fit": "stretch"}, "input.fit = stretch: it takes squash, crop or pad"), ({"size": 0}, "input.size = 0"),
     ({"size": (1, 2, 3)}, "input.size"), ({"std": [0.0]}, "input.std"), ({"mean": [0.1, 0.2]}, "1 or 1 numbers"),
     ({"classes": ["a", "a", "b"]}, "two outputs have the name 'a'")],
)  # fmt: skip
def test_what_no_model_can_have_is_refused_and_nothing_is_written(weights, said, told):
    with pytest.raises(UsageError) as caught:
        visus.adopt(weights, model="cnn", options=OPTIONS, **said)
    assert told in caught.value.what
    assert not weights.with_suffix(".safetensors").exists()


def test_names_that_are_no_utf_8_are_said_so(weights, tmp_path):
    (tmp_path / "names.txt").write_bytes("für\nb\nc".encode("latin-1"))
    with pytest.raises(UsageError, match="the names are not UTF-8"):
        visus.adopt(weights, model="cnn", options=OPTIONS, classes=tmp_path / "names.txt")


def test_a_file_that_is_there_is_not_overwritten_unless_it_is_named(weights):
    weights.with_suffix(".safetensors").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        visus.adopt(weights, model="cnn", options=OPTIONS)
    assert weights.with_suffix(".safetensors").read_text() == "mine"


def test_weights_of_another_network_are_refused_with_the_first_that_does_not_fit(weights):
    with pytest.raises(UsageError) as caught:
        visus.adopt(weights, model="resnet18")
    assert caught.value.code == "MODEL-015"


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path):
    import os
    import pickle

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"weight": Evil()}))
    with pytest.raises(DataError):
        visus.adopt(tmp_path / "evil.pth", model="cnn")
    assert not (tmp_path / "ran").exists()


def test_a_network_of_ones_own_is_adopted_and_asked_for_again(tmp_path):
    code = tmp_path / "mine.py"
    code.write_text(
        "from torch import nn\n\n\nclass Mine(nn.Sequential):\n    def __init__(self, classes, size):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(3 * size[0] * size[1], classes))\n"
    )
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4)).state_dict(), tmp_path / "theirs.pt")
    model = visus.adopt(tmp_path / "theirs.pt", model=f"{code}:Mine")
    assert len(model.classes) == 4
    with pytest.raises(UsageError, match="code of its author's own"):
        visus.load(model.path)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESNETS)
def test_published_weights_score_exactly_what_they_should(name, real_data, tmp_path):
    """2,000 JPEG pictures of CIFAR-10's test part, in float32; the same in PyTorch and by hand."""
    file, accuracy = RESNETS[name]
    data = real_data / "cifar10_jpg_subset"
    model = visus.adopt(real_data / "weights" / "cifar10_resnet" / file, model="cifar_resnet", classes=data,
                        mean=MEAN, std=STD, out=tmp_path / "model.safetensors")  # fmt: skip
    found = visus.evaluate(model, data, precision="float32")
    assert found.n == 2000 and round(found.scores["accuracy"].value, 6) == accuracy


@pytest.mark.parametrize("classes", [0, 2])
def test_weights_of_a_generator_make_pictures(tmp_path, classes):
    from visus.models.generators.stylegan2 import build

    torch.manual_seed(0)
    options = {"latent": 8, "style": 8, "depth": 2, "width": 4, "widest": 8}
    generator = build(classes, 3, (16, 16), **options).generator.eval()
    save_file(generator.state_dict(), tmp_path / "w.safetensors")
    names = ["cat", "dog"][:classes]
    model = visus.adopt(tmp_path / "w.safetensors", model="stylegan2", classes=names, out=tmp_path / "m.safetensors")
    assert model.card.task == "generate" and model.classes == tuple(names) and model.card.input.size == (16, 16)
    theirs = generator.state_dict()
    assert all(torch.equal(model.network.generator.state_dict()[name], theirs[name]) for name in theirs)
    made = visus.generate(tmp_path / "m.safetensors", count=3, seed=1, truncation=0.7)
    assert made.pictures[0].shape == (16, 16, 3) and set(made.labels) == set(names or [""])
