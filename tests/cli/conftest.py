"""What the tests of the command line share: pictures, a run that was trained by a command, and how to give commands."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from tests.verbs.examples import TINY, write_splits

from visus.cli.app import run as give

BRIEFLY = [word for key, value in TINY.items() for word in ("--set", f"{key}={json.dumps(value)}")]


@dataclass
class Said:
    """What a command ended with and printed."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """The one JSON document on stdout."""
        return json.loads(self.out, parse_constant=pytest.fail)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Return a folder with train, val and test parts of three digits; nothing may write into it."""
    return write_splits(tmp_path_factory.mktemp("data") / "photos", train=60, val=20, test=30)


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory):
    """Return the folder of a run that a command trained."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert give(["train", str(photos), "--steps", "30", "--out", str(out), "--quiet", *BRIEFLY]) == 0
    return out


@pytest.fixture
def visus(capsys):
    """Return what runs a command in this process: ``visus("train", photos)``."""

    def run(*words):
        capsys.readouterr()
        code = give([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run
