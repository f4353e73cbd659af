import pytest
import torch

from visus.tasks._captions import RIGHT, captioned, rgb


def test_small_pictures_are_enlarged_pixel_by_pixel():
    image = torch.randint(0, 256, (1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    shown = captioned(image, ["zero"], RIGHT)[4:-30]
    assert len({tuple(pixel) for row in shown[:192, 4:196] for pixel in row.tolist()}) <= 64


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (28, 28), (100, 20), (500, 375), (3000, 2)])
def test_any_picture_becomes_a_thumbnail(size):
    height, width, channels = captioned(torch.zeros(3, *size), ["a line", "another"], RIGHT).shape
    assert channels == 3
    assert width <= 210
    assert height <= 260


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (torch.tensor([[[200]]], dtype=torch.uint8), 200),
        (torch.tensor([[[65535]]], dtype=torch.uint16), 255),
        (torch.tensor([[[0.2]]]), 51),
        (torch.tensor([[[7.0]]]), 255),
    ],
)
def test_every_depth_is_shown_in_eight_bits(image, expected):
    assert rgb(image).tolist() == [[[expected] * 3]]


@pytest.mark.parametrize("line", ["x" * 500, "Ежевика", "a\nb", "broken \udcff name", "", "草莓"])
def test_any_name_can_be_written(line):
    assert captioned(torch.zeros(3, 20, 20), [line], RIGHT).shape[1] <= 210
