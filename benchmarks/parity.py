"""What an exported file says against the float32 weights, on every validation picture of the data they learned from.

For each trained model: the largest difference of each output as a share of its largest number, which labels, boxes or
pixels are others, and the score of both.  A file that says something else is told of, and ends with exit code 1.

    python benchmarks/parity.py MODEL DATA [MODEL DATA ...] [--to onnx] [--threads 2] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

import visus
from visus.core.errors import MissedError
from visus.exporters import EXPORTERS

ALL = 1_000_000
"""Pictures that are compared, if there are as many."""


def compared(model: str, data: str, to: str) -> dict[str, object]:
    """Return what the parity gate measured of one model."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = visus.export(model, to=to, data=data, out=Path(folder, f"model{EXPORTERS[to].suffix}"), pictures=ALL)
        except MissedError as error:
            return {"model": model, "data": data, "to": to, "holds": False, "why": error.where}
    told = made.parity.json()
    return {"model": model, "data": data, "to": to, **told, "notes": list(made.notes),
            "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="MODEL DATA")
    parser.add_argument("--to", default="onnx", choices=sorted(EXPORTERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if len(given.pairs) % 2:
        parser.error("each MODEL needs its DATA")
    torch.set_num_threads(given.threads)
    rows = []
    for model, data in zip(given.pairs[::2], given.pairs[1::2], strict=True):
        rows.append(compared(model, data, given.to))
        print(json.dumps(rows[-1]), flush=True)
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(not all(row["holds"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
