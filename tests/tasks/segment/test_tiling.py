"""Tiles in segmentation: no seam is seen, memory holds a strip, and judging and predicting say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from visus.core.annotations import ClassMap, StatedMap
from visus.core.errors import UsageError
from visus.core.pixels import IGNORE
from visus.core.recipe import Choice, Draft, Facts
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.tasks.segment.choices import choices
from visus.tasks.segment.task import Segment
from visus.tasks.segment.tiling import read_in_tiles
from visus.transforms.tiles import Tiling

CLASSES = ("sky", "road", "car")
SIZE = (32, 64)
TILING = Tiling(SIZE, 64, 0.25)
STAY = torch.eye(3, dtype=torch.float64)
SHAPES = [(150, 200), (200, 150), (32, 64), (33, 65), (32, 300), (300, 64)]


def picture(size, channels=3):
    return torch.randn(channels, *size, generator=torch.Generator().manual_seed(sum(size)))


def read(image, look, *, frame=STAY, size=None, tiling=TILING, at_once=4):
    return read_in_tiles(image, frame, size or tuple(image.shape[1:]), tiling, at_once, look)


def said(logits):
    """Return class and probability of a whole picture's logits (1, K, H, W)."""
    sure, classes = logits[0].softmax(0).max(0)
    return classes.to(torch.uint8), sure


def padded(tiles):
    """Return the answer of a network that sees 12 pixels far, and takes what is beyond a tile's edge for black."""
    return 4 * F.avg_pool2d(tiles, 25, 1, 12)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("seam", [0.0, 0.25, 0.5])
def test_a_network_that_looks_at_single_pixels_says_the_same_of_tiles_as_of_the_whole(size, seam):
    image = picture(size)
    classes, scores = read(image, lambda tiles: tiles.log_softmax(1), tiling=Tiling(SIZE, 64, seam))
    whole, sure = said(image[None])
    assert torch.equal(classes, whole)
    torch.testing.assert_close(scores.float(), sure, atol=1e-3, rtol=1e-3)


def test_a_network_that_moves_with_its_picture_says_the_same_of_tiles_as_of_the_whole_but_near_their_edges():
    mix = nn.Conv2d(3, 3, 3, padding=1)
    image = picture((150, 200))
    with torch.no_grad():
        classes, _ = read(image, lambda tiles: mix(tiles).log_softmax(1))
        whole, _ = said(mix(image[None]))
    near = torch.zeros(150, 200, dtype=torch.bool)
    for tile in TILING.cover((150, 200)):
        edge = torch.ones(SIZE, dtype=torch.bool)
        edge[1:-1, 1:-1] = False
        near[tile.y : tile.y + 32, tile.x : tile.x + 64] |= edge
    assert torch.equal(classes[~near], whole[~near])
    assert (classes[near] == whole[near]).float().mean() > 0.99  # what a tile's edge says weighs next to nothing


def test_the_step_across_a_blended_seam_is_a_fraction_of_that_across_a_hard_one():
    """Hard ones are where each pixel's answer is that of the tile in whose own part it lies."""
    image, tiling = picture((150, 200)) + torch.tensor([1.0, 0.0, 0.5]).reshape(3, 1, 1), Tiling((64, 64), 64, 0.25)
    true = padded(image[None])[0].softmax(0)
    hard = torch.zeros_like(true)
    for tile in tiling.cover((150, 200)):  # row by row: the later of two covers what both answer for
        here = padded(image[None, :, tile.y : tile.y + 64, tile.x : tile.x + 64])[0].softmax(0)
        left, top = (max(0, int(side)) if side > 0 else 0 for side in tile.own[:2])
        hard[:, top : tile.y + 64, left : tile.x + 64] = here[:, top - tile.y :, left - tile.x :]
    classes, scores = read(image, lambda tiles: padded(tiles).log_softmax(1), tiling=tiling)
    assert torch.equal(classes, true.argmax(0).to(torch.uint8)), "all show one class, so scores can be compared"
    off, hardly_off = (each - true.amax(0) for each in (hard.amax(0), scores.float()))
    steps, small_steps = (max(each.diff(dim=0).abs().max(), each.diff(dim=1).abs().max()) for each in (off, hardly_off))
    assert small_steps < 0.3 * steps  # it is a step that is seen as a seam


def test_between_tiles_that_say_other_things_the_answer_goes_over_pixel_by_pixel():
    turns = iter([0.6, 0.9] * 60)

    def look(tiles):
        share = torch.tensor([next(turns) for _ in tiles]).reshape(-1, 1, 1, 1).expand(-1, 1, *SIZE)
        return torch.cat([share, 1 - share], 1).log()

    _, scores = read(picture((150, 200)), look)
    steps = max(scores.float().diff(dim=axis).abs().max() for axis in (0, 1))
    assert scores.max() > 0.89 and scores.min() < 0.61 and steps < 0.3 * (0.9 - 0.6)


@pytest.mark.parametrize(("stretch", "size"), [(2.0, (300, 400)), (0.5, (75, 100)), (1.7, (255, 340))])
def test_strips_come_home_as_the_whole_does(stretch, size):
    image = F.interpolate(picture((15, 20))[None], (150, 200), mode="bilinear")[0] * 3
    frame = torch.diag(torch.tensor([stretch, stretch, 1], dtype=torch.float64))
    for one, home in ((image, size), (image.mT, size[::-1])):
        classes, scores = read(one.contiguous(), lambda tiles: tiles.log_softmax(1), frame=frame, size=home)
        (whole,) = task().decode({"logits": one[None], "originals": torch.tensor([home])})
        at_home = whole.home(frame)
        assert (classes == at_home.class_map).float().mean() > 0.999
        torch.testing.assert_close(scores.float(), at_home.scores.float(), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_how_many_tiles_are_looked_at_at_once_changes_nothing(at_once):
    image = picture((150, 200))
    few, many = (read(image, lambda tiles: padded(tiles).log_softmax(1), at_once=n) for n in (at_once, 4))
    assert torch.equal(few[0], many[0]) and torch.equal(few[1], many[1])


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest floating-point tensor has that anything makes meanwhile."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor) and each.is_floating_point():
                self.numbers = max(self.numbers, each.untyped_storage().nbytes() // each.element_size())
        return made


@pytest.mark.parametrize("size", [(96, 3000), (3000, 96)])
def test_however_long_a_picture_is_only_the_scores_of_a_strip_are_there_at_once(size):
    k, image = 40, picture(size, 1)
    with Largest() as made:
        classes, _ = read(image, lambda tiles: tiles.expand(-1, k, -1, -1).log_softmax(1))
    assert classes.shape == size
    assert made.numbers <= 1.5 * k * 64 * 96  # the last line of a strip stays, until the next has come
    assert made.numbers < k * 96 * 3000 / 20


def test_pixels_of_which_the_network_says_no_numbers_have_no_class():
    image = picture((150, 200))
    image[:, 40, 50] = float("nan")
    classes, scores = read(image, lambda tiles: tiles.log_softmax(1))
    assert classes[40, 50] == IGNORE and scores[40, 50] == 0
    assert (classes == IGNORE).sum() == 1


# The task


def task(**wanted):
    settings = {"task": "segment", "input.size": SIZE, "input.fit": "pad", "input.mean": [0.0], "input.std": [1.0]}
    draft = Draft(Choice(key, value, "the test") for key, value in {**settings, **wanted}.items())
    return Segment(draft.finish(), CLASSES)


def samples(*sizes):
    draw, n = np.random.default_rng(0), len(sizes)
    images = [torch.from_numpy(draw.integers(0, 256, (3, *size), dtype=np.uint8)) for size in sizes]
    maps = [image.argmax(0).to(torch.uint8) for image in images]
    columns = {"class_map": list(map(ClassMap, maps)), "stated_map": list(map(StatedMap, maps))}
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    return Samples(tuple(map(str, range(n))), torch.arange(n), images, columns, frames, torch.tensor(sizes))


def judged(of, shown, model):
    ready = of.transforms(train=False)(shown, Draws(0, np.zeros(len(shown), np.int64), np.arange(len(shown))))
    batch = of.collate(ready)
    with torch.no_grad():
        raw = of.raw(model, batch)
    return raw, batch, [each.home(frame) for each, frame in zip(of.decode(raw), batch.frames, strict=True)]


def test_pictures_of_any_sizes_are_answered_in_tiles_at_their_own_sizes_and_judged_by_what_was_answered():
    of, sizes = task(**{"input.tiles": 64}), ((100, 150), (20, 30), (1, 300))
    shown = samples(*sizes)
    raw, batch, found = judged(of, shown, nn.Identity())
    metric = of.metric()
    metric.update(raw, batch)
    for stated, each in zip(shown.columns["stated_map"], found, strict=True):
        assert torch.equal(each.class_map, stated.classes)
    assert metric.compute()["pixel_accuracy"].value == 1


def test_a_tile_of_other_pixels_reads_the_picture_at_its_own_scale():
    of = task(**{"input.tiles": 128})
    _, batch, (said,) = judged(of, samples((200, 300)), nn.Identity())
    assert batch.inputs[0].shape[2:] == (100, 150) and said.class_map.shape == (200, 300)


def test_a_picture_of_one_tile_is_answered_as_a_whole_picture_is():
    model = nn.Conv2d(3, 3, 3, padding=1)
    whole, tiles = (judged(task(**{"input.tiles": across}), samples(SIZE), model)[2][0] for across in (0, 64))
    assert torch.equal(whole.class_map, tiles.class_map)
    torch.testing.assert_close(whole.scores, tiles.scores, atol=1e-3, rtol=1e-3)


def test_training_shows_tiles_with_their_part_of_the_map():
    of = task(**{"input.tiles": 64})
    shown = samples((100, 150), (40, 300))
    moved = of.transforms(True)(shown, Draws(0, np.zeros(2, np.int64), np.arange(2)))
    batch = of.collate(moved)
    assert batch.inputs[0].shape == (2, 3, *SIZE) and batch.targets["classes"].shape == (2, *SIZE)
    assert torch.equal(batch.inputs[0].argmax(1).to(torch.uint8), batch.targets["classes"])


def facts(size, **wanted):
    return Facts("class_map", CLASSES, (9, 9, 9), 100, (size,) * 10, 3, wanted=wanted)


def chosen(known):
    draft = Draft([Choice(key, value, "the test") for key, value in known.wanted.items()])
    for choice in choices(known):
        draft.choose(choice)
    return draft.finish()


def test_tiles_are_chosen_where_whole_pictures_would_be_shrunk_much():
    large, small = (chosen(facts(size, **{"input.tiles": "auto"})) for size in ((3000, 4000), (360, 480)))
    assert large.input.tiles == large.input.size[1] == large.input.size[0] == 512
    assert "lose what is thin" in large.origins["input.tiles"]
    assert small.input.tiles == 0 and small.input.size == (352, 480)
    assert chosen(facts((3000, 4000))).input.tiles == 0


def test_a_width_of_tiles_is_read_at_its_own_scale_as_far_as_the_machine_has_time():
    assert chosen(facts((3000, 4000), **{"input.tiles": 320})).input.size == (320, 320)
    assert chosen(facts((3000, 4000), **{"input.tiles": 2000})).input.size == (512, 512)


def test_tiles_that_data_should_decide_are_refused_where_none_did():
    with pytest.raises(UsageError, match="decided by data"):
        task(**{"input.tiles": "auto"}).transforms(False)


def test_tiles_are_read_in_bfloat16_too():
    of, shown, model = task(**{"input.tiles": 64, "segment.scales": [0.5, 1.0]}), samples((100, 70)), nn.Conv2d(3, 3, 1)
    _, _, (said,) = judged(of, shown, model)
    with torch.autocast("cpu", torch.bfloat16):
        _, _, (rough,) = judged(of, shown, model)
    assert (said.class_map == rough.class_map).float().mean() > 0.97


def test_what_is_read_in_tiles_has_no_scores_to_be_explained():
    of = task(**{"input.tiles": 64})
    raw, _, _ = judged(of, samples((40, 70)), nn.Identity())
    with pytest.raises(UsageError, match="its scores are not kept"):
        of.targets(raw)
