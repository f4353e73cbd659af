from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from visus.core.errors import IntegrityError
from visus.core.recipe import ModelSettings
from visus.models.backbones import BACKBONES, efficientnet_lite0
from visus.models.building import build

DEFAULT = ModelSettings(name="efficientnet_lite0", weights="default")


def test_every_tensor_of_the_package_is_used_whole_when_the_outputs_are_imagenets() -> None:
    backbone = BACKBONES["efficientnet_lite0"]
    published = efficientnet_lite0.read(backbone.weights[0])
    mine = build(DEFAULT, 1000, 3, (224, 224)).state_dict()
    assert sum("num_batches_tracked" not in key for key in published) == 247
    assert all(torch.equal(a, b) for a, b in zip(published.values(), mine.values(), strict=True))


def test_a_linear_probe_on_its_features_beats_random_weights_clearly(real_data: Path) -> None:
    root = real_data / "cifar10_jpg_subset" / "train"
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())[:20]]
    large = [Image.open(file).convert("RGB").resize((128, 128), Image.Resampling.BICUBIC) for file, _ in files]
    images = torch.from_numpy(np.stack([np.asarray(image) for image in large])).permute(0, 3, 1, 2).float() / 127.5 - 1

    def accuracy(settings: ModelSettings) -> float:
        model = build(settings, 10, 3, (128, 128)).eval().to(memory_format=torch.channels_last)
        with torch.no_grad():
            maps = [model.forward_features(part) for part in images.split(50)]  # type: ignore[operator]
        features = torch.cat(maps).mean((2, 3)).numpy()
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        return float(cross_val_score(probe, features, [label for _, label in files], cv=5).mean())

    learnt, random = accuracy(DEFAULT), accuracy(ModelSettings(name="efficientnet_lite0"))
    assert learnt > 0.5
    assert learnt > random + 0.25


@pytest.mark.parametrize(("stride", "rows"), [(8, 12), (16, 6), (32, 3)])
def test_the_last_map_has_the_stride_that_is_asked_for_with_the_same_weights(stride: int, rows: int) -> None:
    settings = ModelSettings(name="efficientnet_lite0", weights="default", options={"output_stride": stride})
    model = build(settings, 1000, 3, (96, 96)).eval()
    assert model.forward_features(torch.zeros(1, 3, 96, 96)).shape[2:] == (rows, rows)  # type: ignore[operator]


def test_a_grey_picture_is_answered_as_the_same_picture_in_equal_channels() -> None:
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, three = build(DEFAULT, 1000, 1, (64, 64)).eval(), build(DEFAULT, 1000, 3, (64, 64)).eval()
    with torch.no_grad():
        torch.testing.assert_close(one(grey), three(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_the_published_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "weights.pth"
    wrong.write_bytes(b"something else")
    monkeypatch.setattr(efficientnet_lite0, "_file", lambda: wrong)
    with pytest.raises(IntegrityError, match="damaged"):
        build(DEFAULT, 10, 3, (64, 64))
