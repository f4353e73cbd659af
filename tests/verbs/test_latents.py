"""Walks in a latent space: they begin and end where they say, and come back to a picture from which they are asked."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.verbs.latents import between, directions, drawn, mixed, project, write_frames


class Painter(nn.Module):
    """A generator of ``layers`` layers: the first style paints the left half, the last one the right half."""

    def __init__(self, layers: int, width: int = 6, side: int = 8, gain: float = 1.0) -> None:
        super().__init__()
        self.layers, self.side, self.gain = layers, side, gain
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.left = nn.Linear(width, 3 * side * side // 2)
            self.right = nn.Linear(width, 3 * side * side // 2)

    def styles(self, latents: Tensor, labels: Tensor, truncation: float = 1.0) -> Tensor:
        scale = torch.tensor([8.0, 3, 1, 1, 1, 1]) if self.layers > 1 else 1
        return (latents * truncation * scale)[:, None].repeat(1, self.layers, 1)

    def draw(self, styles: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        halves = [self.left(styles[:, 0]), self.right(styles[:, -1])]
        return torch.tanh(
            self.gain * torch.cat([half.unflatten(1, (3, self.side, self.side // 2)) for half in halves], 3)
        )


def latents(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


LABELS = torch.zeros(500, dtype=torch.int64)


@pytest.mark.parametrize("layers", [1, 4])
def test_a_walk_begins_and_ends_where_it_is_told_and_passes_through_all_between(layers):
    ends = Painter(layers).styles(latents(3), LABELS[:3])
    way = between(ends, 5)
    assert len(way) == 11
    assert torch.allclose(way[[0, 5, 10]], ends, atol=1e-6)


def test_a_loop_comes_back_without_repeating_its_first_picture():
    ends = latents(3)[:, None]
    way = between(ends, 4, loop=True)
    assert len(way) == 12
    assert torch.allclose(way[[0, 4, 8]], ends, atol=1e-6)


def test_latents_keep_their_length_on_the_way_and_turn_evenly():
    ends = nn.functional.normalize(latents(2), dim=1)[:, None] * 7
    way = between(ends, 6)[:, 0]
    assert way.norm(dim=1) == pytest.approx(torch.full((7,), 7.0), abs=1e-4)
    turns = torch.arccos((way[1:] * way[:-1]).sum(1) / 49)
    assert turns == pytest.approx(turns.mean().expand(6), abs=1e-4)


def test_the_vector_of_a_class_beside_a_latent_goes_straight_and_lengthens_nothing():
    drawn = nn.functional.normalize(latents(2), dim=1)
    way = between(torch.cat([drawn, torch.tensor([[1.0, 2.0], [1.0, 4.0]])], 1)[:, None], 4, latent=6)[:, 0]
    assert way[:, :6].norm(dim=1) == pytest.approx(torch.ones(5), abs=1e-5)
    assert way[:, 6:].tolist() == [[1, 2], [1, 2.5], [1, 3], [1, 3.5], [1, 4]]


def test_styles_of_several_layers_go_straight():
    ends = Painter(4).styles(latents(2), LABELS[:2])
    assert torch.allclose(between(ends, 2)[1], ends.mean(0), atol=1e-6)


def test_opposite_latents_are_joined_straight_and_stay_finite():
    ends = torch.stack([latents(1), -latents(1)])
    assert torch.isfinite(between(ends, 4)).all()


def test_mixing_takes_some_layers_of_the_column_and_the_others_of_the_row():
    painter = Painter(4)
    rows, columns = (painter.styles(latents(2, seed), LABELS[:2]) for seed in (1, 2))
    both = mixed(rows, columns, range(2, 4))
    pictures = [painter.draw(styles) for styles in (both[1, 0][None], rows[1:], columns[:1])]
    assert torch.equal(pictures[0][..., :4], pictures[1][..., :4])
    assert torch.equal(pictures[0][..., 4:], pictures[2][..., 4:])


@pytest.mark.parametrize(("layers", "taken"), [(1, range(1)), (4, range(2, 5)), (4, range(2, 2))])
def test_mixing_what_is_not_there_is_refused(layers, taken):
    styles = Painter(layers).styles(latents(2), LABELS[:2])
    with pytest.raises(UsageError, match=r"nothing can be mixed|layers 0:4"):
        mixed(styles, styles, taken)


def test_main_directions_of_styles_are_their_principal_components():
    found = directions(Painter(3), latents(500), LABELS, 2)
    steps = found.steps[:, 0]
    assert steps[0].abs().argmax() == 0
    assert steps[1].abs().argmax() == 1
    assert steps.norm(dim=1) == pytest.approx(torch.tensor([8.0, 3.0]), rel=0.1)
    assert found.shares[0] == pytest.approx(64 / 77, abs=0.03)


def test_main_directions_of_latents_are_those_along_which_pictures_change_most():
    painter = Painter(1, gain=0.01)  # nearly linear, so that the directions are its singular vectors
    found = directions(painter, latents(500), LABELS, 6)
    steps = nn.functional.normalize(found.steps, dim=2)
    changes = (painter.draw(steps) - painter.draw(-steps)).detach().flatten(1).norm(dim=1)
    weights = torch.cat([painter.left.weight, painter.right.weight]).detach()
    assert changes == pytest.approx(2 * 0.01 * torch.linalg.svdvals(weights), rel=0.05)
    assert (found.shares.diff() <= 0).all()


@pytest.mark.parametrize("layers", [1, 4])
def test_a_picture_of_the_generator_is_found_again(layers):
    painter = Painter(layers)
    target = painter.draw(painter.styles(latents(1, 77), LABELS[:1])).detach()
    found = project(painter, target, painter.styles(latents(64), LABELS[:64]), steps=300)
    assert found.distance < 2
    assert found.distance < found.before / 10
    assert (found.image - target).square().mean().sqrt() * 127.5 == pytest.approx(found.distance, abs=1e-4)


def test_a_search_counts_every_time_that_pictures_are_drawn():
    painter, told = Painter(2), []
    target = painter.draw(painter.styles(latents(1, 77), LABELS[:1])).detach()
    starts = painter.styles(latents(40), LABELS[:40])
    project(painter, target, starts, steps=3, watch=lambda done, of: told.append((done, of)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]  # twice to begin with, 32 at once, then three steps


def test_a_search_is_never_worse_than_where_it_began_and_leaves_the_generator_alone():
    painter = Painter(2)
    before = {name: value.clone() for name, value in painter.state_dict().items()}
    target = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = project(painter, target, painter.styles(latents(8), LABELS[:8]), steps=20)
    assert found.distance <= found.before * 1.2  # of three scales, pixels alone are one
    assert all(torch.equal(value, before[name]) for name, value in painter.state_dict().items())
    assert all(parameter.grad is None for parameter in painter.parameters())


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_holds_every_picture_and_repeats(tmp_path, kind):
    painter = Painter(1)
    frames = drawn(painter, between(latents(2)[:, None], 6))
    write_frames(tmp_path / f"walk.{kind}", list(frames), 0.1)
    with Image.open(io.BytesIO((tmp_path / f"walk.{kind}").read_bytes())) as image:
        image.load()
        assert image.n_frames == 7
        assert image.info["loop"] == 0
        assert image.info["duration"] == 100


def test_a_lossless_animation_shows_the_pictures_as_they_are(tmp_path):
    frames = drawn(Painter(1), latents(3)[:, None])
    write_frames(tmp_path / "walk.webp", list(frames))
    with Image.open(tmp_path / "walk.webp") as image:
        image.seek(2)
        assert (np.asarray(image.convert("RGB")) == frames[2]).all()


def test_a_strip_shows_all_side_by_side(tmp_path):
    write_frames(tmp_path / "walk.png", list(drawn(Painter(1), latents(4)[:, None])))
    with Image.open(tmp_path / "walk.png") as image:
        assert image.size == (4 * 10 - 2, 8)


def test_another_kind_of_file_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match=r"\.gif or \.webp or \.png"):
        write_frames(tmp_path / "walk.mov", list(drawn(Painter(1), latents(2)[:, None])))
    assert not list(tmp_path.iterdir())
