from __future__ import annotations

import subprocess
import sys

from visus.models.backbones import BACKBONES
from visus.models.detectors import DETECTORS
from visus.models.generators import GENERATORS
from visus.models.listing import COUNTED, available
from visus.models.segmenters import SEGMENTERS
from visus.models.stylizers import STYLIZERS


def test_without_a_pattern_our_own_are_listed_with_size_licence_and_presence() -> None:
    listed = {line.name: line for line in available()}
    assert listed.keys() == {*BACKBONES, *DETECTORS, *SEGMENTERS, *GENERATORS, *STYLIZERS}
    pretrained = listed["efficientnet_lite0"]
    assert (pretrained.parameters, pretrained.licence, pretrained.present) == (4_652_008, "apache-2.0", True)
    assert all(line.summary and line.parameters for line in listed.values())


def test_a_pattern_finds_names_of_every_origin() -> None:
    found = {(line.name, line.origin) for line in available("resnet18")}
    assert {("resnet18", "timm"), ("torchvision:resnet18", "torchvision")} <= found


def test_few_are_counted_and_licences_shown() -> None:
    (line,) = (line for line in available("resnet18d") if line.name == "resnet18d")
    assert (line.parameters, line.licence, line.commercial) == (11_708_744, "apache-2.0", True)


def test_a_long_list_is_not_built() -> None:
    lines = [line for line in available("efficientnet") if line.origin != "visus"]
    assert len(lines) > COUNTED
    assert all(line.parameters is None for line in lines)


def test_a_network_nobody_published_weights_for_is_listed_without() -> None:
    (line,) = available("beit3_giant_patch14_224")
    assert line.weights == ""


def test_listing_our_own_imports_neither_timm_nor_torchvision() -> None:
    script = (
        "import sys; from visus.models.listing import available; available(); "
        "assert not {'timm', 'torchvision'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
