"""Generation: pictures like those of the data, made from random numbers."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "TASK":  # importing a folder loads no torch
        from visus.tasks.generate.task import Generate

        return Generate
    raise AttributeError(name)
