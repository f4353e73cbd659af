"""Features of pictures by the network that comes with visus."""

from __future__ import annotations

import numpy as np
from tests.data.plain import odd_sizes, of_array, of_files

from visus.verbs.features import features


def silent(sentence):
    """Tell nobody."""


def test_every_readable_picture_has_features_and_others_have_zeros(tmp_path):
    data = of_files(tmp_path, odd_sizes(5))
    (tmp_path / "003.png").write_bytes(b"")
    found = features(data, np.array([0, 1, 2, 4]), 20.0, silent)
    assert found.shape == (5, 1280) and found.dtype == np.float32
    assert not found[3].any() and found[[0, 1, 2, 4]].any(1).all() and np.isfinite(found).all()


def test_a_picture_lies_closest_to_itself_made_brighter():
    data = of_array(6, size=40)
    array = np.concatenate([data.images.array, (data.images.array * 0.8 + 30).astype(np.uint8)])
    data = of_array(12, size=40)
    twins = data.with_(images=type(data.images)(array))
    found = features(twins, np.arange(12), 40.0, silent)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    alike = found @ found.T - 2 * np.eye(12)
    assert alike.argmax(1).tolist() == [(i + 6) % 12 for i in range(12)]


def test_of_no_readable_picture_nothing_is_known():
    assert not features(of_array(3), np.zeros(0, np.int64), 0.0, silent).any()
