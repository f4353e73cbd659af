"""Painting in tiles: the same picture as at once, for every network of the catalogue."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.stylizers import STYLIZERS
from visus.verbs.one_pass import in_tiles
from visus.verbs.windows import windows


def pictures(*shape, seed=0):
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.mark.parametrize("name", STYLIZERS)
def test_a_picture_painted_in_tiles_is_that_painted_at_once(name):
    network = build(ModelSettings(name=name, options={"width": 4, "blocks": 1}), 0, 3, (32, 32)).eval()
    images = pictures(1, 3, 152, 204) + torch.linspace(-0.5, 0.5, 204)  # no part of it is like the whole
    style = network.described(pictures(1, 3, 40, 40, seed=1)) if STYLIZERS[name].any_style else None

    def forward(part):
        with torch.no_grad():
            return network(part) if style is None else network.painted(part, style)

    told = []
    found = in_tiles(forward, network, images, 62, lambda done, of: told.append((done, of)))
    torch.testing.assert_close(found, forward(images), atol=2e-5, rtol=0)
    assert told[-1][0] == told[-1][1] == len(told)
    assert all(layer.held is None for layer in network.modules() if hasattr(layer, "held"))


def test_a_picture_of_one_tile_is_looked_at_once():
    network = build(ModelSettings(name="johnson", options={"width": 4, "blocks": 1}), 0, 3, (32, 32)).eval()
    asked, told = [], []
    in_tiles(lambda part: asked.append(part) or part, network, pictures(1, 3, 40, 60), 64, lambda *at: told.append(at))
    assert len(asked) == 1 and told == [(1, 1)]


def test_tiles_cover_a_picture_once_and_see_their_neighbours():
    parts = windows((120, 60), 30, 9, 4)
    seen = torch.zeros(120, 60, dtype=torch.int64)
    for part in parts:
        seen[part.own] += 1
    assert (seen == 1).all()
    assert parts[0].own == (slice(0, 32), slice(0, 32)) and parts[0].seen == (slice(0, 44), slice(0, 44))
    assert parts[3].own == (slice(32, 64), slice(32, 60)) and parts[3].seen == (slice(20, 76), slice(20, 60))
    assert parts[3].inner(4) == (slice(3, 11), slice(3, None))


@given(st.integers(65, 400), st.integers(16, 200), st.integers(0, 50), st.sampled_from([4, 16]))
def test_what_a_tile_sees_begins_at_the_stride_and_leaves_the_remainder_of_the_picture(side, tile, reach, stride):
    for part in windows((side, side), tile, reach, stride):
        for own, seen in zip(part.own, part.seen, strict=True):
            assert own.start % stride == seen.start % stride == 0 and (seen.stop - side) % stride == 0
            assert seen.start <= max(0, own.start - reach) and seen.stop >= min(side, own.stop + reach)
            assert own.stop - own.start <= tile + stride
