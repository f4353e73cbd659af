"""What a user does wrong: the exit code, at most five lines that say what to do, and nothing lost."""

from __future__ import annotations

import json
import re

import pytest
from tests.cli.conftest import BRIEFLY
from tests.verbs.examples import write_classes


def shaped(said):
    """Tell whether stderr ends with an error as it should be: at most five lines, and no traceback."""
    lines = said.err.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("error[")), None)
    if start is None or "Traceback" in said.err:
        return False
    error = lines[start:]
    titles = [re.match(r"  (where|looked for|done|fix): +\S", line) for line in error[1:]]
    return len(error) <= 5 and re.match(r"error\[[A-Z]+(-\d{3})?\]: \S", error[0]) and all(titles)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "PHOTOS", "--stepz", "3"], "did you mean '--steps'?"),
        (["trian", "PHOTOS"], "Did you mean 'train'?"),
        (["train"], "visus train --help"),
        (["train", "PHOTOS", "--steps", "many"], "steps = many: it takes a whole number above 0"),
        (["train", "PHOTOS", "--bogus"], "visus train --help"),
        (["train", "PHOTOS", "--out", "PHOTOS/run"], "this folder lies in the data"),
        (["train", "PHOTOS", "--loss", "focal"], "it is a setting: --set loss=VALUE"),
        (["train", "PHOTOS", "--box-loss", "ciou"], "it is a setting: --set detect.box_loss=VALUE"),
        (["train", "PHOTOS", "--set", "optim.lrr=1"], "did you mean 'optim.lr'?"),
        (["train", "PHOTOS", "--set", "batch"], "there is no '='"),
        (["train", "PHOTOS", "--set", "batch=many"], "batch = many: it takes a whole number above 0"),
        (["train", "PHOTOS", "--set", "batch=-1"], "batch = -1"),
        (["train", "PHOTOS", "--set", "optim.betas=[0.9"], "the value is no YAML"),
        (["train", "PHOTOS", "--steps", "3", "--epochs", "2"], "epochs and steps are given"),
        (["train", "PHOTOS", "--model", "resnet_smal"], "did you mean 'resnet_small'?"),
        (["train", "PHOTOS", "--task", "classfy"], "did you mean 'classify'?"),
        (["train", "PHOTOS", "--set", "loss=cross_entropi"], "did you mean 'cross_entropy'?"),
        (["train", "PHOTOS", "--set", "detect.suppression=softnms"], "did you mean 'soft_nms'?"),
        (["train", "PHOTOS", "--set", "optim.name=adm"], "there is no optimiser named 'adm'"),
        (["train", "PHOTOS", "--set", "score=acuracy"], "did you mean 'accuracy'?"),
        (["train", "PHOTOS", "--set", "model.options.widhts=[8]"], "did you mean 'widths'?"),
        (["train", "PHOTOS", "--recipe", "nothing.yaml"], "nothing.yaml"),
        (["train", "PHOTOSS"], "did you mean PHOTOS?"),
        (["train", "digitz"], "did you mean 'digits'?"),
        (["train", "torchvision:CIFAR1O"], "did you mean 'CIFAR10'?"),
        (["train", "PHOTOS/test/one"], "holds 3 class folders"),
        (["resume", "PHOTOS"], "there is no run in this folder"),
        (["evaluate", "nothing.safetensors", "PHOTOS"], "there is no such model file"),
        (["evaluate", "PHOTOS", "PHOTOS"], "there is no such model file"),
        (["predict", "nothing.safetensors", "PHOTOS"], "there is no such model file"),
        (["predict", "nothing.safetensors", "PHOTOS", "--epochs", "2"], "visus predict --help"),
        (["info", "nothing"], "there is no such folder or file"),
        (["info", "PHOTOS", "--replay"], "only a bundle can be replayed"),
        (["evaluate", "PHOTOS", "PHOTOS", "--batch", "x"], "--batch takes a whole number"),
        (["demo", "--minutes", "x"], "--minutes takes a number"),
        (["list", "modles"], "did you mean 'models'?"),
        (["adopt", "nothing.pth", "--model", "cnn"], "there is no such weights file"),
        (["adopt", "nothing.pth", "--model", "cnn", "--mean", "a,b"], "not numbers with commas"),
        (["adopt", "nothing.pth", "--model", "cnn", "--size", "12by4"], "it takes one side, or HEIGHTxWIDTH"),
        (["adopt", "nothing.pth", "--model", "cnn", "--size", "1x2x3"], "it takes one side, or HEIGHTxWIDTH"),
        (["adopt", "nothing.pth", "--model", "cnn", "--fit", "stretch"], "it takes squash, crop or pad"),
        (["adopt", "nothing.pth", "--model", "cnn", "--std", "0"], "it takes a list of numbers"),
        (["demo", "--minutes", "-1"], "minutes = -1.0: it takes a number above 0"),
        (["train", "x" * 300], "file name too long"),
        (["predict", "nothing.safetensors", "PHOTOS", "--out", "x" * 300], "there is no such model file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_ends_with_2_says_what_helps_and_writes_nothing(visus, photos, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PHOTOS").symlink_to(photos)
    said = visus(*words)
    assert said.code == 2 and shaped(said), said.err
    assert says in said.err and said.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["PHOTOS"]


def test_an_error_is_also_a_document_where_one_was_asked_for(visus, photos):
    said = visus("train", photos, "--set", "optim.lrr=1", "--json")
    told = said.document
    assert told["exit"] == said.code == 2
    assert told["error"]["code"] == "USE-001" and told["error"]["fix"] == "did you mean 'optim.lr'?"
    assert shaped(said)


def test_a_file_in_the_place_of_the_run_folder_is_said_so(visus, photos, tmp_path):
    (tmp_path / "run").write_text("mine")
    for out in (tmp_path / "run", tmp_path / "run" / "deeper"):
        said = visus("train", photos, "--steps", 1, "--out", out, *BRIEFLY)
        assert said.code == 2 and shaped(said) and "is a file, not a folder" in said.err
    assert (tmp_path / "run").read_text() == "mine"


def test_a_wrong_setting_is_told_before_the_run_folder_and_the_data_are_looked_at(visus, trained, tmp_path):
    for wrong in ("batch=no", "optim.name=adm", "model=resnet_smal", "loss=focl", "task=no", "schedule=no", "epochs=3",
                  "score=acuracy", "score=log_loss"):  # fmt: skip
        said = visus("train", tmp_path / "nowhere", "--steps", 1, "--out", trained, "--set", wrong)
        assert said.code == 2 and "error[RUN" not in said.err and "error[DATA" not in said.err, said.err


def test_a_folder_that_holds_a_run_ends_with_2_and_says_how_to_go_on(visus, photos, trained):
    said = visus("train", photos, "--steps", 1, "--out", trained, *BRIEFLY)
    assert said.code == 2 and f"visus resume {trained}" in said.err


def test_a_folder_another_run_holds_ends_with_5_and_names_it(visus, photos, trained):
    from visus.engine.folder import RunFolder

    with RunFolder(trained):
        for words in (["resume", trained], ["train", photos, "--out", trained]):
            said = visus(*words)
            assert said.code == 5 and shaped(said) and "process" in said.err


def test_a_damaged_model_ends_with_6(visus, photos, trained, tmp_path):
    (tmp_path / "torn.safetensors").write_bytes((trained / "best.safetensors").read_bytes()[:-100])
    said = visus("evaluate", tmp_path / "torn.safetensors", photos)
    assert said.code == 6 and shaped(said) and "the file is damaged" in said.err


def test_too_many_broken_pictures_end_with_3(visus, tmp_path):
    data = write_classes(tmp_path / "photos", each=12)
    for file in sorted((data / "one").iterdir())[:6]:
        file.write_bytes(b"\x89PNG\r\n")
    said = visus("train", data, "--steps", 30, "--out", tmp_path / "run", *BRIEFLY)
    assert said.code == 3 and shaped(said) and "cannot be read" in said.err


def test_training_that_cannot_be_healed_ends_with_7(visus, photos, tmp_path):
    words = ["--steps", 60, "--set", "optim.lr=1e30", "--set", "optim.name=sgd", "--set", "optim.clip=0"]
    said = visus("train", photos, "--out", tmp_path / "run", *BRIEFLY, *words)
    assert said.code == 7 and shaped(said), said.err
    assert (tmp_path / "run" / "last.safetensors").exists()


def test_a_traceback_is_shown_only_when_it_is_asked_for(visus, photos):
    assert "Traceback" not in visus("train", photos, "--steps", 0).err
    for words in (["--debug", "train", photos, "--steps", 0], ["train", photos, "--steps", 0, "--debug"]):
        said = visus(*words)
        assert said.code == 2 and "Traceback" in said.err and "error[USE-003]" in said.err


def test_a_fault_of_our_own_ends_with_70_in_the_same_shape(visus, photos, tmp_path, monkeypatch):
    """Provoked by a library that fails where it never should."""
    import safetensors.torch

    def fail(*arguments, **named):
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(safetensors.torch, "save", fail)
    monkeypatch.setattr("visus.core.modelfile.to_bytes", fail)
    said = visus("train", photos, "--steps", 1, "--out", tmp_path / "run", *BRIEFLY)
    assert said.code == 70 and shaped(said) and "ZeroDivisionError: of the test" in said.err
    assert "please report it" in said.err


def test_a_fault_of_the_users_own_network_in_mid_run_is_not_called_ours(visus, photos, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(classes))\n"
        "    def forward(self, images):\n"
        "        if len(images) > 2:\n"
        "            raise ValueError('of the test')\n"
        "        return super().forward(images)\n"
    )
    named = ["--model", f"{tmp_path}/mine.py:Net", "--out", tmp_path / "run"]
    said = visus("train", photos, "--steps", 1, "--quiet", *named, "--size", 16, "--batch", 8)
    assert said.code == 2 and shaped(said) and "your own code failed: ValueError: of the test" in said.err
    assert f"where: {tmp_path}/mine.py:7 in forward" in said.err


def test_without_a_verb_the_help_is_shown(visus):
    said = visus()
    assert said.code == 0 and said.out.startswith("Usage: visus") and said.err == ""


@pytest.mark.parametrize("verb", ["demo", "train", "resume", "evaluate", "compare", "predict", "adopt", "info", "list"])
def test_every_verb_has_help_that_is_cut_nowhere(visus, verb):
    assert visus(verb, "--help").code == 0
    line = next(line for line in visus("--help").out.splitlines() if line.split()[:1] == [verb])
    assert line.endswith(".") and not line.endswith("...")


def test_the_version_is_told(visus):
    import visus as package

    assert visus("--version").out == f"visus {package.__version__}\n"


def test_an_errors_document_escapes_what_is_no_text(visus, tmp_path):
    import os

    said = visus("info", tmp_path / os.fsdecode(b"caf\xe9"), "--json")
    assert said.code == 2 and json.loads(said.out)["error"]["what"]
    assert r"caf\xe9" in said.err or r"caf\udce9" in said.err
