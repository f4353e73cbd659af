"""Pictures behind an address or inside a shard are those of the disk, bit for bit; what fails is named."""

import io
import tarfile

import fsspec
import numpy as np
import pytest
from tests.data.examples import add_member, shards, write_picture, write_tree
from tests.data.plain import Brighten, collate, same
from tests.verbs.examples import TINY, write_classes

import visus
from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.data.feed import Feed
from visus.data.fetched import fetch, is_address
from visus.data.formats.shards import read_shards
from visus.data.identical import identical_across_splits
from visus.data.reading import open_data

SETTINGS = DataSettings()


@pytest.fixture
def bucket():
    """Return a function that puts a folder into a bucket and returns its address."""
    memory = fsspec.filesystem("memory")

    def put(folder, name="photos"):
        for path in folder.rglob("*"):
            if path.is_file():
                memory.pipe_file(f"/bucket/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"memory://bucket/{name}"

    yield put
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


def batches(dataset, stored=0):
    feed = Feed(dataset, dataset.indices("train"), Brighten(), collate, batch=4, seed=3, train=True, channels=3,
                stored=stored)  # fmt: skip
    try:
        return [feed.batch(step) for step in range(4)]
    finally:
        feed.close()


@pytest.mark.parametrize("text", ["s3://bucket/a", "memory://a", "https://host/x.tar", "gs://b"])
def test_addresses_are_known_by_their_beginning(text):
    assert is_address(text)


@pytest.mark.parametrize("text", ["photos", "/data/photos", "C://photos", "torchvision:MNIST", "a/b://c"])
def test_paths_and_names_are_no_addresses(text):
    assert not is_address(text)


@pytest.mark.parametrize("stored", [0, 6])
def test_a_folder_behind_an_address_gives_the_batches_of_the_folder(tmp_path, bucket, stored):
    folder = write_tree(tmp_path / "photos", {f"{part}/{name}": 6 for part in ("train", "test") for name in "ab"})
    here, there = (open_data(place, SETTINGS) for place in (folder, bucket(folder)))
    assert list(here.ids) == list(there.ids) and here.classes == there.classes
    assert all(same(a, b) for a, b in zip(batches(here, stored), batches(there, stored), strict=True))


def test_a_table_behind_an_address_is_read_as_a_table(tmp_path, bucket):
    rows = ["path,label"] + [f"{i}.png,{'ab'[i % 2]}" for i in range(8)]
    for i in range(8):
        write_picture(tmp_path / f"{i}.png", i)
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    there = open_data(bucket(tmp_path), SETTINGS)
    assert there.format == "csv" and there.classes == ("a", "b")
    np.testing.assert_array_equal(there.images.read(3), open_data(tmp_path, SETTINGS).images.read(3))


def test_training_from_an_address_gives_the_bits_of_training_from_the_disk(tmp_path, bucket):
    folder = write_classes(tmp_path / "photos")
    runs = [
        visus.train(data, steps=6, seed=2, set={**TINY, "data.workers": 0}, out=tmp_path / name)
        for data, name in ((folder, "here"), (bucket(folder), "there"))
    ]
    here, there = (visus.load(run.best).network.state_dict() for run in runs)
    assert all((tensor == there[name]).all() for name, tensor in here.items())


def test_shards_give_the_pictures_and_classes_they_hold(tmp_path):
    dataset = open_data(shards(tmp_path), SETTINGS, carve=False)
    assert dataset.classes == ("cat", "dog", "owl")
    assert [len(dataset.indices(split)) for split in ("train", "val", "test")] == [9, 0, 6]
    for i in (0, 8, 14):
        seed = int(dataset.ids[i].removesuffix(".png"))
        expected = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        np.testing.assert_array_equal(dataset.images.read(i), expected)


def test_shards_named_by_braces_and_behind_an_address_are_the_same(tmp_path, bucket):
    here = open_data(shards(tmp_path), SETTINGS, carve=False)
    address = bucket(tmp_path)
    for place in (address, f"{address}/train-{{000..000}}.tar"):
        there = open_data(place, SETTINGS, carve=False)
        same = list(here.ids).index(there.ids[4])
        np.testing.assert_array_equal(there.images.read(4), here.images.read(same))
    few = open_data(f"{tmp_path}/train-{{000..000}}.tar", SETTINGS, carve=False)
    assert len(few) == 9


def test_numbered_classes_are_named_by_the_list_beside_them(tmp_path):
    write_shard(tmp_path / "a.tar", {f"{i}.{kind}": data for i in range(4) for kind, data in
                                     (("png", picture(i)), ("json", b'{"label": %d}' % (i % 2)))})  # fmt: skip
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert open_data(tmp_path, SETTINGS, carve=False).classes == ("cat", "dog")


def write_shard(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            add_member(archive, name, data)


def picture(seed=0):
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"0.png": b"x"}, "DATA-371"),
        ({"0.png": b"x", "0.cls": b""}, "DATA-371"),
        ({"0.png": b"x", "0.cls": b"\xff\xfe"}, "DATA-371"),
        ({"0.png": b"x", "0.json": b"{"}, "DATA-371"),
        ({"0.png": b"x", "0.json": b"[" * 100_000}, "DATA-371"),
        ({"0.png": b"x", "0.json": b'{"label": [1]}'}, "DATA-371"),
        ({"0.png": b"x", "0.json": b'{"label": 1, "label": 2}'}, "DATA-371"),
        ({"0.png": b"x", "0.cls": b"cat", "0.json": b'{"label": "dog"}'}, "DATA-371"),
        ({"0.cls": b"1"}, "DATA-372"),
        ({"0.png": b"x", "0.jpg": b"x", "0.cls": b"1"}, "DATA-374"),
    ],
)
def test_a_record_without_a_class_or_picture_is_named(tmp_path, members, code):
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(DataError) as told:
        open_data(tmp_path, SETTINGS)
    assert told.value.code == code


def test_links_and_names_that_lead_out_are_never_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for i in range(4):
            add_member(archive, f"../../{i}.png", picture(i))
            add_member(archive, f"../../{i}.cls", b"%d" % (i % 2))
    dataset = open_data(tmp_path, SETTINGS, carve=False)
    assert len(dataset) == 4 and dataset.images.read(0).shape == (8, 8, 3)
    assert not list(tmp_path.parent.glob("[0-9].png"))


def test_a_torn_shard_is_told_of(tmp_path):
    path = shards(tmp_path) / "train-000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError) as told:
        open_data(tmp_path, SETTINGS)
    assert "train-000.tar" in told.value.what


def member(name, size, kind=tarfile.REGTYPE):
    """Return a header that says what it likes."""
    held = tarfile.TarInfo(name)
    held.size, held.type = size, kind
    return held.tobuf(tarfile.GNU_FORMAT)


def lies(tmp_path):
    """Return two records, then what no archive should hold, by what is wrong with it."""
    write_shard(tmp_path / "whole.tar", {f"{i}.{kind}": b"1" for i in (0, 1) for kind in ("png", "cls")})
    whole = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "whole.tar").unlink()
    end = 8 * tarfile.BLOCKSIZE  # a header and a block of data for each of four members
    return {
        "is damaged": whole[: end // 2] + b"\1" + whole[end // 2 + 1 :],
        "more behind its end": whole + whole,
        "leads back": whole[:end] + member("2.png", -tarfile.BLOCKSIZE) + whole[end:],
        "": whole[:end] + member("2.png", 1 << 50, tarfile.GNUTYPE_LONGNAME) + whole[end:],
        "recursion": member("2.png", 1, tarfile.GNUTYPE_LONGNAME).ljust(2 * tarfile.BLOCKSIZE, b"a") * 2_000,
    }


@pytest.mark.parametrize("told", ["is damaged", "more behind its end", "leads back", "", "recursion"])
def test_a_shard_of_which_a_part_would_be_left_out_or_that_never_ends_is_refused(tmp_path, told):
    (tmp_path / "a.tar").write_bytes(lies(tmp_path)[told])
    with pytest.raises(DataError, match=r"a\.tar") as caught:
        read_shards([str(tmp_path / "a.tar")], SETTINGS, name="a", root=tmp_path)
    assert caught.value.code == "DATA-370" and told in caught.value.where


def test_a_class_of_which_the_shard_holds_only_the_beginning_is_refused(tmp_path):
    write_shard(tmp_path / "a.tar", {"0.png": b"x"})
    whole = (tmp_path / "a.tar").read_bytes()[: 2 * tarfile.BLOCKSIZE]
    (tmp_path / "a.tar").write_bytes(whole + member("0.cls", 700) + b"cat".ljust(tarfile.BLOCKSIZE))
    with pytest.raises(DataError, match=r"a\.tar: 0\.cls names no class") as caught:
        open_data(tmp_path, SETTINGS)
    assert caught.value.code == "DATA-371"


def test_a_shard_that_ends_with_its_last_member_is_read_with_a_note(tmp_path):
    write_shard(tmp_path / "a.tar", {"0.png": b"x", "0.cls": b"1"})
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[: 4 * tarfile.BLOCKSIZE])
    dataset = open_data(tmp_path, SETTINGS, carve=False)
    assert len(dataset) == 1 and "no mark at its end" in dataset.notes[0]


@pytest.mark.parametrize(("known", "label"), [(b"0", b"2"), (b"0", b"9" * 5000), (b"cat", b"owl"), (b"cat", b"1")])
def test_a_class_that_the_list_does_not_have_is_refused(tmp_path, known, label):
    write_shard(tmp_path / "a.tar", {"0.png": b"x", "0.cls": known, "1.png": b"x", "1.cls": label})
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"a\.tar: the class of 1\.png is not listed") as caught:
        open_data(tmp_path, SETTINGS)
    assert caught.value.code == "DATA-371"


def test_listed_classes_may_be_named(tmp_path):
    write_shard(tmp_path / "a.tar", {"0.png": b"x", "0.cls": b"dog", "1.png": b"x", "1.cls": b"cat"})
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert open_data(tmp_path, SETTINGS, carve=False).columns["label"].tolist() == [1, 0]


def test_the_same_picture_in_two_splits_is_found_inside_shards(tmp_path):
    for part in ("train", "test"):
        write_shard(tmp_path / f"{part}.tar", {"0.png": picture(0), "0.cls": b"a", "1.png": picture(len(part)),
                                               "1.cls": b"b"})  # fmt: skip
    assert identical_across_splits(open_data(tmp_path, SETTINGS, carve=False)) == [("train/0.png", "test/0.png")]


def test_an_unknown_kind_of_address_says_what_to_install():
    with pytest.raises(UsageError, match="such addresses"):
        open_data("nosuch://bucket/photos", SETTINGS)


def test_an_address_where_nothing_lies_is_told_of(bucket, tmp_path):
    with pytest.raises(DataError, match="nothing lies there"):
        open_data("memory://bucket/nothing", SETTINGS)


def test_what_fails_for_a_moment_is_fetched_again(monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/one", b"abcdef")
    failures = [OSError("reset by peer"), OSError("timed out")]
    whole = type(memory).cat_file

    def shaky(self, path, start=None, end=None, **rest):
        if failures:
            raise failures.pop()
        return whole(self, path, start=start, end=end, **rest)

    monkeypatch.setattr(type(memory), "cat_file", shaky)
    assert fetch("memory://bucket/one", 2, 3) == b"cde"
    memory.rm("/bucket", recursive=True)


def test_bytes_that_are_not_there_are_told_of(tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"abc")
    with pytest.raises(DataError) as told:
        fetch(str(path), 1, 5)
    assert told.value.code == "DATA-361"
