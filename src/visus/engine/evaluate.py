"""Judging a model on a feed: every sample once, sums that merge over ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain

import torch
from torch import nn

from visus.core.errors import ResourceError
from visus.core.task import Batch, Feed, Metric, Task
from visus.engine.device import Device, out_of_memory


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
        micro: pictures looked at at once, where it is known how many fit; 0 for a batch of the feed.

    Raises:
        ResourceError: a single picture does not fit.
        StopIteration: ``stop`` was true.
    """
    metric = task.metric()
    bad: list[tuple[str, str]] = []
    training = [module for module in model.modules() if module.training]  # not all: a frozen normalisation is not
    model.eval()
    micro = micro or feed.batch_size
    try:
        for batch in feed.sweep():
            if stop():
                raise StopIteration
            bad.extend(batch.bad)
            if len(batch):
                micro = _count(task, model, metric, batch, device, micro)
    finally:
        for module in training:
            module.training = True
    metric.load(device.gather(metric.state()))
    everyones = chain.from_iterable(json.loads(text) for text in device.texts(json.dumps(bad)))
    return metric, [(name, why) for name, why in everyones]


def _count(task: Task, model: nn.Module, metric: Metric, batch: Batch, device: Device, micro: int) -> int:
    """Count one batch in parts of at most ``micro``; return the size that fitted."""
    at = 0
    while at < len(batch):
        part = batch.rows(at, min(at + micro, len(batch))).to(device.device, device.memory_format)
        try:
            with torch.no_grad(), device.autocast():
                raw = {name: tensor.float() for name, tensor in task.raw(model, part).items()}
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if micro <= 1:
                raise ResourceError("FIT-003", f"a single picture does not fit in memory on {device.device}",
                                    where=part.ids[0], fix="--set size=SMALLER") from error  # fmt: skip
            micro = max(1, micro // 2)
            continue
        metric.update(raw, part)
        at += len(part)
    return micro
