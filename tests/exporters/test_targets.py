"""Modules for pictures of any depth and number of channels, written and run."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from visus.core.deployment import Contract, Deployed
from visus.core.errors import UsageError
from visus.core.modelfile import Architecture, Card
from visus.core.recipe import DetectSettings, InputSettings
from visus.core.suppression import top
from visus.exporters import EXPORTERS, onnx
from visus.exporters._running import Running
from visus.tasks.detect.decoding import finish, finish_in_graph
from visus.transforms.in_graph import Judging

OUTPUTS = {"logits": "(B, 2)"}


def deployed(channels, *, deep=False, size=None, network=None, fit="crop"):
    """Return a small module, and its contract."""
    settings = InputSettings(size=(12, 18), channels=channels, fit=fit, mean=(0.4,), std=(0.25,))
    network = network or nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(640, 2))
    module = Deployed(
        Judging(settings, deep=deep, size=size), network, lambda net, images, view: {"logits": net(images)}, OUTPUTS
    )
    card = Card(
        visus="0",
        task="classify",
        architecture=Architecture(name="tiny", outputs=2),
        classes=("a", "b"),
        input=settings,
    )
    contract = Contract(
        visus="0", target="onnx", format="", dtype="uint16" if deep else "uint8", channels=channels, size=size,
        batch=None, outputs=OUTPUTS, card=card,
    )  # fmt: skip
    return module.eval(), contract


def pictures(shape, deep=False):
    """Return random pictures."""
    drawn = torch.randint(0, 65536 if deep else 256, shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(torch.int32).to(torch.uint16) if deep else drawn.to(torch.uint8)


@pytest.mark.parametrize(
    ("channels", "deep", "fit"), [(1, False, "pad"), (16, False, "crop"), (1, True, "squash")], ids=str
)
def test_onnx_takes_1_to_16_channels_of_8_or_16_bits_in_any_size(channels, deep, fit, tmp_path):
    module, contract = deployed(channels, deep=deep, fit=fit)
    path = tmp_path / "a.onnx"
    contract = EXPORTERS["onnx"].export(module, pictures((2, 20, 30, channels), deep), contract, path)
    runtime = EXPORTERS["onnx"].load(path)
    assert runtime.contract == contract
    for size in ((20, 30), (7, 61), (90, 33)):
        shown = pictures((3, *size, channels), deep)
        torch.testing.assert_close(runtime(shown)["logits"], module(shown)[0], rtol=0, atol=1e-5)


def test_a_picture_alone_and_one_beside_others_are_answered_alike(tmp_path):
    module, contract = deployed(3)
    EXPORTERS["onnx"].export(module, pictures((2, 20, 30, 3)), contract, tmp_path / "a.onnx")
    torch.set_num_threads(2)
    try:
        runtime = EXPORTERS["onnx"].load(tmp_path / "a.onnx")
    finally:
        torch.set_num_threads(1)
    running = Running(runtime, runtime.threads)
    shown = list(pictures((5, 40, 31, 3)))
    alone = [running([each])[0]["logits"] for each in shown]
    assert runtime.threads == 2
    assert all(torch.equal(said["logits"], one) for said, one in zip(running(shown), alone, strict=True))
    assert torch.equal(running(shown[:1])[0]["logits"], alone[0])


class Data(bytes):
    """Bytes that tell when they go."""

    def __new__(cls, path, gone):
        made = super().__new__(cls, path.read_bytes())
        made.gone = gone
        return made

    def __del__(self):
        self.gone.append("gone")


def test_threads_that_ask_at_once_share_one_session_more_and_the_bytes_are_let_go(tmp_path, monkeypatch):
    module, contract = deployed(3)
    EXPORTERS["onnx"].export(module, pictures((2, 20, 30, 3)), contract, tmp_path / "a.onnx")
    made, gone = [], []

    def session(data, name, threads, make=onnx._session):
        made.append(threads)
        time.sleep(0.05)  # so that others ask meanwhile
        return make(data, name, threads)

    monkeypatch.setattr(onnx, "_session", session)
    torch.set_num_threads(2)
    try:
        runtime = onnx.OnnxRuntime(Data(tmp_path / "a.onnx", gone), "a.onnx")
    finally:
        torch.set_num_threads(1)
    assert made == [1]
    shown = pictures((1, 40, 31, 3))
    runtime(shown, beside=True)
    assert (made, gone) == ([1], [])  # the other may still be wanted
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda _: runtime(shown)["logits"], range(6)))
    assert made == [1, 2]
    assert all(torch.equal(one, said[0]) for one in said)
    assert gone == ["gone"]


def test_where_there_is_one_thread_the_bytes_are_let_go_at_once(tmp_path):
    module, contract = deployed(3)
    EXPORTERS["onnx"].export(module, pictures((2, 20, 30, 3)), contract, tmp_path / "a.onnx")

    gone = []
    runtime = onnx.OnnxRuntime(Data(tmp_path / "a.onnx", gone), "a.onnx")
    assert (runtime.threads, gone) == (1, ["gone"])
    assert runtime(pictures((1, 40, 31, 3))).keys() == OUTPUTS.keys()


def test_suppression_in_the_graph_keeps_the_objects_that_it_keeps_outside(tmp_path):
    """Each row of a picture is a candidate: x, y, width, height, score and class."""
    objects = {"boxes": "(B, 10, 4)", "scores": "(B, 10)", "labels": "(B, 10)"}
    settings = DetectSettings(least=0.3, overlap=0.4, most=10)

    def candidates(images):
        x, y, wide, high, score, label = (images[:, 0] * 255).round().unbind(2)
        boxes = torch.stack([x, y, x + wide / 2 + 1, y + high / 2 + 1], 2)
        scores = (score + torch.arange(40) / 100) / 256  # no two alike
        return {"boxes": boxes, "scores": scores, "labels": label.long() % 3}

    def read(net, images, view):
        return finish_in_graph(candidates(images), settings, 3)

    prepare = Judging(InputSettings(size=(40, 6), channels=1, fit="squash", mean=(0,), std=(1,)))
    module = Deployed(prepare, nn.Identity(), read, objects).eval()
    _, contract = deployed(1)
    contract = contract.model_copy(update={"outputs": objects})
    shown = pictures((4, 40, 6, 1))
    EXPORTERS["onnx"].export(module, shown[:2], contract, tmp_path / "a.onnx")
    said = EXPORTERS["onnx"].load(tmp_path / "a.onnx")(shown)
    outside = finish(candidates(prepare(shown)[0]), settings)
    for row, found in enumerate(outside):
        kept = said["scores"][row] >= 0
        assert 0 < len(found[1]) == int(kept.sum())
        for name, right in zip(objects, found[:3], strict=True):
            torch.testing.assert_close(said[name][row][kept], right)


@pytest.mark.parametrize("target", ["onnx", "openvino", "torch"])
def test_of_equal_scores_every_runtime_takes_the_first_as_pytorch_does(target, tmp_path):
    pytest.importorskip(target)

    def read(net, images, view):
        at = top(images.flatten(1).round(), 7)
        return {"places": at, "scores": images.flatten(1).round().gather(1, at)}

    prepare = Judging(InputSettings(size=(12, 18), channels=1, fit="squash", mean=(0,), std=(1,)))
    module = Deployed(prepare, nn.Identity(), read, {"places": "(B, 7)", "scores": "(B, 7)"}).eval()
    _, contract = deployed(1)
    contract = contract.model_copy(update={"outputs": module.outputs})
    shown = pictures((4, 12, 18, 1))  # whose levels are all 0 or 1 then
    path = tmp_path / f"a{EXPORTERS[target].suffix}"
    EXPORTERS[target].export(module, shown[:2], contract, path)
    places = EXPORTERS[target].load(path)(shown)["places"]
    assert torch.equal(places, module(shown)[0])
    ones = (prepare(shown)[0].flatten(1).round() == 1).nonzero()
    assert all(torch.equal(places[row], ones[ones[:, 0] == row, 1][:7]) for row in range(4))


def test_a_file_of_one_size_holds_the_weights_of_its_resize(tmp_path):
    module, contract = deployed(3, size=(40, 31))
    EXPORTERS["onnx"].export(module, pictures((2, 40, 31, 3)), contract, tmp_path / "a.onnx")
    shown = pictures((5, 40, 31, 3))
    said = EXPORTERS["onnx"].load(tmp_path / "a.onnx")(shown)
    torch.testing.assert_close(said["logits"], module(shown)[0], rtol=0, atol=1e-5)


def test_a_network_that_looks_at_its_numbers_to_decide_is_refused_by_name(tmp_path):
    class Fickle(nn.Module):
        def forward(self, images):
            return images.mean((2, 3))[:, :2] if images.sum() > 0 else images[:, :2, 0, 0]

    module, contract = deployed(3, network=Fickle())
    with pytest.raises(UsageError, match=r"EXP-002.*tiny cannot be written as onnx"):
        EXPORTERS["onnx"].export(module, pictures((2, 20, 30, 3)), contract, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_operation_that_onnx_lacks_is_named(tmp_path):
    class Spectral(nn.Module):
        def forward(self, images):
            rows = images.mean(3)
            return torch.linalg.eigvalsh(rows @ rows.mT)[:, :2]

    module, contract = deployed(3, network=Spectral(), size=(8, 8))
    with pytest.raises(UsageError, match=r"EXP-002.*eigh") as caught:
        EXPORTERS["onnx"].export(module, pictures((1, 8, 8, 3)), contract, tmp_path / "a.onnx")
    assert "\n" not in caught.value.what and "\x1b" not in caught.value.what


def test_every_target_knows_its_own_files_alone():
    starts = {
        "onnx": b"\x08\x0a\x12\x07pytorch",
        "torch": b"PK\x03\x04" + bytes(22) + b"\x16\x00\x00\x00a/archive_format",
        "openvino": b'<?xml version="1.0"?>\n<net name="Model0" version="11">\n',
        "executorch": b"\x30\x00\x00\x00ET12" + bytes(56),
        "": b'\x98\x01\x00\x00\x00\x00\x00\x00{"__metadata__":{"visus":',
    }
    for name, start in starts.items():
        assert [known for known in EXPORTERS if EXPORTERS[known].recognises(start)] == [name] * bool(name)
