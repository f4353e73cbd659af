"""The training pictures that a network finds most like a picture: neighbours in the space of its own features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes
from torch import Tensor

from visus.checks.classes import shown_in
from visus.core.errors import UsageError, VisusError
from visus.core.files import write_bytes
from visus.core.task import Task
from visus.data.dataset import Dataset, Images, Strings
from visus.data.pixels import pictures
from visus.data.reading import open_data
from visus.explainers import Question
from visus.explainers._maps import as_map, choose, watching
from visus.tasks._captions import rgb
from visus.verbs.assembly import feed
from visus.verbs.load import Model
from visus.verbs.parts import in_order

MOST = 5000
"""Training pictures that are looked through; of more, as many evenly through their order."""

FILE = "features.safetensors"
"""In a run folder: what the network makes of the training pictures, so that it is asked once."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """One training picture that is like another picture.

    Attributes:
        id: the user's name of it.
        labels: what is known to be on it.
        distance: one minus the cosine between the two pictures' features, in [0, 2]; 0 is the same direction.
        index: of the record.
    """

    id: str
    labels: tuple[str, ...]
    distance: float
    index: int

    @property
    def told(self) -> str:
        """What stands below its picture."""
        return " · ".join(filter(None, [", ".join(self.labels), f"{self.distance:.3f} away", self.id]))

    def json(self) -> dict[str, Any]:
        """Return name, labels and distance."""
        return {"id": self.id, "labels": list(self.labels), "distance": self.distance}


class Nearest:
    """The training pictures of a model, ready to be searched.

    Args:
        model: whose features count.
        task: as it is asked.
        data: where the training pictures lie; by default where the run that holds the model says.
        layer: at whose maps is looked; empty for the last of the coarsest.

    Raises:
        UsageError: EXPLAIN-012, the data is not at hand, or is no longer what the model was trained on.
        DataError: ``data`` cannot be read.
    """

    def __init__(self, model: Model, task: Task, data: str | Path | None, layer: str = "") -> None:
        self.model, self.task, self.layer = model, task, layer
        self.dataset = training_data(model, data)
        train = self.dataset.indices("train")
        self.indices = train[np.unique(np.linspace(0, len(train) - 1, min(MOST, len(train))).round().astype(np.int64))]
        self.left_out = len(train) - len(self.indices)

    def of(self, images: Images, names: Sequence[str], wanted: set[str], k: int) -> dict[str, list[Neighbour]]:
        """Return the ``k`` nearest of the wanted pictures, the nearest first; none for those that cannot be read."""
        asked = Dataset("files", Path(), "files", "named", Strings(names), images, {}, np.zeros(len(names), np.uint8))
        at = np.array([i for i, name in enumerate(names) if name in wanted], np.int64)
        theirs, readable = self._features(asked, at)
        if not len(readable):
            return {}
        own, known = self._known()
        near = dict[str, list[Neighbour]]()
        for row, i in zip(theirs, readable.tolist(), strict=True):
            distances = 1 - own @ row
            order = np.argsort(distances, kind="stable")[:k]
            near[names[i]] = [
                Neighbour(self.dataset.ids[index], self._labels(index), float(distances[at]), index)
                for at, index in zip(order.tolist(), known[order].tolist(), strict=True)
            ]
        return near

    def picture(self, neighbour: Neighbour) -> NDArray[np.uint8]:
        """Return the (H, W, 3) pixels of a neighbour."""
        source = pictures(self.dataset.images, self.model.recipe.input.channels, stored=192)
        return rgb(source.take(np.array([neighbour.index]), lambda index: None).images[0])

    def _known(self) -> tuple[Features, NDArray[np.int64]]:
        """Return the features of the training pictures, and their indices: as they were kept, or computed and kept."""
        folder = self.model.path.parent
        place = folder / FILE if (folder / "data.json").is_file() else None
        key = self._key()
        if place is not None and (kept := _read(place, key)) is not None:
            return kept
        found, readable = self._features(self.dataset, self.indices)
        if place is not None:
            write_bytes(place, to_bytes({"features": found, "indices": readable}, {"visus": json.dumps(key)}))
        return found, readable

    def _key(self) -> dict[str, str]:
        """Return what the features depend on."""
        hasher = sha256()
        for name, tensor in self.model.network.state_dict().items():
            hasher.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
        data = f"{self.dataset.fingerprint()} {len(self.indices)}"
        return {"weights": hasher.hexdigest(), "data": data, "layer": self.layer}

    def _features(self, dataset: Dataset, indices: NDArray[np.int64]) -> tuple[Features, NDArray[np.int64]]:
        """Return features (N, D) of length one, and the indices of those pictures that can be read."""
        device, network = self.model.device(), self.model.network.eval()
        found: list[Features] = []
        readable: list[int] = []
        with feed(dataset, indices, self.task, self.model.recipe, device, train=False) as shown:
            for batch in shown.sweep():
                if not len(batch):
                    continue
                part = batch.to(device.device, device.memory_format)
                size = (part.inputs[0].shape[2], part.inputs[0].shape[3])
                if not self.layer:
                    self.layer = self._chosen(part.inputs[0][:1])
                with watching(network, self.layer) as said, torch.no_grad():
                    self.task.raw(network, part)
                maps = as_map(said[0], network, size) if len(said) == 1 else None
                if maps is None or len(maps) != len(batch):
                    raise UsageError("EXPLAIN-013", f"{self.layer} gives no features of whole pictures",
                                     fix="--nearest 0 leaves the nearest training pictures out")  # fmt: skip
                pooled = maps.float().mean((2, 3)).cpu()
                found.append(torch.nn.functional.normalize(pooled, dim=1).numpy())
                readable += batch.indices.tolist()
        return (np.concatenate(found) if found else np.zeros((0, 1), np.float32)), np.array(readable, np.int64)

    def _chosen(self, image: Tensor) -> str:
        """Return the last of the coarsest maps: any number of the answer will do to see on which it depends."""
        network = self.model.network

        def value(images: Tensor) -> Tensor:
            said = network(images)
            parts = said if isinstance(said, tuple | list) else [said]
            return torch.stack([part.flatten(1).float().sum(1) for part in parts if part.requires_grad]).sum(0)

        return choose(Question(network, image, value), None).layer

    def _labels(self, index: int) -> tuple[str, ...]:
        dataset = self.dataset
        if "numbers" in dataset.columns:
            values = dataset.columns["numbers"][index]
            return tuple(f"{name} {value:.4g}" for name, value in zip(dataset.numbers, values, strict=True))
        if dataset.objects is None and dataset.column() not in ("label", "labels"):
            return ()
        return tuple(dataset.classes[k] for k in np.flatnonzero(shown_in(dataset, np.array([index]))))


def training_data(model: Model, data: str | Path | None) -> Dataset:
    """Return the data set that a model was trained on, or the one that is named in its place.

    Raises:
        UsageError: it is not at hand, or has changed since.
        DataError: what is named cannot be read.
    """
    if data is not None:
        return in_order(open_data(data, model.recipe.data, seed=model.recipe.seed), model.classes)
    place, fix = model.path.parent / "data.json", "--data DIR names it; --nearest 0 leaves the nearest pictures out"
    try:
        source = json.loads(place.read_text(encoding="utf-8"))["data"]
        dataset = open_data(source, model.recipe.data, seed=model.recipe.seed)
    except (OSError, ValueError, LookupError, TypeError, VisusError) as error:
        raise UsageError("EXPLAIN-012", "the data that the model was trained on is not at hand", fix=fix) from error
    if dataset.fingerprint() != model.card.data.get("fingerprint"):
        raise UsageError("EXPLAIN-012", f"{dataset.name}: the data has changed since the model was trained", fix=fix)
    return in_order(dataset, model.classes)


def _read(place: Path, key: dict[str, str]) -> tuple[Features, NDArray[np.int64]] | None:
    """Return features that were kept, or None where there are none for this key."""
    try:
        data = place.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        if json.loads(header["__metadata__"]["visus"]) != key:
            return None
        kept = from_bytes(data)
        return kept["features"], kept["indices"]
    except (OSError, ValueError, LookupError, TypeError, SafetensorError):
        return None  # none were kept yet, or the file is damaged: they are computed anew
