"""Class maps in files: which value is which class, what is told, and that what is written is what was read."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.examples import masks, write_mask, write_picture, write_tree

from visus.core.errors import BadDataLimit, DataError
from visus.core.pixels import IGNORE
from visus.core.recipe import DataSettings
from visus.core.run_lengths import compress, encode
from visus.data.converting import convert, differences
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.formats import FORMATS
from visus.data.mask_door import read_map
from visus.data.objects import Mark, Objects, Original
from visus.data.reading import open_data

SETTINGS = DataSettings()


def read(path: Path, **changes: object) -> Dataset:
    return FORMATS["masks"].read(path, DataSettings(**changes))


def lay(root: Path, *values: object, classes: str = "", size: tuple[int, int] = (8, 8)) -> Path:
    """Write a picture and a mask for each of some values: a number fills the mask, an array is the mask."""
    for i, value in enumerate(values):
        write_picture(root / f"images/{i}.png", i, size)
        mask = value if isinstance(value, np.ndarray) else np.full(size, value, np.uint8)
        write_mask(root / f"masks/{i}.png", mask.astype(np.uint16 if mask.max() > 255 else np.uint8))
    if classes:
        (root / "classes.txt").write_text(classes)
    return root


def of(*values: int) -> np.ndarray:
    """Return a mask of 8 x 8 in which each value has some pixels."""
    return np.resize(np.array(values, np.uint16), (8, 8))


def codes(dataset: Dataset) -> list[str]:
    return [remark.code for remark in dataset.remarks]


def test_a_list_of_names_gives_the_classes_and_255_is_ignored(tmp_path: Path):
    dataset = read(lay(tmp_path, of(0, 1, 2, 255), classes="sky\nroad\ntree\n"))
    assert dataset.classes == ("sky", "road", "tree") and not dataset.remarks and not dataset.notes
    assert (dataset.maps.values.tolist(), dataset.maps.ignore) == ([0, 1, 2], (255,))
    assert dataset.column() == "class_map"
    assert read_map(dataset.maps, 0)[0].tolist() == [0, 1, 2, IGNORE, 0, 1, 2, IGNORE]


def test_without_a_list_the_values_found_are_the_classes_and_it_is_said_with_their_shares(tmp_path: Path):
    dataset = read(lay(tmp_path, of(4, 4, 4, 9), of(4, 255)))
    assert dataset.classes == ("4", "9") and dataset.maps.values.tolist() == [4, 9]
    assert any("in a look at 2 masks, with their share of the pixels: 4 (62.5%), 9 (12.5%)" in n for n in dataset.notes)


def test_the_value_after_a_lists_last_one_is_ignored_with_a_remark(tmp_path: Path):
    dataset = read(lay(tmp_path, of(0, 1, 1, 2), classes="sky\nroad\n"))
    assert dataset.maps.ignore == (2, 255) and codes(dataset) == ["DATA-282"]
    assert "25.0% of the pixels looked at" in dataset.remarks[0].why and dataset.remarks[0].file == "classes.txt"


def test_a_list_of_classes_from_1_is_known_by_its_values(tmp_path: Path):
    dataset = read(lay(tmp_path, of(1, 2, 3, 255), classes="sky\nroad\ntree\n"))
    assert dataset.maps.values.tolist() == [1, 2, 3] and codes(dataset) == ["DATA-282"]


@pytest.mark.parametrize(("classes", "named"), [
    ("", ("background", "foreground")), ("not\ncrack\n", ("not", "crack")), ("crack\n", ("background", "crack")),
])  # fmt: skip
def test_masks_of_0_and_255_alone_are_two_classes_with_a_remark(classes: str, named: tuple[str, ...], tmp_path: Path):
    dataset = read(lay(tmp_path, of(0, 255), 255, classes=classes))
    assert dataset.classes == named and dataset.maps.values.tolist() == [0, 255] and dataset.maps.ignore == ()
    assert set(codes(dataset)) == {"DATA-280"} and (read_map(dataset.maps, 1) == 1).all()


def test_one_named_class_stands_beside_the_background(tmp_path: Path):
    dataset = read(lay(tmp_path, of(0, 1), classes="crack\n"))
    assert dataset.classes == ("background", "crack") and codes(dataset) == ["DATA-280"]


def test_values_can_be_stated_with_what_is_ignored_and_colours(tmp_path: Path):
    entries = [{"value": 40, "name": "road", "color": [1, 2, 3]}, {"value": 7, "name": "sky", "color": [4, 5, 6]}]
    lay(tmp_path, of(7, 40, 0, 300))
    (tmp_path / "classes.json").write_text(json.dumps({"classes": entries, "ignore": [0, 300]}))
    dataset = read(tmp_path)
    assert dataset.classes == ("road", "sky") and dataset.maps.palette.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read_map(dataset.maps, 0)[0, :4].tolist() == [1, 0, IGNORE, IGNORE] and not dataset.remarks


@pytest.mark.parametrize("classes", ["sky\nroad\ntree\n", ""])
def test_a_value_without_a_class_is_refused_with_its_mask(classes: str, tmp_path: Path):
    lay(tmp_path, of(0, 1), of(0, 1, 2, 77), classes=classes)
    if not classes:
        (tmp_path / "classes.json").write_text('{"classes": ["a", "b", "c"], "ignore": []}')
    with pytest.raises(DataError, match=r"masks/1\.png: the value 77 stands for no class") as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-273"


def test_what_the_look_did_not_show_is_refused_when_its_mask_is_read(tmp_path: Path):
    lay(tmp_path, *[of(0, 1)] * 40)
    write_mask(tmp_path / "masks/12.png", of(0, 5).astype(np.uint8))
    dataset = read(tmp_path)
    at = list(dataset.ids).index("12.png")
    with pytest.raises(DataError, match=r"12\.png: the value 5 stands for no class"):
        read_map(dataset.maps, at)


def test_more_values_than_classes_can_be_are_no_classes(tmp_path: Path):
    with pytest.raises(DataError, match="1 masks show 256 values") as caught:
        read(lay(tmp_path, np.arange(256, dtype=np.uint16).reshape(16, 16) * 9, size=(16, 16)))
    assert caught.value.code == "DATA-277"


def test_a_mask_on_which_nothing_is_labelled_is_remarked(tmp_path: Path):
    dataset = read(lay(tmp_path, of(0, 1), 255, classes="sky\nroad\n"))
    assert [(remark.file, remark.status, remark.code) for remark in dataset.remarks] == [
        ("masks/1.png", "warned", "DATA-281")
    ]


def test_a_picture_without_a_mask_is_kept_with_a_remark(tmp_path: Path):
    write_picture(lay(tmp_path, of(0, 1), classes="sky\nroad\n") / "images/without.png", 9)
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["0.png", "without.png"] and list(dataset.maps.paths) == ["masks/0.png", ""]
    assert [(remark.file, remark.code) for remark in dataset.remarks] == [("images/without.png", "DATA-279")]
    assert (read_map(dataset.maps, 1) == IGNORE).all()


def test_a_mask_without_a_picture_is_bad_and_too_many_stop(tmp_path: Path):
    lay(tmp_path, *[of(0, 1)] * 8, classes="sky\nroad\n")
    (tmp_path / "images/3.png").unlink()
    assert read(tmp_path).bad == (("masks/3.png", "there is no picture of this name in images"),)
    (tmp_path / "images/4.png").unlink()
    with pytest.raises(BadDataLimit, match="2 of 8 masks cannot be used") as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-278"
    assert len(read(tmp_path, max_bad=0.3).bad) == 2


def test_a_damaged_mask_is_bad_and_the_only_one_an_error(tmp_path: Path):
    lay(tmp_path, of(0, 1), of(0, 1), classes="sky\nroad\n")
    (tmp_path / "masks/1.png").write_bytes((tmp_path / "masks/1.png").read_bytes()[:50])
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["0.png"] and dataset.bad[0][0] == "masks/1.png"
    (tmp_path / "images/0.png").unlink()
    (tmp_path / "masks/0.png").unlink()
    with pytest.raises(DataError, match=r"masks/1\.png"):
        read(tmp_path)


def test_a_mask_of_another_size_is_bad_among_the_first_as_among_the_last_and_the_only_one_an_error(tmp_path: Path):
    lay(tmp_path, of(0, 1), of(0, 1), classes="sky\nroad\n")
    write_picture(tmp_path / "images/0.png", 0, (9, 7))
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["1.png"] and [name for name, _ in dataset.bad] == ["masks/0.png"]
    assert "its picture 7 x 9" in dataset.bad[0][1]
    (tmp_path / "images/1.png").unlink()
    (tmp_path / "masks/1.png").unlink()
    with pytest.raises(DataError, match="its picture 7 x 9") as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-272"


def test_a_damaged_picture_is_left_for_whoever_decodes_it_to_name(tmp_path: Path):
    lay(tmp_path, of(0, 1), of(0, 1), classes="sky\nroad\n")
    (tmp_path / "images/1.png").write_bytes(b"broken")
    assert len(read(tmp_path)) == 2


def test_where_an_exif_turn_leaves_the_frame_open_it_is_remarked(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 3
    lay(tmp_path, of(0, 1), classes="sky\nroad\n")
    Image.open(tmp_path / "images/0.png").save(tmp_path / "images/0.png", exif=exif)
    assert codes(read(tmp_path)) == ["DATA-284"]


def test_the_colours_of_a_palette_are_kept(tmp_path: Path):
    palette = np.random.default_rng(0).integers(0, 256, (256, 3))
    lay(tmp_path, of(0, 3), classes="0 sky\n3 road\n")
    write_mask(tmp_path / "masks/0.png", of(0, 3).astype(np.uint8), palette)
    np.testing.assert_array_equal(read(tmp_path).maps.palette, palette[[0, 3]])


def test_cityscapes_without_a_list_has_its_19_classes(tmp_path: Path):
    write_picture(tmp_path / "leftImg8bit/train/a/a_1_leftImg8bit.png", 0)
    write_mask(tmp_path / "gtFine/train/a/a_1_gtFine_labelIds.png", of(7, 0, 33, 3).astype(np.uint8))
    dataset = read(tmp_path)
    assert len(dataset.classes) == 19 and any("Cityscapes" in note for note in dataset.notes)
    assert read_map(dataset.maps, 0)[0, :4].tolist() == [0, IGNORE, 18, IGNORE]


def test_vocs_own_folder_has_vocs_21_classes(tmp_path: Path):
    root = tmp_path / "VOC2012"
    write_picture(root / "JPEGImages/a.jpg", 0)
    write_mask(root / "SegmentationClass/a.png", of(0, 15, 255).astype(np.uint8), np.zeros((256, 3)))
    dataset = read(root)
    assert dataset.classes[15] == "person" and len(dataset.classes) == 21


def test_a_folder_without_masks_beside_the_others_is_noted(tmp_path: Path):
    for split in ("train", "trainannot", "test"):
        write_picture(tmp_path / split / "a.png", 0)
    write_mask(tmp_path / "trainannot/a.png", of(0, 1).astype(np.uint8))
    dataset = read(tmp_path)
    assert len(dataset) == 1 and "left out the folders without masks: test" in dataset.notes


def test_pictures_beside_coloured_masks_are_recognised_and_refused_with_what_to_do(tmp_path: Path):
    write_tree(tmp_path, {"images": 2, "masks": 2})
    with pytest.raises(DataError, match="a mask has one number a pixel") as caught:
        open_data(tmp_path, SETTINGS)
    assert caught.value.code == "DATA-270"


COLOURS = ((128, 64, 0), (0, 0, 0), (0, 128, 64))


def coloured(*classes: int, mode: str = "RGB") -> Image.Image:
    """Return a mask of 8 x 8 in the colours of some classes."""
    return Image.fromarray(np.array(COLOURS, np.uint8)[of(*classes)]).convert(mode)


def lay_coloured(root: Path, classes: object = None, *masks: Image.Image) -> Path:
    for i, mask in enumerate(masks or (coloured(0, 1, 2), coloured(2, 1))):
        write_picture(root / f"images/{i}.png", i, (8, 8))
        (root / "masks").mkdir(exist_ok=True)
        mask.save(root / f"masks/{i}.png")
    if classes is not None:
        (root / "classes.json").write_text(json.dumps(classes))
    return root


def test_masks_of_colours_that_nothing_names_are_refused_with_a_list_that_reads_them(tmp_path: Path):
    lay_coloured(tmp_path)
    with pytest.raises(DataError, match="and 3 colours, of which nothing says what they mean") as caught:
        read(tmp_path)
    listed = caught.value.fix.removeprefix("name them in classes.json: ").partition("; where one")[0]
    dataset = read(lay_coloured(tmp_path, json.loads(listed)))
    assert dataset.classes == ("class 0", "class 1", "class 2")
    assert dataset.maps.palette.tolist() == sorted(map(list, COLOURS))
    assert np.array_equal(read_map(dataset.maps, 0), np.array([2, 0, 1], np.uint8)[of(0, 1, 2)])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_read_as_the_classes_that_a_list_says_and_one_can_be_ignored(mode: str, tmp_path: Path):
    listed = [{"name": name, "color": colour} for name, colour in zip(("road", "tree"), COLOURS[::2], strict=True)]
    masks = coloured(0, 1, 2, mode=mode), coloured(2, 1, mode=mode)
    dataset = read(lay_coloured(tmp_path, {"classes": listed, "ignore": [COLOURS[1]]}, *masks))
    assert dataset.classes == ("road", "tree") and not dataset.remarks
    for i, shown in enumerate((of(0, IGNORE, 1), of(1, IGNORE))):
        assert np.array_equal(read_map(dataset.maps, i), shown)


def test_a_list_gives_colours_the_numbers_that_it_states(tmp_path: Path):
    listed = [{"name": str(k), "value": 7 * k, "color": colour} for k, colour in enumerate(COLOURS)]
    dataset = read(lay_coloured(tmp_path, listed))
    assert dataset.maps.values.tolist() == [0, 7, 14]
    assert np.array_equal(read_map(dataset.maps, 1), of(2, 1))


def test_a_colour_that_no_class_has_is_named(tmp_path: Path):
    listed = [{"name": name, "color": colour} for name, colour in zip("ab", COLOURS[:2], strict=True)]
    with pytest.raises(DataError, match=r"the colour \[0, 128, 64\] stands for no class") as caught:
        read(lay_coloured(tmp_path, listed))
    assert '"ignore": [[0, 128, 64]]' in caught.value.fix


def test_masks_of_colours_written_again_hold_numbers_and_the_same_classes(tmp_path: Path):
    listed = [{"name": name, "color": colour} for name, colour in zip("abc", COLOURS, strict=True)]
    dataset = read(lay_coloured(tmp_path / "a", listed))
    convert(dataset, "masks", tmp_path / "b")
    again = read(tmp_path / "b")
    assert (again.classes, again.maps.palette.tolist()) == (dataset.classes, dataset.maps.palette.tolist())
    assert all(np.array_equal(read_map(dataset.maps, i), read_map(again.maps, i)) for i in range(2))


@pytest.mark.parametrize("colour", ["red", [1, 2], [0, 0, 256]])
def test_an_ignored_colour_that_is_none_is_refused(colour: object, tmp_path: Path):
    listed = [{"name": name, "color": of_class} for name, of_class in zip("ab", COLOURS[:2], strict=True)]
    with pytest.raises(DataError) as caught:
        read(lay_coloured(tmp_path, {"classes": listed, "ignore": [colour]}))
    assert caught.value.code == "DATA-274"


def test_smoothed_masks_of_colours_are_told_by_how_many_they_have(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with pytest.raises(DataError) as caught:
        read(lay_coloured(tmp_path, None, Image.fromarray(noise)))
    assert caught.value.code == "DATA-270" and "too many for classes" in caught.value.where


def test_transparent_pixels_of_a_mask_of_colours_are_refused(tmp_path: Path):
    mask = coloured(0, 1, mode="RGBA")
    mask.putpixel((3, 3), (0, 0, 0, 0))
    listed = [{"name": name, "color": colour} for name, colour in zip("ab", COLOURS[:2], strict=True)]
    with pytest.raises(DataError, match="some of its pixels are transparent"):
        read(lay_coloured(tmp_path, listed, mask))


def test_masks_that_show_255_alone_have_no_class_and_it_is_said(tmp_path: Path):
    dataset = read(lay(tmp_path, 255, 255))
    assert not dataset.classes
    assert dataset.notes == ("no file names the classes, and the masks looked at (2) show 255 alone: no class",)


def test_folders_whose_names_have_nothing_in_common_are_no_masks(tmp_path: Path):
    write_picture(tmp_path / "images/a.png", 0)
    write_picture(tmp_path / "masks/b.png", 1)
    assert FORMATS["masks"].sniff(tmp_path).score == 0
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-275"


def expected(bad_inputs: Path) -> dict[str, str]:
    listed = json.loads((bad_inputs / "annotations_expect.json").read_text())
    return {name.partition("/")[2]: entry["expect"] for name, entry in listed.items() if name.startswith("mask/")}


def test_every_odd_mask_is_answered_as_it_should_be(bad_inputs: Path, tmp_path: Path):
    """Each beside a picture of the size that most have, and two classes."""
    answers = {}
    for name in expected(bad_inputs):
        root = tmp_path / name
        write_picture(root / "images/picture.png", 0, (48, 64))
        (root / "masks").mkdir()
        shutil.copyfile(bad_inputs / "annotations/mask" / name, root / "masks/picture.png")
        (root / "classes.txt").write_text("background\nthing\n")
        try:
            dataset = open_data(root, SETTINGS, carve=False)
            read_map(dataset.maps, 0)
            answers[name] = "warn" if dataset.remarks else "ok"
        except DataError as error:
            answers[name] = "refuse"
            assert f"{name}/masks/picture.png" in error.what
    assert len(answers) == 9 and answers == expected(bad_inputs)


@pytest.fixture(scope="module")
def camvid(real_data: Path) -> Dataset:
    return open_data(real_data / "camvid_trainval", SETTINGS, carve=False)


def test_camvid_is_recognised_with_its_splits_its_names_and_its_void(camvid: Dataset):
    assert camvid.format == "masks" and camvid.evidence.startswith("468 pictures with masks (train + trainannot")
    assert [len(camvid.indices(split)) for split in ("train", "val", "test")] == [367, 101, 0]
    assert camvid.classes[0] == "Sky" and len(camvid.classes) == 11 and camvid.maps.ignore == (11, 255)
    assert codes(camvid) == ["DATA-282"] and not camvid.bad


def test_every_pixel_of_camvid_has_the_class_that_pillow_sees(camvid: Dataset, real_data: Path):
    ours, theirs = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for i in range(len(camvid)):
        ours += np.bincount(read_map(camvid.maps, i).ravel(), minlength=256)
    for file in (real_data / "camvid_trainval").glob("*annot/*.png"):
        theirs += np.bincount(np.asarray(Image.open(file)).ravel(), minlength=256)
    theirs[[255, 11]] = theirs[[11, 255]]
    np.testing.assert_array_equal(ours, theirs)
    assert ours.sum() == 468 * 360 * 480


def test_what_is_written_is_read_back_with_values_colours_and_what_is_ignored(tmp_path: Path):
    there = masks(tmp_path / "there")
    dataset = open_data(there, SETTINGS, carve=False)
    assert convert(dataset, "masks", tmp_path / "copy") == []
    copy = open_data(tmp_path / "copy", SETTINGS, carve=False)
    assert differences(dataset, copy) == [] and copy.classes == dataset.classes
    assert Image.open(tmp_path / "copy/masks/train/0.png").mode == "P"
    for i in range(len(dataset)):
        np.testing.assert_array_equal(read_map(dataset.maps, i), read_map(copy.maps, i))


VALUES = st.sampled_from([(0, 1), (0, 255), (0, 1, 2), (3, 9), (0, 1, 2, 3), (300, 2, 65535), (1, 2, 3), (255,)])


@given(VALUES, st.sampled_from([(), (255,), (11, 255), (65534,)]), st.integers(0, 9), st.booleans())
@settings(max_examples=60)
def test_any_values_survive_writing(tmp_path_factory, values: tuple[int, ...], ignore, seed: int, coloured: bool):
    ignore = tuple(value for value in ignore if value not in values)
    root, random = tmp_path_factory.mktemp("any"), np.random.default_rng(seed)
    for i in range(3):
        write_picture(root / f"there/images/{'test' if i else 'train'}/{i}.png", i)
        pixels = random.choice(np.array([*values, *ignore], np.uint16), (8, 8))
        palette = random.integers(0, 256, (256, 3)) if coloured and pixels.max() < 256 else None
        pixels = pixels.astype(np.uint8) if pixels.max() < 256 else pixels
        write_mask(root / f"there/masks/{'test' if i else 'train'}/{i}.png", pixels, palette)
    entries = [{"value": value, "name": f"class {value}"} for value in values]
    (root / "there/classes.json").write_text(json.dumps({"classes": entries, "ignore": ignore}))
    dataset = read(root / "there")
    assert convert(dataset, "masks", root / "copy") == []
    copy = read(root / "copy")
    assert (copy.classes, copy.maps.ignore) == (dataset.classes, dataset.maps.ignore)
    np.testing.assert_array_equal(copy.maps.values, dataset.maps.values)


def test_pictures_of_one_stem_keep_a_mask_each(tmp_path: Path):
    for name in ("a.png", "a.bmp"):
        write_picture(tmp_path / "there/images" / name, 0)
        write_mask(tmp_path / f"there/masks/{name}.png", of(0, 1, 2).astype(np.uint8))
    convert(read(tmp_path / "there"), "masks", tmp_path / "copy")
    assert sorted(file.name for file in (tmp_path / "copy/masks/train").iterdir()) == ["a.bmp.png", "a.png.png"]


def marked(root: Path, *marks: Mark, classes: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    """Return one picture of 40 x 30 pixels with objects."""
    write_picture(root / "0.png", 0, (30, 40))
    names = Strings(["0.png"])
    return Dataset("marked", root, "coco", "", names, FileImages(root, names), {}, np.zeros(1, np.uint8), classes,
                   objects=Objects.of([marks]))  # fmt: skip


def square(x: float, y: float, side: float) -> tuple[np.ndarray, ...]:
    return (np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]]),)


def painted(tmp_path: Path, dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    convert(dataset, "masks", tmp_path / "painted", lossy=True)
    copy = open_data(tmp_path / "painted", SETTINGS, carve=False)
    return copy, read_map(copy.maps, 0)


def test_masks_that_were_drawn_on_another_size_are_refused_with_the_picture_they_belong_to(tmp_path: Path):
    data = marked(tmp_path / "a", Mark((0.0, 0.0, 1.0, 1.0), 1, mask=compress(encode(np.ones((40, 30), np.bool_)))))
    with pytest.raises(DataError, match=r"\.png: its masks were drawn on 30 x 40 pixels, the picture has 40 x 30"):
        painted(tmp_path, data.with_(original=Original(np.array([[40, 30]]))))


def test_outlines_are_painted_with_smaller_objects_over_larger_ones_and_crowds_ignored(tmp_path: Path):
    box = (0.0, 0.0, 1.0, 1.0)
    copy, seen = painted(tmp_path, marked(
        tmp_path / "a", Mark(box, 1, polygons=square(8, 9, 10)), Mark(box, 0, polygons=square(2, 3, 11)),
        Mark(box, 1, crowd=True, polygons=square(30, 20, 5)), Mark((20.0, 2.0, 25.5, 4.0), 0),
    ))  # fmt: skip
    expected = np.zeros((30, 40), np.int64)
    expected[3:14, 2:13] = 1
    expected[9:19, 8:18] = 2
    expected[20:25, 30:35] = IGNORE
    expected[2:4, 20:26] = IGNORE  # of this one nothing but a box is known
    np.testing.assert_array_equal(seen, expected)
    assert copy.classes == ("background", "cat", "dog")


def test_a_painted_outline_agrees_with_opencvs(tmp_path: Path):
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    outline = np.stack([20 + 13 * np.cos(angles), 15 + 11 * np.sin(angles)], 1)
    _, seen = painted(tmp_path, marked(tmp_path / "a", Mark((0.0, 0.0, 1.0, 1.0), 0, polygons=(outline,))))
    theirs = cv2.fillPoly(np.zeros((30, 40), np.uint8), [np.rint((outline - 0.5) * 16).astype(np.int32)], 1, shift=4)
    both, either = np.sum((seen == 1) & (theirs == 1)), np.sum((seen == 1) | (theirs == 1))
    assert both / either > 0.9


def test_a_class_called_background_is_the_background(tmp_path: Path):
    dataset = marked(tmp_path / "a", Mark((0.0, 0.0, 1.0, 1.0), 0, polygons=square(2, 3, 10)),
                     classes=("cat", "Background", "dog"))  # fmt: skip
    copy, seen = painted(tmp_path, dataset)
    assert copy.classes == dataset.classes and Counter(seen.ravel().tolist()) == {1: 1100, 0: 100}


def test_that_instances_are_lost_is_said_before_anything_is_written(tmp_path: Path):
    dataset = marked(tmp_path / "a", Mark((0.0, 0.0, 1.0, 1.0), 0, polygons=square(2, 3, 10)))
    with pytest.raises(DataError, match="masks cannot hold all of it") as caught:
        convert(dataset, "masks", tmp_path / "out")
    assert "every object" in caught.value.where and not (tmp_path / "out").exists()


def test_boxes_alone_say_nothing_of_pixels(tmp_path: Path):
    with pytest.raises(DataError, match="nothing says of which class a pixel is") as caught:
        convert(marked(tmp_path / "a", Mark((0.0, 0.0, 1.0, 1.0), 0)), "masks", tmp_path / "out", lossy=True)
    assert caught.value.code == "DATA-283"
