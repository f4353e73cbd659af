"""How long a data set of a million records takes to open, and how much memory it keeps.

Writes a million files (empty ones: opening reads names, never pixels) into class folders, and a table that lists them;
opens each in a process of its own, and prints seconds, bytes kept for a record beyond the letters of its name, and the
size of what a worker is sent.

    python benchmarks/million.py [--records 1000000] [--classes 100]
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import pickle
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path


def write(root: Path, records: int, classes: int) -> Path:
    """Write class folders; return the table beside them that lists the same pictures."""
    rows = ["path,label"]
    for c in range(classes):
        folder = root / "photos" / f"class_{c:04}"
        folder.mkdir(parents=True)
        for i in range(c, records, classes):
            (folder / f"{i:07}.jpg").touch()
            rows.append(f"photos/class_{c:04}/{i:07}.jpg,class_{c:04}")
    table = root / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def resident() -> int:
    """Return the bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(place: str, channel: Connection) -> None:
    """Open a data set; send seconds, bytes kept, bytes of names, bytes of its pickle, records."""
    from visus.core.recipe import DataSettings
    from visus.data.reading import open_data

    settings = DataSettings()
    gc.collect()
    before = resident()
    began = time.perf_counter()
    dataset = open_data(place, settings)
    seconds = time.perf_counter() - began
    gc.collect()
    kept = resident() - before
    letters = sum(len(name.encode()) for name in dataset.ids)
    channel.send((seconds, kept, letters, len(pickle.dumps(dataset)), len(dataset)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        table = write(Path(base), given.records, given.classes)
        for what, place in (("class folders", table.parent / "photos"), ("a table", table)):
            ours, theirs = multiprocessing.Pipe()
            child = multiprocessing.get_context("spawn").Process(target=measure, args=(str(place), theirs))
            child.start()
            theirs.close()
            seconds, kept, letters, sent, records = ours.recv()
            child.join()
            print(
                f"{what}: {records:,} records in {seconds:.1f} s; {(kept - letters) / records:.0f} bytes a record kept"
                f" beyond the {letters / records:.0f} of its name; {sent / records:.0f} bytes a record to a worker",
                flush=True,
            )


if __name__ == "__main__":
    main()
