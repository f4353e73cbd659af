"""Predicting JPEG files with a ResNet-18: ``visus predict`` on weights and on the exported file.

The files are 500 x 375 pixels of drawn content; the network reads 224 x 224 and says one of ten classes; its weights
are random.  Each side goes from file names to labels with the same number of threads, and they take turns:

- ``weights``: ``visus.predict`` on the model file, in the precision that is printed;
- ``int8``: ``visus.predict`` on the file that ``visus compress --method int8`` writes, with the ranges of 16 pictures;
- ``eager``: the usual float32 code of a tutorial: Pillow, torchvision's transforms, the network on batches of 32;
- ``documented``: the float32 code of torchvision's documentation: ``decode_image``, its transforms, one at a time;
- ``exported``: ``visus.predict`` on the ONNX file, whose graph also resizes and normalises;
- ``bare``: decoding all files as visus does, and onnxruntime on the network alone, for pictures that are ready for it;
- ``bare, a thread each``: the same, but as many pictures at a time as there are threads, as ``exported`` does.

What rounding to 8 bits does to the answers of a trained model is told by ``compressing.py``.

    python benchmarks/exporting.py [--files 1000] [--rounds 3] [--threads 2] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms import v2

import visus
from visus import __version__
from visus.core.deployment import Contract
from visus.core.modelfile import Architecture, Card, write_model
from visus.core.recipe import InputSettings
from visus.data.decode import decode
from visus.engine.device import best_device, fast_bfloat16
from visus.exporters import EXPORTERS
from visus.verbs.load import load

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = tuple(f"class {k}" for k in range(10))


def write_files(folder: Path, count: int) -> list[str]:
    """Write pictures of smooth colours with some noise, about 50 kB each, and return their names."""
    draw = np.random.default_rng(0)
    files = []
    for i in range(count):
        rough = Image.fromarray(draw.integers(0, 256, (24, 32, 3), np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(rough, np.int16) + draw.integers(-12, 13, (375, 500, 1), np.int16)
        files.append(str(folder / f"{i:04d}.jpg"))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files[-1], quality=85)
    return files


def model_file(path: Path) -> nn.Module:
    """Write a model of random weights, and return its network."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=len(CLASSES)).eval()
    precision = "bfloat16" if fast_bfloat16(best_device()) else "float32"
    settings = InputSettings(size=(224, 224), mean=MEAN, std=STD)
    recipe = {"task": "classify", "model.name": "torchvision:resnet18", "model.weights": "none", "precision": precision,
              "memory_format": "channels_last", "target.column": "label"}  # fmt: skip
    card = Card(
        visus=__version__, task="classify", classes=CLASSES, input=settings, recipe=recipe,
        architecture=Architecture(name="torchvision:resnet18", outputs=len(CLASSES)),
    )  # fmt: skip
    write_model(path, network.state_dict(), card)
    return network


def export(weights: Path, path: Path) -> None:
    """Write the ONNX file of a model file; without the parity gate, as random weights have nothing to be judged on."""
    model = load(weights, precision="float32")
    module = model.task.deployed(model.network.to(memory_format=torch.contiguous_format)).eval()
    contract = Contract(
        visus=__version__, target="onnx", format="", dtype="uint8", channels=3, size=None, batch=None,
        outputs=dict(module.outputs), card=model.card,
    )  # fmt: skip
    EXPORTERS["onnx"].export(module, torch.zeros(2, 240, 260, 3, dtype=torch.uint8), contract, path)


def in_whole_numbers(file: Path, path: Path, pictures: list[str]) -> None:
    """Write the exported file with its network in 8 bits, as ``visus compress`` does."""
    import onnx

    from visus.compressors._quantising import expect, quantised, with_types

    model = with_types(file)
    seen = expect(model, (torch.from_numpy(decode(Path(name)).pixels)[None] for name in pictures))
    onnx.save(quantised(model, seen.ranges("mse")), path)


def documented(network: nn.Module, files: list[str]) -> list[int]:
    """Return labels by the code of torchvision's documentation, "Using the pre-trained models"."""
    floats = v2.ToDtype(torch.float32, scale=True)
    prepare = v2.Compose([v2.Resize(224, antialias=True), v2.CenterCrop(224), floats, v2.Normalize(MEAN, STD)])
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torchvision's decoder will move to another package
        batches = (prepare(torchvision.io.decode_image(file)).unsqueeze(0) for file in files)
        return [int(network(batch).squeeze(0).softmax(0).argmax()) for batch in batches]


def eager(network: nn.Module, files: list[str]) -> list[int]:
    """Return labels by the code of a tutorial."""
    floats = v2.ToDtype(torch.float32, scale=True)
    prepare = v2.Compose([v2.Resize(224), v2.CenterCrop(224), v2.ToImage(), floats, v2.Normalize(MEAN, STD)])
    labels: list[int] = []
    with torch.inference_mode():
        for start in range(0, len(files), 32):
            images = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files[start : start + 32]])
            labels += network(images).argmax(1).tolist()
    return labels


def bare(session: Any, files: list[str], threads: int, at_once: int) -> list[int]:
    """Return labels of ready pictures, after decoding as many files."""
    ready = np.zeros((1, 3, 224, 224), np.float32)
    with ThreadPoolExecutor(threads) as pool:
        decoded = sum(1 for _ in pool.map(lambda file: decode(Path(file)), files))
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: int(session.run(None, {"images": ready})[0].argmax()), range(decoded)))


def bare_session(written: bytes, threads: int) -> Any:
    """Return onnxruntime's session of the network alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(written, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), given.files)
        weights, file, small = (Path(folder, name) for name in ("model.safetensors", "model.onnx", "int8.onnx"))
        network = model_file(weights)
        export(weights, file)
        in_whole_numbers(file, small, files[:16])
        model, exported, whole = load(weights), load(file), load(small)
        images = torch.zeros(1, 3, 224, 224)
        written: Any = torch.onnx.export(network, (images,), input_names=["images"], dynamo=True, verbose=False)
        alone = written.model_proto.SerializeToString()
        by_all, by_one = bare_session(alone, given.threads), bare_session(alone, 1)
        sides: dict[str, Callable[[list[str]], object]] = {
            "weights": lambda files: visus.predict(model, files),
            "int8": lambda files: visus.predict(whole, files),
            "eager": lambda files: eager(network, files),
            "documented": lambda files: documented(network, files),
            "exported": lambda files: visus.predict(exported, files),
            "bare": lambda files: bare(by_all, files, given.threads, 1),
            "bare, a thread each": lambda files: bare(by_one, files, given.threads, given.threads),
        }
        seconds = dict(timed(sides, files, given.rounds))
    told = {
        "files": len(files), "threads": given.threads, "precision of weights": model.recipe.precision,
        "files a second": {name: round(len(files) / value, 1) for name, value in seconds.items()},
        **{
            f"{name} against {other}": round(seconds[other] / seconds[name], 2)
            for name in ("weights", "int8") for other in ("eager", "documented")
        },
        **{
            f"exported against {other}": round(seconds["exported"] / seconds[other], 3)
            for other in ("bare", "bare, a thread each")
        },
    }  # fmt: skip
    print(json.dumps(told, indent=1))
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n")


def timed(
    sides: dict[str, Callable[[list[str]], object]], files: list[str], rounds: int
) -> Iterator[tuple[str, float]]:
    """Yield the median seconds of each side, all of them run in turn, the first files having warmed them up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(files[:32])
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side(files)
            seconds[name].append(time.perf_counter() - began)
    for name, values in seconds.items():
        yield name, statistics.median(values)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
