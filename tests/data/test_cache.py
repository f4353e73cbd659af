"""Decoded pictures are kept whole or not at all, and reading them gives the bits of decoding them."""

import multiprocessing
import os
import pickle
import resource
import signal
import tempfile
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.plain import Brighten, collate, in_folder, odd_sizes, of_array, of_files, same

from visus.core.errors import UsageError
from visus.data import cache
from visus.data.cache import Cache, Plan, build, plan, prune
from visus.data.feed import Feed
from visus.data.pixels import pictures


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("VISUS_CACHE", str(tmp_path / "caches"))
    monkeypatch.delenv("VISUS_CACHE_LIMIT", raising=False)
    return tmp_path / "caches"


@pytest.fixture
def photos(tmp_path):
    """Return a folder for files."""
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def all_of(data):
    return np.arange(len(data))


def built(data, mode="disk", stored=0, channels=3, indices=None, **options):
    """Return a cache that must be there, made without notes."""
    some = all_of(data) if indices is None else indices
    made, notes = build(Plan(mode, 0, "", stored, channels), data, some, **options)
    assert made is not None and notes == ()
    return made


def bits(taken):
    """Return everything that was taken, in a form that can be compared."""
    images = [(image.shape, image.stride(), image.dtype, image.numpy().tobytes()) for image in taken.images]
    return images, taken.originals.tolist(), taken.bad


def silent(_):
    pass


# the same bits


@pytest.mark.parametrize("mode", ["disk", "memory"])
@pytest.mark.parametrize(("stored", "channels"), [(0, 3), (0, 1), (12, 3)])
def test_pictures_of_many_sizes_come_from_the_cache_as_from_their_files(photos, mode, stored, channels):
    data = of_files(photos, odd_sizes(70))
    some = np.array([69, 3, 3, 40, 0])
    expected = pictures(data.images, channels, stored).take(some, silent)
    assert bits(built(data, mode, stored, channels).take(some, silent)) == bits(expected)


@pytest.mark.parametrize("size", [(20, 30), (200, 300)])
@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_pictures_of_one_size_come_from_the_cache_as_from_their_files(photos, mode, size):
    data = of_files(photos, list(np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)))
    expected = pictures(data.images, 3).take(all_of(data), silent)
    made = built(data, mode).take(all_of(data), silent)
    assert isinstance(made.images, torch.Tensor) == (size == (20, 30)) == isinstance(expected.images, torch.Tensor)
    assert bits(made) == bits(expected)


@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_pictures_of_several_depths_come_from_the_cache_as_from_their_files(photos, mode):
    random = np.random.default_rng(0)
    data = of_files(photos, [random.integers(0, 256, (9, 11, *c), dtype=np.uint8) for c in ((), (3,), ())])
    Image.fromarray(random.integers(0, 65536, (9, 11), dtype=np.uint16)).save(photos / "001.png")
    expected = pictures(data.images, 1).take(all_of(data), silent)
    assert [image.dtype for image in expected.images] == [torch.uint8, torch.uint16, torch.uint8]
    assert bits(built(data, mode, channels=1).take(all_of(data), silent)) == bits(expected)


def test_real_jpeg_pictures_train_with_the_same_bits_cached_and_uncached(real_data):
    folder = real_data / "cifar10_jpg_subset" / "train"
    data = in_folder(folder, sorted(str(p.relative_to(folder)) for p in folder.glob("*/*.jpg"))[::60])
    settings = {"batch": 32, "seed": 1, "train": True, "channels": 3, "stored": 20}
    made = built(data, stored=20)
    assert len(data) > 100 and isinstance(made.take(all_of(data), silent).images, torch.Tensor)
    with (
        Feed(data, all_of(data), Brighten(1), collate, **settings) as uncached,
        Feed(data, all_of(data), Brighten(1), collate, cache=made, **settings) as cached,
        Feed(data, all_of(data), Brighten(1), collate, cache=made, workers=1, **settings) as worked,
    ):
        for step in range(8):
            assert same(uncached.batch(step), cached.batch(step)) and same(uncached.batch(step), worked.batch(step))


def test_pictures_of_an_array_can_be_kept_smaller(photos):
    data = of_array(40, size=16)
    expected = pictures(data.images, 3, 8).take(all_of(data), silent)
    assert bits(built(data, "memory", stored=8).take(all_of(data), silent)) == bits(expected)


def test_a_cache_of_some_records_serves_those_and_refuses_others(photos):
    data = of_files(photos, odd_sizes(9))
    made = built(data, indices=np.array([7, 2, 5]))
    assert bits(made.take(np.array([5, 7]), silent)) == bits(pictures(data.images, 3).take(np.array([5, 7]), silent))
    with pytest.raises(UsageError, match="not made for"):
        made.take(np.array([3]), silent)


def test_a_cache_travels_to_a_worker_as_the_name_of_its_file(photos):
    data = of_files(photos, [np.zeros((200, 200, 3), np.uint8)] * 4)
    message = ForkingPickler.dumps(built(data))
    assert len(message) < 2_000
    assert isinstance(pickle.loads(message), Cache)


def test_a_feed_refuses_a_cache_made_for_other_pixels(photos):
    data = of_files(photos, odd_sizes(4))
    settings = {"batch": 2, "seed": 0, "train": True, "channels": 3}
    with pytest.raises(UsageError, match="cache holds 3 channels at size 12"):
        Feed(data, all_of(data), Brighten(), collate, cache=built(data, stored=12), **settings)


# bad files


@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_files_that_cannot_be_read_are_remembered_with_their_reasons(photos, mode):
    data = of_files(photos, [np.full((9, 9, 3), i, np.uint8) for i in range(40)])
    (photos / "033.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (photos / "002.png").unlink()
    expected = pictures(data.images, 3).take(all_of(data), silent)
    made = built(data, mode)
    assert sorted(expected.bad) == [2, 33] and made.bad == expected.bad
    assert bits(made.take(all_of(data), silent)) == bits(expected)
    assert isinstance(made.take(all_of(data), silent).images, torch.Tensor)


def test_a_picture_that_failed_to_be_read_only_once_is_good_from_the_next_run_on(photos):
    data = of_files(photos, odd_sizes(9))
    stamp, whole = (photos / "003.png").stat(), (photos / "003.png").read_bytes()
    (photos / "003.png").write_bytes(bytes(len(whole)))  # as a failing disk may give it, for a moment
    os.utime(photos / "003.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert list(built(data).bad) == [3]
    (photos / "003.png").write_bytes(whole)
    os.utime(photos / "003.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    made, notes = build(Plan("disk", 0, "", 0, 3), data, all_of(data))
    assert not made.bad and notes[0].startswith("1 of the pictures can be read now")
    assert not built(data).bad


def test_the_reason_why_a_file_is_bad_does_not_repeat_its_name(photos):
    data = in_folder(photos, ["empty.png"])
    (photos / "empty.png").touch()
    assert pictures(data.images, 3).take(all_of(data), silent).bad == {0: "the file is empty"}


def test_a_data_set_of_which_nothing_can_be_read_gives_an_empty_cache(photos):
    data = in_folder(photos, ["a.png", "b.png"])
    assert sorted(built(data).take(all_of(data), silent).bad) == [0, 1]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_picture_that_ends_every_process_that_decodes_it_is_bad_and_the_rest_is_kept(photos):
    data = of_files(photos, odd_sizes(6))
    deadly = data.with_(images=Deadly(data.images))
    assert built(deadly, "memory", workers=1).bad == {4: "was ended by signal 9 (SIGKILL)"}


class Deadly:
    def __init__(self, images):
        self.images = images

    def read(self, i):
        if i == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.images.read(i)


# found again, or not


def counted(data, **options):
    """Return a cache and how many pictures were decoded for it."""
    seen = []
    return built(data, progress=lambda done, total: seen.append((done, total)), **options), seen[-1][0] if seen else 0


def test_a_second_run_decodes_nothing(photos):
    data = of_files(photos, odd_sizes(40))
    assert counted(data)[1] == 40
    assert counted(in_folder(photos, list(data.ids)))[1] == 0


def test_other_pixels_need_another_cache(photos):
    data = of_files(photos, odd_sizes(5))
    others = [{}, {"channels": 1}, {"stored": 10}, {"indices": np.arange(3)}]
    assert [counted(data, **other)[1] for other in others] == [5, 5, 5, 3]


def test_a_file_that_changed_makes_the_cache_anew_even_at_the_same_size(photos):
    data = of_files(photos, [np.zeros((8, 8, 3), np.uint8)] * 2, kind="bmp")
    assert int(built(data).take(np.array([1]), silent).images.max()) == 0
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(photos / "001.bmp")
    os.utime(photos / "001.bmp", ns=(1, 1))
    assert int(built(data).take(np.array([1]), silent).images.max()) == 9


@pytest.mark.parametrize("damage", ["cut", "end", "table", "empty", "other"])
def test_a_damaged_cache_is_detected_and_made_again(photos, root, damage):
    data = of_files(photos, odd_sizes(6))
    path = built(data).path
    whole = path.read_bytes()
    broken = {
        "cut": whole[:-100],
        "end": whole[:-3] + b"abc",
        "table": whole[: path.stat().st_size - 400] + b"\xff" + whole[path.stat().st_size - 399 :],
        "empty": b"",
        "other": whole.replace(path.stem.encode(), b"0" * len(path.stem)),
    }[damage]
    path.write_bytes(broken)
    made, notes = build(Plan("disk", 0, "", 0, 3), data, all_of(data))
    assert len(notes) == 1 and "made again" in notes[0]
    assert path.read_bytes() == whole
    assert bits(made.take(all_of(data), silent)) == bits(pictures(data.images, 3).take(all_of(data), silent))


def build_and_stop(data, pipe):
    def stop(done, total):
        pipe.send(done)
        time.sleep(60)

    build(Plan("disk", 0, "", 0, 3), data, all_of(data), progress=stop)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_build_that_is_killed_leaves_nothing_that_is_used_or_stays(photos, root):
    data = of_files(photos, odd_sizes(100))
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=build_and_stop, args=(data, theirs))
    process.start()
    assert ours.recv() == 32
    process.kill()
    process.join()
    assert not list(root.glob("*.pixels")) and list(root.glob(".visus-part-*"))
    assert counted(data)[1] == 100
    assert not list(root.glob(".visus-part-*"))


# no room


@pytest.mark.skipif(os.name != "posix", reason="limits on file sizes")
def test_a_full_disk_sends_the_pictures_to_memory_and_says_so(photos, root):
    data = of_files(photos, [np.zeros((100, 100, 3), np.uint8)] * 9)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        made, notes = build(Plan("disk", 270_000, "", 0, 3), data, all_of(data))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert made is not None and made.path is None and len(made) == 9
    assert len(notes) == 1 and "disk is full" in notes[0] and "kept in memory instead" in notes[0]
    assert not list(root.glob("*.pixels")) and not list(root.glob(".visus-part-*"))


def test_a_folder_that_cannot_be_written_to_is_no_reason_to_stop(photos, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VISUS_CACHE", str(tmp_path / "file" / "below"))
    data = of_files(photos, odd_sizes(3))
    made, notes = build(Plan("disk", 1_000, "", 0, 3), data, all_of(data))
    assert made.path is None and "could not be kept on disk" in notes[0]


def test_what_fits_nowhere_is_not_kept_and_the_note_says_so(photos, monkeypatch):
    monkeypatch.setenv("VISUS_CACHE_LIMIT", "0")
    data = of_files(photos, odd_sizes(3))
    made, notes = build(Plan("disk", 10**15, "", 0, 3), data, all_of(data))
    assert made is None and "over the limit of 0.0 MB" in notes[0] and "nothing is kept" in notes[0]


def test_the_caches_used_longest_ago_are_removed_first(photos, root):
    data = of_files(photos, [np.zeros((50, 50, 3), np.uint8)] * 4)
    paths = [built(data, indices=np.array([i])).path for i in range(4)]
    for age, path in zip((4, 3, 2, 1), paths, strict=True):
        os.utime(path, (time.time() - 100 * age,) * 2)
    built(data, indices=np.array([0]))  # used again: now the youngest
    size = paths[0].stat().st_size
    assert prune(root, 2 * size + 100) == [paths[2], paths[1]]
    assert sorted(root.glob("*.pixels")) == sorted([paths[0], paths[3]])


def test_the_limit_makes_room_before_a_new_cache_is_made(photos, root, monkeypatch):
    data = of_files(photos, [np.zeros((50, 50, 3), np.uint8)] * 2)
    old = built(data, indices=np.array([0])).path
    monkeypatch.setenv("VISUS_CACHE_LIMIT", "0.00001")  # 10 kB
    made, notes = build(Plan("disk", 7_500, "", 0, 3), data, np.array([1]))
    assert made.path.exists() and not old.exists() and "1 decoded data sets used longest ago were removed" in notes[0]


def test_a_limit_that_is_no_number_is_a_usage_error(photos, monkeypatch):
    monkeypatch.setenv("VISUS_CACHE_LIMIT", "plenty")
    data = of_files(photos, odd_sizes(3))
    with pytest.raises(UsageError, match="VISUS_CACHE_LIMIT=plenty"):
        planned(data)


def test_caches_lie_where_the_user_or_the_system_says(monkeypatch, tmp_path):
    assert cache.root() == tmp_path / "caches"
    monkeypatch.delenv("VISUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.root() == Path("/elsewhere/visus")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.root() == Path.home() / ".cache" / "visus"


def test_a_user_without_a_home_keeps_caches_among_temporary_files(monkeypatch):
    for name in ("VISUS_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)  # a number without an entry, as containers run under
    assert cache.root() == Path(tempfile.gettempdir()) / "visus"


# the rule


def planned(data, mode="auto", stored=0, channels=3, passes=10):
    return plan(data, all_of(data), mode=mode, stored=stored, channels=channels, size=(8, 8), passes=passes)


def test_the_size_is_foreseen_from_headers(photos):
    data = of_files(photos, [np.zeros((60, 80, 3), np.uint8)] * 5)
    assert planned(data).bytes == 5 * 60 * 80 * 3 == built(data).bytes
    assert planned(data, stored=30).bytes == 5 * 30 * 40 * 3 == built(data, stored=30).bytes


def test_the_size_of_deep_pictures_is_foreseen(photos):
    data = of_files(photos, [np.full((60, 80), 40_000, np.uint16)] * 5)
    assert planned(data, channels=1).bytes == 5 * 60 * 80 * 2 == built(data, channels=1).bytes


def test_the_size_of_pictures_that_are_larger_than_usual_is_foreseen(photos, monkeypatch):
    data = of_files(photos, [np.zeros((60, 80, 3), np.uint8)] * 5)
    monkeypatch.setattr("visus.data.decode.peek.__kwdefaults__", {"max_pixels": 60 * 80 - 1})
    assert planned(data).bytes == 5 * 60 * 80 * 3


def test_files_read_more_than_once_are_kept_on_disk(photos):
    assert planned(of_files(photos, odd_sizes(5))).mode == "disk"


def test_files_read_once_are_not_kept(photos):
    decided = planned(of_files(photos, odd_sizes(5)), passes=1)
    assert (decided.mode, decided.bytes, decided.why) == ("off", 0, "each picture is read about once")


def test_what_the_disk_may_not_hold_is_kept_in_memory(photos, monkeypatch):
    monkeypatch.setenv("VISUS_CACHE_LIMIT", "0")
    assert planned(of_files(photos, odd_sizes(5))).mode == "memory"


def test_an_array_is_kept_only_to_be_smaller():
    data = of_array(20, size=16)
    assert planned(data).mode == planned(data, stored=16).mode == "off"
    assert planned(data, stored=8).mode == "disk"


def test_what_is_too_large_for_memory_and_disk_is_not_kept_and_a_smaller_size_is_advised(photos):
    data = of_files(photos, [np.zeros((1_000, 1_000, 3), np.uint8)])
    many = data.with_(ids=data.ids)
    decided = plan(many, np.zeros(10**9, np.int64), mode="auto", stored=0, channels=3, size=(224, 224), passes=9)
    assert decided.mode == "off" and "--set data.stored=256 would need less" in decided.why


@pytest.mark.parametrize("mode", ["off", "memory", "disk"])
def test_the_users_word_stands(photos, mode):
    decided = planned(of_files(photos, odd_sizes(5)), mode=mode, passes=1)
    assert (decided.mode, decided.why) == (mode, "as asked for")


def test_a_plan_of_off_builds_nothing(photos, root):
    data = of_files(photos, odd_sizes(3))
    assert build(planned(data, "off"), data, all_of(data)) == (None, ()) and not root.exists()
