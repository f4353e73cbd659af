"""The published CIFAR weights are the oracle: adopted, they must score what was measured with their authors' code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visus.core.recipe import ModelSettings
from visus.models.adopting import adopt
from visus.models.building import build, rebuild

RIGHT = {20: 1627, 32: 1676, 56: 1663}
"""Correct of the 2,000 JPEG test pictures: 81.35, 83.80 and 83.15 %."""


def pictures(root: Path, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())[:each]]
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in files])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.tensor([label for _, label in files])


def correct(real_data: Path, depth: int, each: int) -> int:
    (file,) = (real_data / "weights" / "cifar10_resnet").glob(f"resnet{depth}-*.th")
    adopted = adopt(file, "cifar_resnet")
    model = rebuild(adopted.architecture, adopted.channels, (32, 32)).eval()
    model.load_state_dict(adopted.tensors)
    images, labels = pictures(real_data / "cifar10_jpg_subset" / "test", each)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in adopted.usual.statistics(adopted.channels))
    with torch.no_grad():
        said = torch.cat([model((part - mean) / std).argmax(1) for part in images.split(250)])
    return int((said == labels).sum())


def test_resnet20_scores_exactly_what_was_published_for_these_pictures(real_data: Path) -> None:
    assert correct(real_data, 20, 200) == RIGHT[20]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [32, 56])
def test_deeper_ones_score_exactly_what_was_published_for_these_pictures(real_data: Path, depth: int) -> None:
    assert correct(real_data, depth, 200) == RIGHT[depth]


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_the_parameters_are_as_many_as_in_table_6_of_the_paper(depth: int, millions: float) -> None:
    model = build(ModelSettings(name="cifar_resnet", options={"depth": depth}), 10, 3, (32, 32))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.035)
