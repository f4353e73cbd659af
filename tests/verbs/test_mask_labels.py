"""``visus check --labels`` on masks: mistakes put into drawn scenes are found by networks trained on the others."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.verbs.segmenting import TINY, write_scenes

import visus

WRONG = (6, 12, 18, 24)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Return what is found where the rectangle of each of four pictures is called otherwise than it looks."""
    root = tmp_path_factory.mktemp("masks")
    data = write_scenes(root / "data", train=36)
    for i in WRONG:
        path = data / "masks" / "train" / f"{i:02d}.png"
        mask = Image.open(path)
        changed = Image.fromarray(np.array([0, 2, 1], np.uint8)[np.array(mask)])
        changed.putpalette(mask.getpalette())
        changed.save(path)
    return visus.check(data, labels=True, out=root / "found", set={**TINY, "epochs": 12.0, "batch": 4})


def test_wrong_regions_are_doubted_first(checked):
    (finding,) = (finding for finding in checked.findings if finding.code == "CHECK-065")
    first = finding.items[: len(WRONG)]
    assert first[0].index in WRONG and len({item.index for item in first} & set(WRONG)) >= len(WRONG) / 2
    assert {first[0].more["label"], first[0].more["suggested"]} == {"red", "blue"}


def test_the_page_outlines_regions_and_no_fixes_are_offered(checked):
    assert '<li class="suspected">looks otherwise than it is labelled' in checked.page.read_text()
    assert checked.fixes is None
