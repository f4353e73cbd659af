"""A value arrives as it was sent, and its memory is its own for as long as it lives."""

import multiprocessing
from pathlib import Path

import pytest
import torch

from visus.data import parcels
from visus.data.parcels import Receiver, Sender


@pytest.fixture
def ends():
    ours, theirs = multiprocessing.Pipe()
    return Sender(theirs), Receiver(ours)


@pytest.mark.parametrize("nameless", [True, False])
def test_every_kind_of_tensor_arrives_with_its_order_in_memory(ends, nameless, monkeypatch):
    monkeypatch.setattr(parcels, "NAMELESS", nameless and parcels.NAMELESS)
    sender, receiver = ends
    sent = {
        "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "turned": torch.rand(4, 6).T,
        "part": torch.arange(20).view(4, 5)[1:3, ::2],
        "expanded": torch.ones(1, 3).expand(4, 3),
        "number": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3, 8),
        "bits": torch.tensor([True, False]),
        "half": torch.rand(3).bfloat16(),
        "deep": torch.tensor([1, 65535], dtype=torch.uint16),
        "words": ["a", ("b", None)],
        "list": [torch.ones(2), torch.zeros(3)],
    }
    sender.send(sent)
    got = receiver.receive()
    assert got["words"] == sent["words"] and got.keys() == sent.keys()
    for name in sent.keys() - {"words", "list"}:
        assert got[name].dtype == sent[name].dtype and torch.equal(got[name], sent[name]), name
    assert got["channels last"].is_contiguous(memory_format=torch.channels_last)
    assert got["turned"].stride() == (1, 6)
    assert [part.tolist() for part in got["list"]] == [[1, 1], [0, 0, 0]]


def test_a_value_that_is_kept_is_not_overwritten_and_one_that_is_gone_gives_its_memory(ends):
    sender, receiver = ends
    kept = []
    for number in range(6):
        sender.free(receiver.freed())
        sender.send(torch.full((1000,), number))
        got = receiver.receive()
        if number % 2:
            kept.append(got)
    assert [part[0].item() for part in kept] == [1, 3, 5] and all(len(set(part.tolist())) == 1 for part in kept)
    assert sender._made <= 4 or not parcels.NAMELESS


def test_a_part_of_a_value_keeps_its_memory(ends):
    sender, receiver = ends
    sender.send({"images": torch.zeros(4, 10), "labels": torch.ones(4)})
    row = receiver.receive()["images"][2]
    assert receiver.freed() == []
    del row
    assert receiver.freed() == ([0] if parcels.NAMELESS else [])


def open_files():
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_values_that_grow_replace_their_block_and_leave_no_descriptors_open(ends):
    sender, receiver = ends
    before = open_files()
    for number in range(1, 30):
        sender.free(receiver.freed())
        sender.send(torch.full((number * 5000,), number))
        assert receiver.receive().eq(number).all()
    assert len(receiver._blocks) <= 2
    assert open_files() - before <= 4  # a mapping keeps a descriptor of its own
