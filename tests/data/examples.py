"""A small data set of each format that shows all of it: twelve pictures or a few more, of at least three classes."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from visus.data.formats import FORMATS


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    """Write a small picture that no other seed gives; the name's ending says how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(rough).save(path)
    return path


def write_tree(root: Path, tree: Mapping[str, int]) -> Path:
    """Write ``count`` pictures below each folder of ``tree``."""
    seed = 0
    for folder, count in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            write_picture(root / folder / f"{i}.png", seed := seed + 1)
    return root


def idx_bytes(array: np.ndarray) -> bytes:
    """Return an IDX file of unsigned bytes."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def write_idx(root: Path, part: str, pixels: np.ndarray, labels: np.ndarray, packed: bool = False) -> None:
    """Write a pair of IDX files as MNIST names them."""
    root.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
        data, ending = (gzip.compress(idx_bytes(array)), ".gz") if packed else (idx_bytes(array), "")
        (root / f"{part}-{kind}-ubyte{ending}").write_bytes(data)


def folder(root: Path) -> Path:
    """Class folders with train and test."""
    return write_tree(root, {f"{part}/{name}": 3 for part in ("train", "test") for name in ("cat", "dog", "owl")})


def shards(root: Path) -> Path:
    """Two tar shards, of train and test, with a class as text beside each picture."""
    root.mkdir(parents=True, exist_ok=True)
    for part, first, count in (("train", 0, 9), ("test", 9, 6)):
        with tarfile.open(root / f"{part}-000.tar", "w") as archive:
            for i in range(first, first + count):
                add_member(archive, f"{i:04}.png", write_picture(root / ".part.png", i).read_bytes())
                add_member(archive, f"{i:04}.cls", ("cat", "dog", "owl")[i % 3].encode())
    (root / ".part.png").unlink()
    return root


def write_mask(path: Path, values: np.ndarray, palette: np.ndarray | None = None) -> Path:
    """Write a PNG of one channel: with a palette, else grey of 8 bits, or of 16 where the values have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette.astype(np.uint8).tobytes())
    image.save(path)
    return path


def masks(root: Path) -> Path:
    """Pictures beside palette masks of three classes, with pixels that are ignored."""
    random = np.random.default_rng(0)
    for i in range(15):
        part = "test" if i >= 9 else "train"
        write_picture(root / f"images/{part}/{i}.png", i)
        values = random.choice(np.array([0, 1, 2, 255], np.uint8), (8, 8))
        write_mask(root / f"masks/{part}/{i}.png", values, random.integers(0, 256, (256, 3)) if i % 2 else None)
    (root / "classes.txt").write_text("sky\nroad\ntree\n")
    return root


def class_masks(root: Path) -> Path:
    """Pictures with up to three masks, a file a class, in which some pixels are of several classes."""
    random = np.random.default_rng(0)
    for i in range(15):
        part = "test" if i >= 9 else "train"
        write_picture(root / f"images/{part}/{i}.png", i)
        for name in ("cat", "dog", "owl")[: 1 + i % 3] if i % 5 else ("owl",):
            write_mask(root / f"masks/{part}/{name}/{i}.png", random.choice(np.array([0, 255], np.uint8), (8, 8)))
    return root


def mot(root: Path) -> Path:
    """Four short sequences with objects of three classes."""
    for k in range(4):
        lines = []
        for frame in range(1, 5):
            write_picture(root / f"train/SEQ-{k}/img1/{frame:06}.png", 10 * k + frame)
            lines += [f"{frame},{7 + j},{1 + j},{2 + j},3,4.5,1,{(1, 3, 7)[j]},0.5" for j in range(3)]
        (root / f"train/SEQ-{k}/gt").mkdir()
        (root / f"train/SEQ-{k}/gt/gt.txt").write_text("\n".join(lines) + "\n")
    return root


def clips(root: Path) -> Path:
    """Four clips of three frames for each of three classes."""
    tree = {f"{name}/clip_{k}": 3 for name in ("run", "sit", "wave") for k in range(4)}
    return write_tree(root, tree)


def add_member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a regular file to a tar archive."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def csv(root: Path) -> Path:
    """A table beside its pictures."""
    rows = ["path,label,split"]
    for i in range(12):
        write_picture(root / f"images/{i}.png", i)
        rows.append(f"images/{i}.png,{('cat', 'dog', 'owl')[i % 3]},{'test' if i >= 9 else 'train'}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def voc(root: Path) -> Path:
    """Annotations in XML, in two lists, with what VOC says beyond boxes."""
    for i in range(12):
        write_picture(root / f"JPEGImages/{i:02}.png", i, (8, 10))
        objects = "".join(
            f"<object><name>{name}</name><pose>Left</pose><difficult>{i % 2}</difficult><bndbox><xmin>{k + 1}</xmin>"
            f"<ymin>2.5</ymin><xmax>{k + 4}</xmax><ymax>8</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin>"
            "<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"
            for k, name in enumerate(("owl", "cat", "dog")[: 1 + i % 3])
        )
        (root / "Annotations").mkdir(exist_ok=True)
        (root / f"Annotations/{i:02}.xml").write_text(
            f"<annotation><folder>birds</folder><filename>{i:02}.png</filename><source><database>Mine</database></source>"
            f"<size><width>10</width><height>8</height><depth>3</depth></size><segmented>0</segmented>{objects}"
            "</annotation>"
        )
    (root / "ImageSets/Main").mkdir(parents=True)
    for part, numbers in (("train", range(9)), ("test", range(9, 12))):
        (root / f"ImageSets/Main/{part}.txt").write_text("".join(f"{i:02}\n" for i in numbers))
    return root


def yolo(root: Path) -> Path:
    """Boxes in fractions, in train and test, with a data.yaml."""
    for i in range(12):
        part = "train" if i < 9 else "test"
        write_picture(root / f"images/{part}/{i:02}.png", i, (8, 10))
        (root / f"labels/{part}").mkdir(parents=True, exist_ok=True)
        lines = [f"{k} 0.5 0.5 {0.2 + k / 10} 0.5\n" for k in range(1 + i % 3)]
        (root / f"labels/{part}/{i:02}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("train: images/train\ntest: images/test\nnames: [owl, cat, dog]\nlicense: mine\n")
    return root


def boxes_csv(root: Path) -> Path:
    """A table with a row a box, one picture without any, and a column of the user's own."""
    rows = ["path,label,xmin,ymin,xmax,ymax,split,pose"]
    for i in range(12):
        write_picture(root / f"images/{i:02}.png", i, (8, 10))
        part = "train" if i < 9 else "test"
        for k, name in enumerate(("owl", "cat", "dog")[: i % 4]):
            rows.append(f"images/{i:02}.png,{name},{k},1.5,{k + 3},7,{part},left")
        if not i % 4:
            rows.append(f"images/{i:02}.png,,,,,,{part},")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def coco(root: Path) -> Path:
    """Two COCO files with boxes, polygons of several parts, masks, crowds, points, and numbers with gaps."""
    first = 0
    for part, count in (("train", 12), ("test", 6)):
        images, annotations = [], []
        for i in range(count):
            write_picture(root / "images" / part / f"{part}_{i}.png", first + i, (24, 32))
            images.append({"id": 10 + 3 * i, "file_name": f"{part}_{i}.png", "width": 32, "height": 24, "license": 1})
            shared = {"image_id": 10 + 3 * i, "area": 48.5, "iscrowd": 0}
            annotations += [
                {**shared, "id": 2 * i, "category_id": (7, 3, 90)[i % 3], "bbox": [i, 2.25, 8.5, 6],
                 "segmentation": [[i, 2.25, i + 8.5, 2.25, i, 8.25], [i + 1, 4, i + 2, 4, i + 2, 5]],
                 "keypoints": [i + 1, 3, 2], "num_keypoints": 1},
                {**shared, "id": 2 * i + 1, "category_id": 7, "bbox": [5, 4, 1, 9], "iscrowd": i % 2,
                 "segmentation": {"size": [24, 32], "counts": [24 * 5 + 4, 9, 24 * 26 + 11]}},
            ]  # fmt: skip
        names = {7: "cat", 3: "dog", 90: "owl"}
        categories = [{"id": n, "name": name, "supercategory": "animal"} for n, name in names.items()]
        document = {"info": {"year": 2024}, "images": images, "annotations": annotations, "categories": categories}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))
        first += count
    return root


def idx(root: Path) -> Path:
    """MNIST's four files, packed."""
    for part, count in (("train", 12), ("t10k", 6)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 5, 4))
        write_idx(root, part, pixels, np.arange(count) % 3, packed=True)
    return root


def cifar_batch(count: int, seed: int, labels: str = "labels") -> dict[str, object]:
    """Return what one batch of the Python version holds."""
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"batch_label": "one", labels: [i % 10 for i in range(count)], "data": data, "filenames": ["x"] * count}


def cifar(root: Path) -> Path:
    """CIFAR-10's batches."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        (folder / name).write_bytes(pickle.dumps(cifar_batch(20, seed), protocol=2))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    return root


def torchvision(root: Path) -> str:
    """A set that torchvision calls MNIST, below ``root``."""
    idx(root / "MNIST/raw")
    return "torchvision:MNIST"


def digits(root: Path) -> str:
    """Scikit-learn's digits, which need no file."""
    return "digits"


EXAMPLES: dict[str, Callable[[Path], Path | str]] = {name: globals()[name] for name in FORMATS if name in globals()}
"""The function above that bears a format's name."""
