"""Points that a score may fall by ``visus compress``."""

import pytest

from visus.metrics.compare import Difference
from visus.verbs.compress import drop_of


@pytest.mark.parametrize("score", ["accuracy", "miou", "map", "f1_macro", "r2"])
def test_a_point_is_a_hundredth_of_every_score_of_at_most_one(score):
    fell = Difference(score, 0.70, 0.69, -0.01, -0.02, 0.0, 100)
    assert drop_of(fell) == pytest.approx((1.0, 0.0, 2.0))


@pytest.mark.parametrize("score", ["rmse", "mae/width", "log_loss"])
def test_an_error_counts_in_its_own_unit_and_falls_by_growing(score):
    grew = Difference(score, 3.0, 3.5, 0.5, 0.25, 0.75, 100)
    assert drop_of(grew) == pytest.approx((0.5, 0.25, 0.75))
