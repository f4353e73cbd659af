from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import nn

from visus.core.errors import Interrupted, UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import architecture_of, build, check_outputs, rebuild
from visus.models.origins.user_code import arguments_of

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs, channels=3, width=4):
        super().__init__()
        layers = nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.trunk = nn.Sequential(*layers)
        self.last = nn.Linear(width, outputs)

    def forward(self, images):
        return self.last(self.trunk(images).flatten(1))

def fixed():
    return Net(10)

def lazy(classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))

class Pair(Net):
    def forward(self, images):
        answer = super().forward(images)
        return (answer, answer) if self.training else answer

class Broken(Net):
    def __init__(self, outputs):
        raise ValueError("no such luck")

def number(outputs):
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    return path


@pytest.mark.parametrize("place", ["{}", "def net(outputs):\n    {}"])
def test_a_signal_that_comes_while_the_code_runs_is_no_fault_of_it(tmp_path: Path, place: str) -> None:
    path = tmp_path / "slow.py"
    path.write_text(place.format("import visus.core.errors as e; raise e.Interrupted(15, 'stopped')"))
    with pytest.raises(Interrupted):
        build(settings(path, "net"), 3, 3, (8, 8))


def settings(file: Path, entry: str, **options: int) -> ModelSettings:
    return ModelSettings(name=f"{file}:{entry}", options=dict(options))


def test_a_class_is_given_outputs_channels_and_options_by_name(file: Path) -> None:
    model = build(settings(file, "Net", width=6), 5, 1, (8, 8))
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert model.get_submodule("trunk.0").weight.shape == (6, 1, 3, 3)  # type: ignore[union-attr]


def test_a_lazy_layer_takes_its_shape_from_the_pictures(file: Path) -> None:
    model = build(settings(file, "lazy"), 5, 1, (6, 7))
    assert model.get_submodule("1").weight.shape == (5, 42)  # type: ignore[union-attr]


def maker_named(outputs: int, channels: int) -> None: ...
def maker_synonyms(num_classes: int = 1000, in_chans: int = 3, img_size: object = None) -> None: ...
def maker_positional(k: int) -> None: ...
def maker_fixed() -> None: ...
def maker_open(**settings: object) -> None: ...
def maker_keyword(*, classes: int, size: object) -> None: ...


@pytest.mark.parametrize(
    ("maker", "arguments"),
    [
        (maker_named, {"outputs": 7, "channels": 2}),
        (maker_synonyms, {"num_classes": 7, "in_chans": 2, "img_size": (4, 5)}),
        (maker_positional, {"k": 7}),
        (maker_fixed, {}),
        (maker_open, {}),
        (maker_keyword, {"classes": 7, "size": (4, 5)}),
    ],
)
def test_arguments_follow_the_signature(maker: object, arguments: dict[str, object]) -> None:
    assert arguments_of(maker, 7, 2, (4, 5), {}, "net") == arguments  # type: ignore[arg-type]


def test_an_option_of_the_users_stands_over_what_would_be_given() -> None:
    assert arguments_of(maker_synonyms, 7, 2, (4, 5), {"num_classes": 9}, "net")["num_classes"] == 9


def test_a_parameter_nobody_gives_is_named_with_how_to_give_it() -> None:
    def maker(outputs: int, depth: int) -> None: ...

    with pytest.raises(UsageError, match="needs a value for depth") as caught:
        arguments_of(maker, 7, 2, (4, 5), {}, "net")
    assert "--set model.options.depth=VALUE" in caught.value.fix


def test_a_wrong_number_of_outputs_says_what_is_expected(file: Path) -> None:
    with pytest.raises(
        UsageError, match=r"returns a tensor \(2, 10\) for a batch of 2 pictures; it must return \(2, 4\)"
    ):
        build(settings(file, "fixed"), 4, 3, (8, 8))


def test_an_answer_that_changes_in_training_is_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="returns a tuple") as caught:
        build(settings(file, "Pair"), 4, 3, (8, 8))
    assert caught.value.where == "in training"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("Ne", "did you mean 'Net'?"),
        ("Broken", "ValueError: no such luck"),
        ("number", "gives a int, not a torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_is_said(file: Path, entry: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(settings(file, entry), 4, 3, (8, 8))
    assert said in str(caught.value)


def test_an_error_in_the_users_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\n\nx = 1 / 0\n")
    with pytest.raises(UsageError) as caught:
        build(ModelSettings(name=f"{tmp_path / 'net.py'}:Net"), 4, 3, (8, 8))
    assert caught.value.where == f"{tmp_path / 'net.py'}:3"


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("from torch import nn\ndef head(n): return nn.Linear(3, n)\n")
    (tmp_path / "net.py").write_text(
        "from torch import nn\nfrom neighbour_of_mine import head\n"
        "def make(outputs): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(outputs))\n"
    )
    assert build(ModelSettings(name=f"{tmp_path / 'net.py'}:make"), 4, 3, (8, 8))(torch.zeros(2, 3, 8, 8)).shape == (
        2,
        4,
    )


def test_a_module_on_another_device_is_tried_there() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)).to("meta")
    check_outputs(model, 4, 3, (8, 8), "it")


def test_a_local_hub_folder_is_entered_by_its_entry(tmp_path: Path, file: Path) -> None:
    (tmp_path / "hubconf.py").write_text("dependencies = ['torch']\nfrom mine import Net as tiny\n")
    assert build(ModelSettings(name=f"hub:{tmp_path}:tiny"), 4, 3, (8, 8))(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


def test_a_hub_folder_that_needs_another_package_names_it(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text("dependencies = ['no_such_package_here']\n")
    with pytest.raises(UsageError, match="needs the package 'no_such_package_here'"):
        build(ModelSettings(name=f"hub:{tmp_path}:tiny"), 4, 3, (8, 8))


def test_the_architecture_keeps_place_and_hash_of_the_source(file: Path) -> None:
    architecture = architecture_of(settings(file, "Net"), 4)
    assert architecture.source == "mine.py:Net"
    assert architecture.source_sha256 == sha256(file.read_bytes()).hexdigest()


def test_a_model_file_never_says_what_code_to_run(file: Path) -> None:
    with pytest.raises(UsageError, match="code of its author's own") as caught:
        rebuild(architecture_of(settings(file, "Net"), 4), 3, (8, 8))
    assert "--model FILE.py:Class" in caught.value.fix


def test_code_that_is_named_again_is_used_and_a_change_is_said(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    architecture = architecture_of(settings(file, "Net"), 4)
    assert type(rebuild(architecture, 3, (8, 8), f"{file}:Net")).__name__ == "Net"
    assert not caplog.records
    file.write_text(NETWORK + "\n# another thought\n")
    with caplog.at_level(logging.WARNING):
        rebuild(architecture, 3, (8, 8), f"{file}:Net")
    assert "is not the source this model was trained with" in caplog.text


def test_a_network_given_as_an_object_cannot_be_found_by_name() -> None:
    with pytest.raises(UsageError, match="given as an object in Python"):
        build(ModelSettings(name="given:Net"), 4, 3, (2, 2))


def test_the_check_leaves_mode_and_statistics_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    before = {key: buffer.clone() for key, buffer in model.named_buffers()}
    check_outputs(model, 4, 3, (2, 2), "it")
    assert not model.training
    assert all(torch.equal(buffer, before[key]) for key, buffer in model.named_buffers())


@pytest.mark.parametrize("name", ["absent.py:Net", "hub:absent:entry", "x.py:", "hub:"])
def test_a_place_that_is_not_there_is_said(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSettings(name=name), 4, 3, (8, 8))
    assert caught.value.code == "MODEL-017"


BROKEN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.last = nn.Linear(48, classes)

    def forward(self, images):
        if images.shape[1] == 3:
            raise KeyError("no such thing")
        return self.last(images)
"""


@pytest.mark.parametrize(("channels", "said", "line"), [(3, "KeyError: 'no such", 11), (1, "RuntimeError: ", 12)])
def test_a_fault_of_the_users_forward_names_their_line_and_not_the_size(tmp_path, channels, said, line):
    (tmp_path / "mine.py").write_text(BROKEN)
    with pytest.raises(UsageError) as caught:
        build(ModelSettings(name=f"{tmp_path}/mine.py:Net"), 10, channels, (8, 8))
    assert said in caught.value.what and caught.value.where == f"{tmp_path}/mine.py:{line} in forward"
    assert "size" not in caught.value.fix
