"""How long a data set of a million records takes to open, and how much memory it keeps.

Written are a million files in class folders (empty ones: opening reads names, never pixels), a table that lists them,
and a million pictures with a box each in a COCO file and in a table.  For Pascal VOC and YOLO, where each picture has a
file of its own that must be read, it is a tenth of that.  The pictures of boxes are one small JPEG under many names.
The headers of all of them are read, because a box is cut at the edges of the picture that is there; for COCO, which
states sizes, those of some.

Each is opened in a process of its own, behind a small one of its kind.  Printed are seconds, of the wall clock and of
the processor, bytes kept for a record beyond the letters of its name, and the size of what a worker is sent.  The files
were just written, so the system has them in memory; what was freed meanwhile is given back before bytes are counted.

    python benchmarks/million.py [--records 1000000] [--classes 100] [--kinds folder csv coco boxes_csv voc yolo]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import pickle
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

FEWER = 10  # times fewer records where each has a file of its own
LINKED = 50_000  # names of one file, of which systems allow no more than 65,000
WIDTH, HEIGHT = 500, 375


def write_folder(root: Path, records: int, classes: int) -> Path:
    """Write class folders."""
    for c in range(classes):
        folder = root / "photos" / f"class_{c:04}"
        folder.mkdir(parents=True)
        for i in range(c, records, classes):
            (folder / f"{i:07}.jpg").touch()
    return root / "photos"


def write_csv(root: Path, records: int, classes: int) -> Path:
    """Write class folders, and the table beside them that lists the same pictures."""
    write_folder(root, records, classes)
    rows = (f"photos/class_{i % classes:04}/{i:07}.jpg,class_{i % classes:04}" for i in range(records))
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return root / "labels.csv"


def write_coco(root: Path, records: int, classes: int) -> Path:
    """Write a COCO file beside its pictures."""
    write_pictures(root / "images", records)
    images = [{"id": i, "file_name": f"{i:07}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(records)]
    boxes = [
        {"id": i, "image_id": i, "category_id": i % classes, "bbox": [i % 200, 20, 120, 80], "area": 9600, "iscrowd": 0}
        for i in range(records)
    ]
    named = [{"id": c, "name": f"class_{c:04}"} for c in range(classes)]
    (root / "annotations").mkdir()
    document = {"images": images, "annotations": boxes, "categories": named}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(document))
    return root


def write_boxes_csv(root: Path, records: int, classes: int) -> Path:
    """Write a table of boxes beside its pictures."""
    write_pictures(root, records)
    rows = (f"{i:07}.jpg,class_{i % classes:04},{i % 200},20,{i % 200 + 120},100" for i in range(records))
    (root / "labels.csv").write_text("\n".join(["path,label,xmin,ymin,xmax,ymax", *rows]) + "\n")
    return root


def write_voc(root: Path, records: int, classes: int) -> Path:
    """Write XML files and their pictures."""
    write_pictures(root / "JPEGImages", records)
    (root / "Annotations").mkdir()
    for i in range(records):
        (root / "Annotations" / f"{i:07}.xml").write_text(
            f"<annotation>\n<folder>JPEGImages</folder>\n<filename>{i:07}.jpg</filename>\n<size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>3</depth></size>\n<segmented>0</segmented>\n<object>\n"
            f"<name>class_{i % classes:04}</name><pose>Unspecified</pose><truncated>0</truncated>"
            f"<difficult>0</difficult>\n<bndbox><xmin>{i % 200 + 1}</xmin><ymin>21</ymin><xmax>{i % 200 + 120}</xmax>"
            "<ymax>100</ymax></bndbox>\n</object>\n</annotation>\n"
        )
    return root


def write_yolo(root: Path, records: int, classes: int) -> Path:
    """Write files of labels and their pictures."""
    write_pictures(root / "images" / "train", records)
    (root / "labels" / "train").mkdir(parents=True)
    for i in range(records):
        (root / "labels" / "train" / f"{i:07}.txt").write_text(f"{i % classes} {0.2 + i % 200 / 500} 0.16 0.24 0.2\n")
    names = "\n".join(f"  {c}: class_{c:04}" for c in range(classes))
    (root / "data.yaml").write_text(f"train: images/train\nnames:\n{names}\n")
    return root


WRITERS = {
    "folder": write_folder, "csv": write_csv, "coco": write_coco, "boxes_csv": write_boxes_csv, "voc": write_voc,
    "yolo": write_yolo,
}  # fmt: skip


def write_pictures(folder: Path, records: int) -> None:
    """Write pictures: few files under many names."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(records):
        path = folder / f"{i:07}.jpg"
        if i % LINKED == 0:
            Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 60)).save(path)
            first = path
        else:
            os.link(first, path)


def resident() -> int:
    """Return the bytes of memory this process holds, without those that it has freed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(few: str, place: str, channel: Connection) -> None:
    """Open a data set; send its seconds, the processor's, bytes kept, of names and of its pickle, and records."""
    from visus.core.recipe import DataSettings
    from visus.data.reading import open_data

    settings = DataSettings()
    open_data(few, settings)  # which loads all code that is needed
    before = resident()
    began, worked = time.perf_counter(), time.process_time()
    dataset = open_data(place, settings)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    kept = resident() - before
    letters = sum(len(name.encode()) for name in dataset.ids)
    channel.send((seconds, worked, kept, letters, len(pickle.dumps(dataset)), len(dataset)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    given = parser.parse_args()
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as base:
            count = given.records // FEWER if kind in {"voc", "yolo"} else given.records
            few = WRITERS[kind](Path(base, "few"), min(1000, count), min(10, given.classes))
            place = WRITERS[kind](Path(base, "many"), count, given.classes)
            ours, theirs = multiprocessing.Pipe()
            child = multiprocessing.get_context("spawn").Process(target=measure, args=(str(few), str(place), theirs))
            child.start()
            theirs.close()
            seconds, worked, kept, letters, sent, records = ours.recv()
            child.join()
            print(
                f"{kind}: {records:,} records in {seconds:.1f} s ({worked:.1f} s of processor,"
                f" {1e6 * worked / records:.0f} us a record);"
                f" {(kept - letters) / records:.0f} bytes a record kept beyond the {letters / records:.0f} of its name;"
                f" {sent / records:.0f} bytes a record to a worker",
                flush=True,
            )


if __name__ == "__main__":
    main()
