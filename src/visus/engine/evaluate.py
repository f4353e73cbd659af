"""Asking a model about every sample of a feed, in parts that fit in memory; and judging what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from visus.core.errors import ResourceError
from visus.core.task import Batch, Feed, Metric, Raw, Task
from visus.engine.device import Device, float32_as_stated, out_of_memory


def judge(
    task: Task,
    model: nn.Module,
    feed: Feed,
    device: Device,
    stop: Callable[[], bool] = lambda: False,
    micro: int = 0,
) -> tuple[Metric, list[tuple[str, str]]]:
    """Return the metric of every sample of a feed, over all ranks, and (id, reason) of those that could not be read.

    Out of memory halves the part that is looked at at once; the metric does not depend on it.

    Args:
        stop: asked between batches; true abandons the evaluation by StopIteration.
        micro: pictures looked at at once, where it is known how many fit; 0 for whole batches.

    Raises:
        ResourceError: a single picture does not fit.
        StopIteration: ``stop`` was true.
    """
    metric = task.metric()
    bad: list[tuple[str, str]] = []

    def batches() -> Iterator[Batch]:
        for batch in feed.sweep():
            bad.extend(batch.bad)
            yield batch

    for part, raw in answers(task, model, batches(), device, micro):
        if stop():
            raise StopIteration
        metric.update(raw, part)
    metric.load(device.gather(metric.state()))
    everyones = chain.from_iterable(json.loads(text) for text in device.texts(json.dumps(bad)))
    return metric, [(name, why) for name, why in everyones]


def answers(
    task: Task, model: nn.Module, batches: Iterable[Batch], device: Device, micro: int = 0
) -> Iterator[tuple[Batch, Raw]]:
    """Yield what a model says of batches, in parts that fit in memory: (part on the device, its answer in float32).

    The model judges meanwhile, and trains again afterwards where it did.  What runs out of memory is tried again with
    half the rows, and so is all that follows.

    Args:
        micro: rows looked at at once, where it is known how many fit; 0 for whole batches.

    Raises:
        ResourceError: a single picture does not fit.
    """
    with _judging(model), float32_as_stated(device):
        for batch in batches:
            at = 0
            while at < len(batch):
                part = batch.rows(at, min(at + (micro or len(batch)), len(batch)))
                try:
                    part = part.to(device.device, device.memory_format)
                    with torch.no_grad(), device.autocast():
                        raw = {name: _widened(said) for name, said in task.raw(model, part).items()}
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                    if len(part) == 1:
                        raise ResourceError("FIT-003", f"a single picture does not fit in memory on {device.device}",
                                            where=part.ids[0], fix="--set size=SMALLER") from error  # fmt: skip
                    micro = len(part) // 2
                    continue
                yield part, raw
                at += len(part)


def _widened(said: Tensor) -> Tensor:
    return said.float() if said.is_floating_point() else said


@contextmanager
def _judging(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]  # not all: a frozen normalisation is not
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
