"""Random edits of valid files that tell what pictures show: none is taken for what it is not, none ends in a traceback.

The formats of boxes, outlines and masks ask more of what they accept, in their own tests.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.drawings import edited
from tests.data.examples import EXAMPLES, add_member, cifar_batch, idx_bytes, write_mask, write_picture
from tests.data.soundness import REFUSALS, check_refusal, check_sound

from visus.core.recipe import DataSettings
from visus.data.formats import FORMATS

EDITS, MANY = 200, 20_000


def batches() -> dict[str, bytes]:
    """Return the files of CIFAR-10, of one picture a batch."""
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    return {
        "data_batch_1": pickle.dumps(cifar_batch(1, 0), protocol=2),
        "test_batch": pickle.dumps(cifar_batch(1, 1), protocol=2),
        "batches.meta": pickle.dumps({"label_names": names}, protocol=2),
    }


def pairs() -> dict[str, bytes]:
    """Return two pairs of files of small pictures, one of them packed in part."""
    pixels, labels = np.arange(24, dtype=np.uint8).reshape(4, 3, 2), np.arange(4) % 2
    return {
        "train-images-idx3-ubyte": idx_bytes(pixels), "train-labels-idx1-ubyte": idx_bytes(labels),
        "t10k-images-idx3-ubyte.gz": gzip.compress(idx_bytes(pixels)), "t10k-labels-idx1-ubyte": idx_bytes(labels),
    }  # fmt: skip


def sequence() -> dict[str, bytes]:
    """Return a sequence whose frames are not there: ten of them, and an object in each of three."""
    lines = "".join(f"{frame},1,{10 * frame},20,30,40.5,1,1,0.5\n" for frame in (1, 2, 5))
    info = "[Sequence]\nname=one\nimDir=img1\nframeRate=30\nseqLength=10\nimWidth=200\nimHeight=100\nimExt=.jpg\n"
    return {"SEQ/gt/gt.txt": lines.encode(), "SEQ/seqinfo.ini": info.encode()}


def shards() -> dict[str, bytes]:
    """Return two shards of four records whose pictures are a few bytes: only what lies around them is read."""
    files = {"classes.txt": b"cat\ndog\nowl\n"}
    for part, first in (("train", 0), ("test", 4)):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w") as archive:
            for i in range(first, first + 4):
                add_member(archive, f"{i:04}.png", b"picture")
                if i % 2:
                    add_member(archive, f"{i:04}.cls", b"%d" % (i % 3))
                else:
                    add_member(archive, f"{i:04}.json", b'{"label": %d, "more": [1, null]}' % (i % 3))
        files[f"{part}.tar"] = held.getvalue()
    return files


TABLES = (
    'path,label,split,group\na.png,cat,train,1\nb.png,dog,val,2\nsub/c.png,"owl, grey",test,3\n',
    "file;tags\na.png;cat|dog\nb.png;dog\nsub/c.png;\n",
    "path,age,height\na.png,1.5,2\nb.png,,-3e2\nsub/c.png,7,nan\n",
)
CLASSES = {
    "classes.txt": b"sky\nroad\n",
    "classes.json": b'{"classes": {"sky": 0, "road": 1}, "ignore": [255, 7]}',
    "info.yaml": b"classes:\n- {name: sky, value: 0, color: [9, 8, 7]}\n- {name: road, value: 1}\n",
}
WHOLE: dict[str, list[dict[str, bytes]]] = {
    "csv": [{"labels.csv": text.encode()} for text in TABLES],
    "cifar": [batches()], "idx": [pairs()], "mot": [sequence()], "shards": [shards()],
    "masks": [{file: text} for file, text in CLASSES.items()],
}  # fmt: skip
"""What is edited of each format, in one or several ways in which it can lie."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders, one for each way, whose pictures stay while what is said of them changes."""
    root = tmp_path_factory.mktemp("edits")
    for name, ways in WHOLE.items():
        for way, files in enumerate(ways):
            for i, picture in enumerate(("a.png", "b.png", "sub/c.png") if name == "csv" else ()):
                write_picture(root / f"{name}{way}" / picture, i)
            for i in range(3) if name == "masks" else ():
                values = np.array([0, 1, 255], np.uint8).repeat(22)[:64].reshape(8, 8)
                write_picture(root / f"masks{way}/images/{i}.png", i)
                write_mask(root / f"masks{way}/masks/{i}.png", values)
            for file in files:
                (root / f"{name}{way}" / file).parent.mkdir(parents=True, exist_ok=True)
    return root


def check_an_edit(name: str, home: Path, data: st.DataObject) -> None:
    """Edit one of the files, read them all, and ask that the answer names one of them or holds together."""
    way = data.draw(st.integers(0, len(WHOLE[name]) - 1))
    root, files = home / f"{name}{way}", WHOLE[name][way]
    changed = data.draw(st.sampled_from(sorted(files)))
    for file, whole in files.items():
        (root / file).write_bytes(edited(whole, data) if file == changed else whole)
    try:
        dataset = FORMATS[name].read(root, DataSettings(max_bad=1.0))
    except REFUSALS as error:
        check_refusal(error, str(root), *files)
        return
    check_sound(dataset)


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=EDITS)
@given(data=st.data())
def test_an_edited_file_is_refused_by_name_or_still_holds_together(name: str, data: st.DataObject, home: Path):
    check_an_edit(name, home, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=MANY)
@given(data=st.data())
def test_each_of_very_many_is_too(name: str, data: st.DataObject, home: Path):
    check_an_edit(name, home, data)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"digits", "torchvision"}))
def test_the_example_of_every_format_holds_together(name: str, tmp_path: Path):
    check_sound(FORMATS[name].read(Path(EXAMPLES[name](tmp_path)), DataSettings()))
