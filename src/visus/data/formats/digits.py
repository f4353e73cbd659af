"""``digits``: 1,797 real handwritten digits of 8 x 8 pixels that come with scikit-learn, so every machine has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import UsageError
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.formats import Evidence, Format

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings


def sniff(path: Path) -> Evidence | None:
    """Recognise no folder: the set is asked for by name."""
    return None


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the set; there is nothing to read from a path.

    Raises:
        UsageError: DATA-003, where a folder was named.
    """
    raise UsageError("DATA-003", f"{path}: the digits come by name, not from a folder", fix="visus train digits")


def named(name: str, settings: DataSettings, root: Path | None, download: bool) -> Dataset:
    """Return the digits as grey uint8: the set's 17 levels of ink, 0 to 16, are spread over 0 to 255.

    Source:
        Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998;
        the test part, as ``sklearn.datasets.load_digits`` has it.

    Raises:
        UsageError: DATA-003, where something stands behind ``digits:``.
    """
    if name:
        raise UsageError("DATA-003", f"digits:{name}: there is only one set of digits", fix="visus train digits")
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    array = np.rint(levels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Dataset(
        name="digits",
        root=Path(),
        format="digits",
        evidence="1,797 handwritten digits of 8 x 8 pixels from scikit-learn",
        ids=Strings([str(i) for i in range(len(array))]),
        images=ArrayImages(array),
        columns={"label": labels.astype(np.int64)},
        split=np.zeros(len(array), np.uint8),
        classes=tuple("0123456789"),
        licence="CC BY 4.0",
    )


FORMAT = Format("the name digits", sniff, read, named)
