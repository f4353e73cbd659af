"""What the tests of the verbs share: a folder of pictures, and a run that was trained on it once."""

from __future__ import annotations

import pytest
from tests.verbs.examples import train, write_splits


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Return a folder with train, val and test parts of three digits; nothing may write into it."""
    return write_splits(tmp_path_factory.mktemp("data") / "photos", train=60, val=20, test=30)


@pytest.fixture(scope="session")
def run(photos, tmp_path_factory):
    """Return a finished run on the photos; nothing may write into its folder."""
    return train(photos, tmp_path_factory.mktemp("runs") / "run")
