"""What every check keeps, because its file exists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.checks.examples import dataset, seen, subject

from visus.checks import CHECKS, LEVELS
from visus.data.dataset import ArrayImages

FILES = {name: Path(__import__(f"visus.checks.{name}", fromlist=["CHECK"]).__file__) for name in CHECKS}


@pytest.fixture(scope="module")
def clean():
    """Return data there is nothing to say of: random pictures, two classes, three large parts."""
    n = 3000
    draw = np.random.Generator(np.random.Philox(3))
    small = {i: draw.integers(0, 256, (32, 32), dtype=np.uint8) for i in range(n)}
    digest = {i: np.frombuffer(i.to_bytes(16, "big"), np.uint8) for i in range(n)}
    data = dataset([i % 2 for i in range(n)], split=[i // 1000 for i in range(n)])
    array = np.stack([small[i] for i in range(n)])
    return subject(data.with_(images=ArrayImages(array)), seen(n, small=small, digest=digest))


@pytest.mark.parametrize("name", CHECKS)
def test_clean_data_gives_no_finding_but_notes(name, clean):
    assert [finding for finding in CHECKS[name].look(clean) if finding.level != LEVELS[-1]] == []


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_says_in_a_phrase_what_it_asks(name):
    assert CHECKS[name].asks and not CHECKS[name].asks.endswith(".")


def test_a_code_belongs_to_one_check():
    used = {
        name: set(re.findall(r"\"(CHECK-\d{3})\"", file.read_text(encoding="utf-8"))) for name, file in FILES.items()
    }
    twice = [(one, other) for one in used for other in used if one < other and used[one] & used[other]]
    assert not twice and sum(map(len, used.values())) > 15
