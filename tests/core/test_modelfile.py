import json
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from visus.core.errors import DataError, IntegrityError, VisusError
from visus.core.modelfile import FORMAT, Architecture, Card, checksum, read_card, read_model, write_model
from visus.core.recipe import InputSettings, Recipe


def card(**changes):
    values = {
        "visus": "0.1.0",
        "task": "classify",
        "architecture": Architecture(name="cnn", options={"widths": [4, 8]}, outputs=2),
        "classes": ("cat", "dog"),
        "input": InputSettings(size=(8, 8), channels=1),
        "recipe": {"optim.lr": 1e-8, "seed": 3},
        "scores": {"accuracy": {"value": 0.75, "low": 0.5, "high": 0.9, "n": 12}},
        "step": 40,
    }
    return Card(**values | changes)


def tensors():
    return {
        "stem.weight": torch.linspace(-1, 1, 18).reshape(2, 1, 3, 3),
        "stem.bias": torch.tensor([1.0, -2.0], dtype=torch.float64),
        "norm.batches": torch.tensor(7),
        "half": torch.tensor([0.5, 1.5, 2.5], dtype=torch.bfloat16),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
    }


@pytest.fixture
def model(tmp_path):
    write_model(tmp_path / "m.safetensors", tensors(), card())
    return tmp_path / "m.safetensors"


def test_weights_and_card_come_back_as_they_went(model):
    back, described = read_model(model)
    assert described == card()
    assert back.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_the_card_can_be_read_without_the_weights(model):
    whole = model.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    model.write_bytes(whole[:start] + bytes(len(whole) - start))  # every weight zeroed, the card untouched
    assert read_card(model) == card()


def test_other_tools_read_the_weights_and_find_the_card_as_json(model):
    assert torch.equal(load_file(model)["stem.weight"], tensors()["stem.weight"])
    header = json.loads(model.read_bytes()[8 : 8 + int.from_bytes(model.read_bytes()[:8], "little")])
    assert json.loads(header["__metadata__"]["visus"])["classes"] == ["cat", "dog"]


def test_the_same_model_is_the_same_bytes_in_another_process(model, tmp_path):
    """Neither the seed of Python's hashes nor the order in which tensors are given shows."""
    script = (
        "import sys; from pathlib import Path; from visus.core.modelfile import *\n"
        "tensors, card = read_model(Path(sys.argv[1]))\n"
        "write_model(Path(sys.argv[2]), dict(reversed(tensors.items())), card)"
    )
    again = tmp_path / "again.safetensors"
    subprocess.run([sys.executable, "-c", script, model, again], check=True)
    assert again.read_bytes() == model.read_bytes()


def test_writing_many_times_gives_the_same_bytes(model, tmp_path):
    for i in range(20):
        write_model(tmp_path / f"{i}.safetensors", tensors(), card())
        assert (tmp_path / f"{i}.safetensors").read_bytes() == model.read_bytes()


def test_tied_and_strided_weights_are_written_whole(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    write_model(tmp_path / "m.safetensors", {"a": weight, "b": weight, "c": weight.T, "d": weight[0]}, card())
    back, _ = read_model(tmp_path / "m.safetensors")
    assert torch.equal(back["a"], weight)
    assert torch.equal(back["b"], weight)
    assert torch.equal(back["c"], weight.T)
    assert torch.equal(back["d"], weight[0])


def test_a_card_holds_names_in_broken_utf_8_and_scores_that_are_not_defined(tmp_path):
    odd = card(classes=("caf\udce9", "日本", 'a"b\\c\n'), scores={"auc": {"value": float("nan")}})
    write_model(tmp_path / "m.safetensors", {}, odd)
    back = read_card(tmp_path / "m.safetensors")
    assert back.classes == odd.classes
    assert np.isnan(back.scores["auc"]["value"])


def test_a_whole_recipe_fits_in_the_card(tmp_path):
    write_model(tmp_path / "m.safetensors", {}, card(recipe=Recipe().flat()))
    assert read_card(tmp_path / "m.safetensors").recipe == Recipe().flat()


def test_a_card_has_no_unknown_entries():
    with pytest.raises(ValidationError, match="colour"):
        card(colour="red")


def refused(path):
    """Return what reading a model file ends in; anything but an error of ours goes through."""
    try:
        read_model(path)
    except VisusError as error:
        assert error.code in {"MODEL-001", "MODEL-002", "MODEL-003", "MODEL-004", "MODEL-005"}
        assert path.name in str(error)
        assert len(str(error).splitlines()) <= 5
        return error.code
    return ""


def test_a_flipped_bit_is_found_wherever_it_is(model):
    """One bit of every byte of the file: length, header, card, checksums, weights."""
    whole = bytearray(model.read_bytes())
    rng = np.random.default_rng(0)
    unseen = []
    for place, bit in enumerate(rng.integers(0, 8, len(whole))):
        whole[place] ^= 1 << bit
        model.write_bytes(whole)
        if not refused(model):
            unseen.append((place, int(bit)))
        whole[place] ^= 1 << bit
    assert len(whole) > 1000
    assert unseen == []


@pytest.mark.slow
def test_every_flipped_bit_is_found(model):
    whole = bytearray(model.read_bytes())
    unseen = []
    for place in range(len(whole)):
        for bit in range(8):
            whole[place] ^= 1 << bit
            model.write_bytes(whole)
            if not refused(model):
                unseen.append((place, bit))
            whole[place] ^= 1 << bit
    assert unseen == []


def test_a_truncated_file_is_found_at_every_length(model):
    whole = model.read_bytes()
    unseen = []
    for length in range(0, len(whole), 3):
        model.write_bytes(whole[:length])
        if not refused(model):
            unseen.append(length)
    assert unseen == []


def test_a_page_of_zeros_and_a_few_bytes_too_many_are_found(model):
    whole = model.read_bytes()
    for start in range(0, len(whole), 64):
        model.write_bytes(whole[:start] + bytes(len(whole[start : start + 64])) + whole[start + 64 :])
        assert refused(model)
    model.write_bytes(whole + b"\0")
    assert refused(model)


def test_two_cards_cannot_be_exchanged(model, tmp_path):
    """A header of one file on the weights of another: both are whole, together they are not."""
    other = tmp_path / "other.safetensors"
    write_model(other, {name: tensor * 0 for name, tensor in tensors().items()}, card(classes=("dog", "cat")))
    head = 8 + int.from_bytes(other.read_bytes()[:8], "little")
    model.write_bytes(other.read_bytes()[:head] + model.read_bytes()[head:])
    assert refused(model) == "MODEL-004"


def test_a_damaged_file_is_exit_6_and_a_missing_one_exit_2(model, tmp_path):
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(IntegrityError) as damaged:
        read_model(model)
    with pytest.raises(DataError) as missing:
        read_model(tmp_path / "nowhere.safetensors")
    assert (damaged.value.exit, missing.value.exit) == (6, 2)


def raw(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(**changes):
    return {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes}


HOSTILE = {
    "nothing": b"",
    "one byte": b"\0",
    "a pickle": pickle.dumps(os.system),
    "a zip": b"PK\x03\x04" + bytes(100),
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a header of a terabyte": struct.pack("<Q", 2**40) + b"{}",
    "a header longer than the file": struct.pack("<Q", 100) + b"{}",
    "no header": struct.pack("<Q", 0),
    "a header that is no JSON": raw(b"{{{{"),
    "a header that is a list": raw([]),
    "a header nested too deep": raw(b"[" * 100_000),
    "a header in latin-1": raw(b'{"\xe9": 1}'),
    "offsets that are negative": raw(entry(data_offsets=[-4, 0]), bytes(4)),
    "offsets beyond the end": raw(entry(data_offsets=[0, 4000]), bytes(4)),
    "offsets that overlap": raw(entry() | {"v": entry()["w"]}, bytes(4)),
    "offsets with a hole": raw(entry(data_offsets=[4, 8]), bytes(8)),
    "a shape that overflows": raw(entry(shape=[2**62, 2**62]), bytes(4)),
    "a shape that lies": raw(entry(shape=[2]), bytes(4)),
    "a type that does not exist": raw(entry(dtype="F31"), bytes(4)),
    "no card": raw(entry(), bytes(4)),
    "a card that is no text": raw({"__metadata__": {"visus": 3}}),
    "a card that is no JSON": raw({"__metadata__": {"visus": "{"}}),
    "a card that is a number": raw({"__metadata__": {"visus": "3"}}),
    "a card without a seal": raw({"__metadata__": {"visus": json.dumps({"task": "classify"})}}),
    "a card with half a seal": raw({"__metadata__": {"visus": '{"a":1,"sha256":["'}}),
    "a card with a seal of numbers": raw({"__metadata__": {"visus": '{"a":1,"sha256":[1,2]}'}}),
    "a card with a seal of nothing": raw({"__metadata__": {"visus": '{"a":1,"sha256":[]}'}}),
    "a card nested too deep": raw({"__metadata__": {"visus": '{"a":1,"sha256":' + "[" * 100_000}}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_in_our_words(tmp_path, what):
    (tmp_path / "m.safetensors").write_bytes(HOSTILE[what])
    assert refused(tmp_path / "m.safetensors")


def sealed(described):
    """Return a file with a card that its seal vouches for, so that only the card itself can be at fault."""
    from visus.core.modelfile import _seal

    text = described if isinstance(described, str) else json.dumps(described)
    return raw({"__metadata__": {"visus": _seal(text, checksum({}))}})


@pytest.mark.parametrize(
    "described",
    [
        {},
        {"format": "one"},
        {"format": None},
        {"format": FORMAT},
        json.loads(card().model_dump_json()) | {"run": "__import__('os').system('id')"},
        json.loads(card().model_dump_json()) | {"classes": 3},
        json.loads(card().model_dump_json()) | {"input": {"size": [0, 0]}},
        '{"format":1,"a":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"format":' + "1" * 10_000 + "}",
    ],
    ids=range(9),
)
def test_a_card_that_vouches_for_nonsense_is_damaged(tmp_path, described):
    (tmp_path / "m.safetensors").write_bytes(sealed(described))
    assert refused(tmp_path / "m.safetensors") == "MODEL-004"


def test_a_file_of_a_later_format_says_so(tmp_path):
    later = json.loads(card().model_dump_json()) | {"visus": "9.0.0", "format": FORMAT + 1, "news": True}
    (tmp_path / "m.safetensors").write_bytes(sealed(later))
    with pytest.raises(IntegrityError, match=r"visus 9\.0\.0, which is newer") as newer:
        read_model(tmp_path / "m.safetensors")
    assert (newer.value.exit, newer.value.fix) == (6, "update visus")


def test_a_file_of_other_tools_is_answered_with_the_verb_that_adopts_it(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "theirs.safetensors")
    (tmp_path / "theirs.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    for name, code in (("theirs.safetensors", "MODEL-003"), ("theirs.pt", "MODEL-002")):
        with pytest.raises(DataError) as foreign:
            read_card(tmp_path / name)
        assert foreign.value.code == code
        assert "visus adopt" in foreign.value.fix


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no fifo")
def test_a_fifo_and_a_folder_are_no_model_files_and_nothing_hangs(tmp_path):
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert refused(tmp_path / "fifo.safetensors") == refused(tmp_path / "folder.safetensors") == "MODEL-001"


def test_a_run_without_a_model_is_not_a_file_that_is_missing(tmp_path):
    (tmp_path / "recipe.yaml").write_text("task: classify")
    with pytest.raises(DataError, match="this run has not saved a model yet") as error:
        read_model(tmp_path / "best.safetensors")
    assert error.value.fix == f"visus resume {tmp_path}"
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(DataError, match="is no model file"):
        read_model(tmp_path / "folder.safetensors")


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(tmp_path):
    """As when a model is used while its run still goes on."""
    path = tmp_path / "m.safetensors"
    script = (
        "import sys, torch; from pathlib import Path; from visus.core.modelfile import *\n"
        "path = Path(sys.argv[1]); tensors, card = read_model(path)\n"
        "for step in range(25): write_model(path, {n: t * 0 + step for n, t in tensors.items()}, card)"
    )
    write_model(path, {"w": torch.zeros(50_000)}, card())
    writer = subprocess.Popen([sys.executable, "-c", script, path])
    while writer.poll() is None:
        weights = read_model(path)[0]["w"]
        assert (weights == weights[0]).all()
    assert writer.returncode == 0


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.zeros(2, 3, dtype=torch.float64)},
        {"a": torch.zeros(3, 2)},
        {"b": torch.zeros(2, 3)},
        {"a": -torch.zeros(2, 3)},
        {"a": torch.zeros(2, 3), "b": torch.zeros(0)},
        {},
    ],
    ids=["type", "shape", "name", "sign of zero", "one more", "none"],
)
def test_a_checksum_sees_names_types_shapes_and_every_bit(other):
    assert checksum(other) != checksum({"a": torch.zeros(2, 3)})


def test_a_checksum_does_not_see_order_or_memory_layout():
    a, b = torch.arange(6.0).reshape(2, 3), torch.ones(1)
    assert checksum({"a": a, "b": b}) == checksum({"b": b, "a": a.T.contiguous().T})
