"""Segmentation: which class every pixel of a picture shows."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "TASK":  # importing a folder loads no torch
        from visus.tasks.segment.task import Segment

        return Segment
    raise AttributeError(name)
