"""Tasks, one a file: ``classify.py`` is the task "classify".  Importing it loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visus.core.catalog import Catalog

if TYPE_CHECKING:
    from visus.core.task import Task

TASKS: Catalog[type[Task]] = Catalog("visus.tasks", "TASK")
