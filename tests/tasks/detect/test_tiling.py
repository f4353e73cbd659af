"""Tiles in detection: an object on a seam is found once, the network asked in parts that memory holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visus.core.annotations import Boxes, Stated
from visus.core.errors import UsageError
from visus.core.recipe import Choice, DetectSettings, Draft, Facts, InputSettings, LossSettings, ModelSettings, Recipe
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.tasks import TASKS
from visus.tasks.detect.choices import choices, picture_size, tiling
from visus.tasks.detect.decoding import finish
from visus.tasks.detect.tiling import tiled
from visus.transforms.tiles import Tiling

SIZE = (48, 64)
FRAME = (150, 200)


def planted(*boxes):
    """Return one picture (1, 1, H, W) on which each box has a level of its own, 1, 2, 3 ..."""
    image = torch.zeros(1, 1, *FRAME)
    for level, (x0, y0, x1, y1) in enumerate(boxes, 1):
        image[..., y0:y1, x0:x1] = level
    return image


def look(tiles, limits):
    """Return as candidates, all of one score, what each tile sees of each level; whatever is cut is found cut."""
    assert tiles.shape[1:] == (1, *SIZE) and len(limits) == len(tiles)
    said = []
    for tile in tiles[:, 0]:
        for level in (1, 2, 3):
            y, x = (tile == level).nonzero(as_tuple=True)
            said.append([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0])
    boxes = torch.tensor(said, dtype=torch.float32).reshape(len(tiles), 3, 4)
    scores = torch.where(boxes[..., 2] > 0, 0.9, -1.0)
    return {"boxes": boxes, "scores": scores, "labels": torch.zeros(len(tiles), 3, dtype=torch.int64)}


def found(image, at_once=4, seam=0.25):
    limits = torch.tensor([[0.0, 0, FRAME[1], FRAME[0]]]).expand(len(image), 4)
    raw = tiled(image, limits, Tiling(SIZE, 64, seam), at_once, 100, look)
    return [boxes.int().tolist() for boxes, *_ in finish(raw, DetectSettings())]


def test_a_small_object_is_found_once_and_whole_wherever_it_lies():
    """Every place in steps of 3 pixels, so also every seam, and every corner where four tiles meet."""
    for x in range(0, FRAME[1] - 9, 3):
        for y in range(0, FRAME[0] - 9, 3):
            box = [x, y, x + 8, y + 9]
            assert found(planted(box)) == [[box]], box


def test_neighbours_on_one_seam_are_two_objects():
    (tile, *_) = [tile for tile in Tiling(SIZE, 64, 0.25).cover(FRAME) if tile.x and tile.y]
    boxes = [[tile.x - 5, tile.y, tile.x + 4, tile.y + 8], [tile.x + 5, tile.y, tile.x + 12, tile.y + 8]]
    assert sorted(found(planted(*boxes))[0]) == sorted(boxes)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_how_many_tiles_are_looked_at_at_once_changes_nothing(at_once):
    both = torch.cat([planted([10, 10, 20, 20], [60, 40, 70, 52]), planted([195, 145, 200, 150])])
    assert found(both, at_once) == found(both) and [len(each) for each in found(both)] == [2, 1]


def test_a_picture_has_room_for_the_candidates_of_all_its_tiles():
    boxes = [[10, 10, 20, 20], [60, 40, 70, 52], [150, 120, 160, 130]]
    limits = torch.tensor([[0.0, 0, FRAME[1], FRAME[0]]])
    raw = tiled(planted(*boxes), limits, Tiling(SIZE, 64, 0.25), 4, 1, look)
    ((kept, *_),) = finish(raw, DetectSettings(candidates=1))
    assert sorted(kept.int().tolist()) == boxes


def recipe(tiles=0, **detect):
    return Recipe(
        task="detect", model=ModelSettings(name="anchor_free", options={"width": 8, "normalisation": "layer"}),
        loss=LossSettings(name="varifocal"), input=InputSettings(size=(64, 64), fit="pad", tiles=tiles),
        detect=DetectSettings(least=0.0, **detect), batch=4,
    )  # fmt: skip


def samples(*sizes):
    draw, n = np.random.default_rng(0), len(sizes)
    images = [torch.from_numpy(draw.integers(0, 256, (3, *size), dtype=np.uint8)) for size in sizes]
    none = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    stated = Stated(torch.zeros(0, 4).double(), none.labels, none.crowd, torch.zeros(0))
    return Samples(
        tuple(map(str, range(n))), torch.arange(n), images, {"boxes": [none] * n, "stated": [stated] * n},
        torch.eye(3, dtype=torch.float64).repeat(n, 1, 1), torch.tensor(sizes),
    )  # fmt: skip


def judged(task, shown):
    ready = task.transforms(train=False)(shown, Draws(0, np.zeros(len(shown), np.int64), np.arange(len(shown))))
    batch = task.collate(ready)
    with torch.no_grad():
        raw = task.raw(task.model().eval(), batch)
    return [said.home(frame) for said, frame in zip(task.decode(raw), batch.frames, strict=True)]


def test_what_tiles_find_lies_at_home_in_pictures_of_any_size():
    task = TASKS["detect"](recipe(tiles=128), ("cat", "dog"))
    sizes = (300, 400), (20, 30), (1, 1000)
    for (height, width), said in zip(sizes, judged(task, samples(*sizes)), strict=True):
        assert len(said) and said.boxes.min() >= -1e-4
        assert said.boxes[:, 2].max() <= width + 1e-3 and said.boxes[:, 3].max() <= height + 1e-3


def test_a_picture_is_answered_alike_whatever_shares_its_batch():
    task = TASKS["detect"](recipe(tiles=128), ("cat", "dog"))
    together = judged(task, samples((200, 150), (300, 400)))
    alone = judged(task, samples((200, 150)))
    torch.testing.assert_close(together[0].boxes, alone[0].boxes)


def test_a_picture_of_one_tile_is_answered_as_a_whole_picture_is():
    shown = samples((64, 64))
    whole, tiles = (judged(TASKS["detect"](recipe(tiles=across), ("cat",)), shown)[0] for across in (0, 64))
    torch.testing.assert_close(whole.boxes, tiles.boxes)
    torch.testing.assert_close(whole.scores, tiles.scores)


def facts(objects, size=(3000, 4000), **wanted):
    return Facts("objects", ("cat",), (10,), 100, (size,) * 10, 3, objects=tuple(objects), wanted=wanted)


def chosen(known):
    draft = Draft([Choice(key, value, "the test") for key, value in known.wanted.items()])
    for choice in choices(known):
        draft.choose(choice)
    return draft.finish()


def test_tiles_are_chosen_where_objects_would_be_too_small_to_see():
    known = facts([(30, 24)] * 20 + [(60, 60)] * 2, **{"input.tiles": "auto"})
    width = picture_size(known)[0][1]
    settled = chosen(known)
    scale = settled.input.size[1] / settled.input.tiles
    assert 24 * width / 4000 < 12 <= 24 * scale
    assert settled.input.seam * min(settled.input.size) >= 30 * scale * 0.99
    assert "pixels across or more when whole pictures are read" in settled.origins["input.tiles"]


@pytest.mark.parametrize(
    ("objects", "size"), [([(300, 400)] * 20, (3000, 4000)), ([], (3000, 4000)), ([(4, 4)] * 20, (100, 100))]
)
def test_whole_pictures_are_read_where_that_is_enough(objects, size):
    assert chosen(facts(objects, size, **{"input.tiles": "auto"})).input.tiles == 0


def test_a_stated_size_of_tiles_stands_and_without_a_word_there_are_none():
    tiny = [(30, 24)] * 20
    assert chosen(facts(tiny)).input.tiles == 0 and chosen(facts(tiny)).detect.most == 300
    settled = chosen(facts(tiny, **{"input.tiles": 512, "input.size": [320, 320]}))
    assert settled.input.tiles == 512 and settled.input.size == (320, 320) and settled.detect.most == 3000
    assert chosen(facts(tiny, **{"input.tiles": 512})).input.size == (512, 512)
    assert tiling(facts(tiny), (768, 1024))[0].across > 0


def test_auto_is_nothing_that_a_network_could_be_built_of():
    with pytest.raises(UsageError, match="is decided by data"):
        TASKS["detect"](recipe(tiles="auto"), ("cat",)).transforms(train=True)
