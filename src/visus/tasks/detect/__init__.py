"""Detection: which objects a picture shows, and where."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "TASK":  # importing a folder loads no torch
        from visus.tasks.detect.task import Detect

        return Detect
    raise AttributeError(name)
