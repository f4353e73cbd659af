"""Scores of painted pictures: means and ratios by hand."""

import pytest
import torch

from visus.core.task import Batch
from visus.metrics.stylization import COLUMNS, Stylization


def told(n=4):
    random = torch.Generator().manual_seed(0)
    raw = {name: torch.rand(n, generator=random) + 0.1 for name in COLUMNS}
    images = torch.zeros(n, 3, 2, 2)
    ids = tuple(map(str, range(n)))
    return raw, Batch((images,), {}, ids, torch.arange(n), torch.eye(3).repeat(n, 1, 1))


def test_scores_are_means_of_pictures_and_the_fall_is_one_of_means():
    metric = Stylization("random", resamples=20)
    raw, batch = told()
    metric.update(raw, batch)
    found = {name.partition(" ")[0]: score.value for name, score in metric.compute().items()}
    assert found["style_distance"] == pytest.approx(raw["after"].mean().item())
    assert found["style_fall"] == pytest.approx((raw["before"].mean() / raw["after"].mean()).item())
    assert found["content_distance"] == pytest.approx(raw["content"].mean().item())
    assert found["content_similarity"] == pytest.approx(raw["similarity"].mean().item())
    assert found["fidelity"] == pytest.approx((1 / (1 + raw["objective"])).mean().item())


def test_every_score_names_the_features_and_all_are_quick():
    metric = Stylization("random", resamples=20)
    metric.update(*told())
    assert set(metric.quick()) == set(metric.compute()) and all(name.endswith("(random)") for name in metric.quick())


def test_the_best_and_the_worst_are_told_by_what_training_makes_small():
    metric = Stylization("random", resamples=20)
    raw, batch = told()
    raw["objective"] = torch.tensor([0.5, 0.1, 0.9, 0.3])
    metric.update(raw, batch)
    assert metric.gallery(2) == {"best": [1, 3], "worst": [2, 0]}


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_a_picture_that_is_not_finite_is_worse_than_any_other(broken):
    raw, batch = told()
    plain, hurt = Stylization("random", resamples=20), Stylization("random", resamples=20)
    plain.update(raw, batch)
    hurt.update({name: torch.where(torch.arange(4) == 0, broken, values) for name, values in raw.items()}, batch)
    whole, found = ({name.partition(" ")[0]: score.value for name, score in metric.compute().items()}
                    for metric in (plain, hurt))  # fmt: skip
    assert found["fidelity"] == pytest.approx((1 / (1 + raw["objective"][1:])).sum().item() / 4, abs=1e-5)
    assert found["fidelity"] < whole["fidelity"]
    assert found["content_similarity"] == pytest.approx(raw["similarity"][1:].sum().item() / 4)
