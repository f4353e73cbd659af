"""One look at every picture: the numbers equal those of other libraries, and nothing stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.data.plain import in_folder, odd_sizes, of_array, of_files

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages, Strings
from visus.data.decode import decode
from visus.data.looking import SIDE, look


def one(array):
    """Return the row of ``Seen`` of one picture, by column."""
    data = of_array(1).with_(images=ArrayImages(array[None]))
    seen = look(data)
    return {name: getattr(seen, name)[0] for name in ("size", "channels", "depth", "brightness", "contrast",
                                                      "sharpness", "digest", "small")}  # fmt: skip


def smooth(height, width, channels=3, seed=0):
    rough = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, channels), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough.squeeze()).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [(70, 90), (1300, 1100)], ids=["at once", "in bands"])
def test_brightness_and_contrast_are_those_of_the_grey_picture_as_pillow_makes_it(size):
    picture = smooth(*size)
    grey = np.asarray(Image.fromarray(picture).convert("L")) / 255
    found = one(picture)
    assert found["brightness"] == pytest.approx(grey.mean(), abs=1e-5)
    assert found["contrast"] == pytest.approx(grey.std(), abs=1e-5)


def test_sharpness_is_the_variance_of_opencvs_laplacian_over_the_variance():
    grey = smooth(90, 120, 1).astype(np.float64) / 255
    steep = cv2.Laplacian(grey, cv2.CV_64F, ksize=1)[1:-1, 1:-1]
    assert one(smooth(90, 120, 1))["sharpness"] == pytest.approx(steep.var() / grey.var(), rel=1e-3)


def test_sharpness_falls_with_blur_and_not_with_contrast():
    picture = smooth(300, 400, 1)
    usual = one(picture)["sharpness"]
    assert one(cv2.GaussianBlur(picture, (0, 0), 4))["sharpness"] < 0.5 * usual
    assert one(picture // 2 + 60)["sharpness"] == pytest.approx(usual, rel=0.05)


@pytest.mark.parametrize("picture", [np.full((9, 9), 7, np.uint8), smooth(2, 50, 1)], ids=["one grey", "a line"])
def test_what_has_no_edges_has_no_sharpness(picture):
    assert np.isnan(one(picture)["sharpness"])


@pytest.mark.parametrize("size", [(64, 96), (75, 50), (1300, 1100)])
def test_the_small_picture_is_opencvs_by_area(size):
    picture = smooth(*size, 1)
    expected = cv2.resize(picture.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(one(picture)["small"] - expected).max() <= 0.6


def test_the_small_picture_of_a_smaller_one_keeps_its_mean():
    picture = smooth(28, 28, 1)
    assert one(picture)["small"].mean() == pytest.approx(picture.mean(), abs=0.6)


def test_a_mere_line_is_looked_at_as_well():
    found = one(np.arange(20_000, dtype=np.uint32).astype(np.uint8)[:, None].repeat(2, 1))
    assert found["size"].tolist() == [20_000, 2] and found["brightness"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_depths_are_scaled_by_their_whole_range(dtype):
    levels = smooth(40, 50).astype(np.float64) / 255
    picture = (levels * 65535).round().astype(np.uint16) if dtype == np.uint16 else levels.astype(np.float32)
    usual, found = one(smooth(40, 50)), one(picture)
    assert found["depth"] == 8 * np.dtype(dtype).itemsize
    assert found["brightness"] == pytest.approx(usual["brightness"], abs=2e-3)
    assert found["contrast"] == pytest.approx(usual["contrast"], abs=2e-3)


def test_pictures_of_other_channels_are_looked_at_by_their_mean():
    found = one(np.full((8, 8, 5), 51, np.uint8))
    assert found["channels"] == 5 and found["brightness"] == pytest.approx(0.2)


def test_an_array_of_a_depth_without_a_rule_is_a_reason():
    seen = look(of_array(3).with_(images=ArrayImages(np.zeros((3, 4, 4), np.int64))))
    assert seen.reasons == dict.fromkeys(range(3), "pixels are int64") and not seen.size.any()


def test_files_and_an_array_of_the_same_pixels_look_the_same(tmp_path):
    array = of_array(70, size=11)
    files = of_files(tmp_path, list(array.images.array))
    seen, same = look(files), look(array)
    for name in ("size", "channels", "depth", "orientation", "brightness", "contrast", "sharpness", "digest", "small"):
        assert np.allclose(getattr(seen, name), getattr(same, name), atol=1e-6), name


def test_what_is_seen_of_a_picture_does_not_depend_on_its_neighbours(tmp_path):
    wide, tall = smooth(40, 30), smooth(30, 40, seed=1)
    pictures = [wide, tall, wide // 2, smooth(40, 30, 1), wide.astype(np.uint16)[..., 0] * 257, smooth(300, 200), tall]
    files = of_files(tmp_path, pictures)
    seen = look(files)
    assert not seen.reasons
    for i, picture in enumerate(pictures):
        for name, alone in one(picture).items():
            assert np.allclose(getattr(seen, name)[i], alone, atol=1e-6), (i, name)


def test_the_digest_is_of_upright_pixels_and_their_size_whatever_file_they_came_in(tmp_path):
    picture = odd_sizes(2)[1]
    turned = np.ascontiguousarray(np.rot90(picture))  # what EXIF's orientation 6 turns back
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture).save(tmp_path / "b.bmp")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned).save(tmp_path / "c.png", exif=exif)
    Image.fromarray(turned).save(tmp_path / "d.png")
    flat = picture.reshape(1, -1, 3)
    Image.fromarray(flat).save(tmp_path / "e.png")
    seen = look(in_folder(tmp_path, ["a.png", "b.bmp", "c.png", "d.png", "e.png"]))
    same = [row.tobytes() for row in seen.digest]
    assert same[0] == same[1] == same[2] and len(set(same)) == 3
    assert seen.orientation.tolist() == [1, 1, 6, 1, 1] and seen.size[2].tolist() == list(picture.shape[:2])


def test_broken_files_are_reasons_without_their_name_and_the_rest_is_seen(tmp_path):
    data = of_files(tmp_path, odd_sizes(40))
    (tmp_path / "007.png").write_bytes((tmp_path / "007.png").read_bytes()[:60])
    (tmp_path / "039.png").unlink()
    seen = look(data)
    assert seen.reasons.keys() == {7, 39} and seen.reasons[7].startswith("the file ends early")
    assert not seen.size[[7, 39]].any() and seen.size[[0, 38]].all()


class Deadly:
    """Pictures of which some end the process that reads them."""

    def __init__(self, *deadly):
        self.deadly = deadly

    def read(self, i):
        if i in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((6, 6), i, np.uint8)


def test_a_picture_that_ends_its_process_is_a_reason_and_the_rest_is_seen():
    data = of_array(50).with_(images=Deadly(3, 40))
    seen = look(data, workers=2)
    assert seen.reasons.keys() == {3, 40} and "signal 9 (SIGKILL)" in seen.reasons[3]
    assert np.flatnonzero(seen.size[:, 0] == 0).tolist() == [3, 40] and seen.small[49, 0, 0] == 49


def test_every_odd_file_gets_the_answer_of_the_door(bad_inputs: Path):
    expected = json.loads((bad_inputs / "images_expect.json").read_text())
    names = sorted(expected)
    seen = look(in_folder(bad_inputs / "images", names))
    for i, name in enumerate(names):
        label = expected[name]["expect"]
        try:
            decoded = decode(bad_inputs / "images" / name)
        except DataError as error:
            assert error.what.endswith(seen.reasons[i]) and label in ("refuse", "any"), name
        else:
            assert i not in seen.reasons and label != "refuse", name
            assert seen.warnings.get(i, ()) == decoded.warnings, name
            assert label != "ok_warn" or seen.warnings[i], name
            assert seen.size[i].tolist() == list(decoded.size) and seen.orientation[i] == decoded.orientation


def test_nothing_is_seen_of_no_pictures():
    data = of_array(1)
    empty = look(data.with_(images=ArrayImages(data.images.array[:0]), ids=Strings([])))
    assert len(empty.size) == 0 and not empty.reasons


WITHOUT_A_GUARD = """
import multiprocessing, sys
multiprocessing.set_start_method("spawn", force=True)
from pathlib import Path
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.looking import look
import numpy as np
names = Strings(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
images = FileImages(Path(sys.argv[1]), names)
data = Dataset("plain", Path(), "array", "", names, images, {}, np.zeros(len(names), np.uint8))
seen = look(data, workers=1, tell=print)
print(len(seen.reasons), int((seen.size > 0).all()))
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_served_where_processes_are_spawned(tmp_path):
    of_files(tmp_path, odd_sizes(3))
    (script := tmp_path.parent / "script.py").write_text(WITHOUT_A_GUARD)
    said = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True).stdout.splitlines()
    assert (said[0], said[-1]) == ("no process of its own can be started here: pictures are read by this one", "0 1")
