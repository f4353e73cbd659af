"""TensorBoard events of a run, on demand: ``--tensorboard``, then ``tensorboard --logdir RUN``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visus.core.errors import UsageError

SHOWN = ("loss", "lr", "gradient_norm")


@contextmanager
def writing(folder: Path, step: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield what writes a row of the log as events: the loss and its terms, the rate, the norm, and validation scores.

    Args:
        folder: of the run; events go to ``tensorboard`` in it.
        step: from which the run goes on; what an earlier sitting wrote beyond it is no longer shown.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("USE-020", "TensorBoard is not installed", fix="uv pip install tensorboard") from error

    with SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1) as writer:

        def record(row: Mapping[str, Any]) -> None:
            if "validation" in row:
                values = {f"validation/{name}": value for name, value in row["validation"].items()}
            else:
                values = {name: value for name, value in row.items() if name.startswith(SHOWN)}
            for name, value in values.items():
                writer.add_scalar(name, value, row["step"])

        yield record
