"""What the tests of the verbs share: a folder of pictures, and a run that was trained on it once."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from tests.verbs.examples import coloured, train, train_detector, write_boxes, write_classes, write_splits


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Return a folder with train, val and test parts of three digits; nothing may write into it."""
    return write_splits(tmp_path_factory.mktemp("data") / "photos", train=60, val=20, test=30)


@pytest.fixture(scope="session")
def run(photos, tmp_path_factory):
    """Return a finished run on the photos; nothing may write into its folder."""
    return train(photos, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Return a folder of pictures with squares on them and their boxes; nothing may write into it."""
    return write_boxes(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="session")
def detector(squares, tmp_path_factory):
    """Return a finished run of a detector on the squares; nothing may write into its folder."""
    return train_detector(squares, tmp_path_factory.mktemp("runs") / "detector", steps=60)


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """Return class folders of coloured pictures; nothing may write into them."""
    root = tmp_path_factory.mktemp("data") / "colours"
    for split, first, each in (("train", 0, 40), ("val", 40, 14), ("test", 54, 10)):
        write_classes(root / split, each, first=first, mode=coloured)
    return root


@pytest.fixture(scope="session")
def painter(colours, tmp_path_factory):
    """Return a run on them, whose network reads another shape; nothing may write into its folder."""
    shape = {"input.size": [24, 20], "input.fit": "pad", "flips": True}
    return train(colours, tmp_path_factory.mktemp("runs") / "painter", settings=shape)


@pytest.fixture(scope="session")
def exported_files(tmp_path_factory):
    """Return where each kind of network that was exported lies, by what it is, with its contract."""
    return tmp_path_factory.mktemp("exported"), dict[object, object]()


@pytest.fixture
def exported_once(exported_files, monkeypatch):
    """Write a network as ONNX once: for tests of what is done with the file, as that takes seconds.

    It is the same where its weights, what is said of noise, and the contract are.
    """
    import torch

    from visus.exporters import onnx

    folder, known = exported_files

    def export(module, example, contract, path, write=onnx.EXPORTER.export):
        noise = torch.randint(0, 256, example.shape, generator=torch.Generator().manual_seed(0)).to(example.dtype)
        with torch.no_grad():
            said = [*module.state_dict().values(), *module(noise)]
        key = (
            tuple(sha256(each.contiguous().view(-1).view(torch.uint8).numpy()).digest() for each in said),
            contract.text(),
        )
        if key not in known:
            known[key] = write(module, example, contract, folder / f"{len(known)}.onnx"), folder / f"{len(known)}.onnx"
        made, file = known[key]
        path.write_bytes(file.read_bytes())
        return made

    monkeypatch.setattr(onnx, "EXPORTER", replace(onnx.EXPORTER, export=export))
