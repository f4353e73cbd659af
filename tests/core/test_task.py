import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visus.core.task import Batch


def batch(n=7, seed=5):
    return Batch(
        inputs=(torch.arange(n)[:, None, None, None].expand(n, 1, 2, 2).clone(), torch.arange(n)),
        targets={"label": torch.arange(n), "names": [f"n{i}" for i in range(n)]},
        ids=tuple(f"id{i}" for i in range(n)),
        indices=torch.arange(n) + 100,
        frames=torch.eye(3).expand(n, 3, 3),
        seed=seed,
        whole=n,
    )


@given(st.integers(1, 12), st.integers(1, 14))
def test_the_parts_of_a_batch_are_the_batch(n, micro):
    parts = batch(n).split(micro)
    assert max(len(part) for part in parts) <= micro
    assert [name for part in parts for name in part.ids] == list(batch(n).ids)
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), batch(n).inputs[0])
    assert torch.equal(torch.cat([part.targets["label"] for part in parts]), batch(n).targets["label"])
    assert [name for part in parts for name in part.targets["names"]] == batch(n).targets["names"]
    assert torch.equal(torch.cat([part.indices for part in parts]), batch(n).indices)


@given(st.integers(1, 7), st.integers(1, 7))
def test_a_part_of_a_part_remembers_where_it_stood_in_the_whole(first, second):
    for part in batch().split(first):
        for smaller in part.split(second):
            assert [smaller.start + row for row in range(len(smaller))] == smaller.indices.sub(100).tolist()
            assert smaller.whole == 7


@pytest.mark.parametrize("micro", [1, 2, 3, 7])
def test_a_sample_draws_the_same_however_the_batch_is_split(micro):
    def draw(part):
        return [torch.rand(3, generator=part.generator("noise", row)) for row in range(len(part))]

    whole = torch.stack(draw(batch()))
    split = torch.stack([numbers for part in batch().split(micro) for numbers in draw(part)])
    assert torch.equal(split, whole)
    assert len({tuple(row.tolist()) for row in whole}) == 7


def test_another_step_and_another_purpose_draw_other_numbers():
    numbers = {
        torch.rand((), generator=batch(seed=seed).generator(name, 0)).item() for seed in (1, 2) for name in ("a", "b")
    }
    assert len(numbers) == 4


def test_a_batch_moves_with_its_targets_and_takes_the_memory_format():
    moved = batch().to(torch.device("cpu"), torch.channels_last)
    assert moved.inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert moved.inputs[1].tolist() == list(range(7))
    assert moved.targets["names"] == batch().targets["names"]
    assert moved.start == batch().start


@pytest.mark.device
def test_a_batch_moves_to_the_accelerator_whole():
    moved = batch().to(torch.device("cuda"))
    assert {tensor.device.type for tensor in (*moved.inputs, moved.targets["label"])} == {"cuda"}


@pytest.mark.parametrize("rows", range(2, 40))
@pytest.mark.parametrize("most", [3, 4, 7, 16])
def test_no_part_is_a_single_row_and_none_is_too_large(rows, most):
    sizes = [len(part) for part in batch(rows).split(most)]
    assert sum(sizes) == rows
    assert 2 <= min(sizes) <= max(sizes) <= most


@pytest.mark.parametrize("rows", [4, 12, 30, 32])
def test_parts_are_whole_groups_but_for_what_is_left_over(rows):
    sizes = [len(part) for part in batch(rows).split(12, group=4)]
    assert sum(sizes) == rows
    assert max(sizes) <= 12
    assert all(size % 4 == 0 for size in sizes[:-1])
