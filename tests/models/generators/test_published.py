"""Weights of a StyleGAN2 generator by their documented names: taken in whole, and meaning what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from visus.core.errors import UsageError
from visus.models.adopting import adopt
from visus.models.generators.stylegan2 import build

SMALL = {"latent": 10, "style": 12, "depth": 3, "width": 4, "widest": 8}


def published(file: Path, classes: int = 0, channels: int = 3, size: tuple[int, int] = (16, 16), **options: object):  # type: ignore[no-untyped-def]
    """Write the weights of a generator that did learn something, and return it."""
    torch.manual_seed(1)
    generator = build(classes, channels, size, **{**SMALL, **options}).generator.eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in generator.state_dict().items():
            if name.endswith(("strength", "bias", "mean_style")):
                tensor.add_(torch.randn_like(tensor) * 0.3)
    save_file({name: tensor.contiguous() for name, tensor in generator.state_dict().items()}, file)
    return generator


def written_out(tensors: dict[str, Tensor], latents: Tensor, labels: Tensor) -> Tensor:
    """Return pictures reckoned from the table of the documentation alone, one picture at a time."""

    def unit(each: Tensor) -> Tensor:
        return each / each.square().mean().sqrt()

    def styled(maps: Tensor, style: Tensor, name: str, *, demodulated: bool) -> tuple[Tensor, Tensor]:
        affine = tensors[f"{name}.affine.weight"] / len(style) ** 0.5
        scales = affine @ style + tensors[f"{name}.affine.bias"]
        weight = tensors[f"{name}.weight"]
        weight = weight / weight[0].numel() ** 0.5 * scales[None, :, None, None]
        return maps[None], weight / weight.square().sum((1, 2, 3), keepdim=True).sqrt() if demodulated else weight

    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8

    def smoothed(maps: Tensor, padding: int) -> Tensor:
        kernel = (4 * torch.outer(line, line)).expand(maps.shape[1], 1, 4, 4)
        return F.conv2d(maps, kernel, padding=padding, groups=maps.shape[1])

    def zeros_between(maps: Tensor) -> Tensor:
        wide = torch.zeros(1, maps.shape[1], 2 * maps.shape[2], 2 * maps.shape[3])
        wide[:, :, ::2, ::2] = maps
        return wide

    pictures = []
    for latent, label in zip(latents, labels, strict=True):
        style = unit(latent)
        if "mapping.classes.weight" in tensors:
            style = torch.cat([style, unit(tensors["mapping.classes.weight"][label])])
        i = 0
        while f"mapping.layers.{i}.weight" in tensors:
            weight, bias = (tensors[f"mapping.layers.{i}.{kind}"] for kind in ("weight", "bias"))
            style = 2**0.5 * F.leaky_relu(0.01 * weight @ style / len(style) ** 0.5 + 0.01 * bias, 0.2)
            i += 1
        maps, picture, level = tensors["constant"], torch.zeros(()), 0
        while f"levels.{level}.stay.weight" in tensors:
            for layer in ["enter", "stay"] if level else ["stay"]:
                name = f"levels.{level}.{layer}"
                inputs, weight = styled(maps, style, name, demodulated=True)
                if layer == "enter":  # zeros between the pixels, the weights turned round, then smoothed
                    inputs = F.pad(zeros_between(inputs), (2, 1, 2, 1))
                    convolved = smoothed(F.conv2d(inputs, weight.flip(2, 3)), 1)
                else:
                    convolved = F.conv2d(inputs, weight, padding=1)
                shift = tensors[f"{name}.strength"] * tensors[f"{name}.noise"]
                shift = shift + tensors[f"{name}.bias"][None, :, None, None]
                maps = (2**0.5 * F.leaky_relu(convolved + shift, 0.2))[0]
            inputs, weight = styled(maps, style, f"levels.{level}.picture", demodulated=False)
            more = F.conv2d(inputs, weight) + tensors[f"levels.{level}.picture.bias"][None, :, None, None]
            picture = more if level == 0 else more + smoothed(F.pad(zeros_between(picture), (2, 1, 2, 1)), 0)
            level += 1
        pictures.append(picture)
    return torch.cat(pictures)


@pytest.mark.parametrize("classes", [0, 3])
def test_pictures_are_what_the_documented_meaning_of_each_tensor_gives(tmp_path: Path, classes: int) -> None:
    generator = published(tmp_path / "w.safetensors", classes)
    latents, labels = torch.randn(3, 10), torch.arange(3) % max(1, classes)
    expected = written_out(generator.state_dict(), latents, labels)
    torch.testing.assert_close(generator(latents, labels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("classes", "channels", "size", "growth"),
    [(0, 3, (16, 16), "skip"), (4, 1, (28, 28), "skip"), (2, 3, (64, 32), "residual")],
)
def test_a_generator_alone_is_taken_in_whole_and_says_what_it_is(
    tmp_path: Path, classes: int, channels: int, size: tuple[int, int], growth: str
) -> None:
    file = tmp_path / "w.safetensors"
    generator = published(file, classes, channels, size, generator_growth=growth)
    taken = adopt(file, "stylegan2")
    assert (taken.architecture.outputs, taken.channels, taken.usual.size) == (classes, channels, size)
    own = {
        name.removeprefix("generator."): each for name, each in taken.tensors.items() if name.startswith("generator")
    }
    theirs = generator.state_dict()
    assert own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)
    again = build(classes, channels, size, **taken.architecture.options)  # type: ignore[arg-type]
    again.load_state_dict(taken.tensors)
    latents, labels = torch.randn(2, 10), torch.arange(2) % max(1, classes)
    assert torch.equal(again.eval()(latents, labels), generator(latents, labels))


def test_a_mean_style_of_all_classes_is_taken_for_that_of_each(tmp_path: Path) -> None:
    tensors = published(tmp_path / "w.safetensors", classes=3).state_dict()
    one = tensors["mean_style"][0].clone()
    save_file({**tensors, "mean_style": one}, tmp_path / "w.safetensors")
    taken = adopt(tmp_path / "w.safetensors", "stylegan2").tensors["generator.mean_style"]
    assert torch.equal(taken, one.expand(3, -1))


def test_both_networks_together_are_taken_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    pair = build(0, 3, (16, 16), **SMALL)  # type: ignore[arg-type]
    save_file(pair.state_dict(), tmp_path / "w.safetensors")
    taken = adopt(tmp_path / "w.safetensors", "stylegan2")
    assert all(torch.equal(taken.tensors[name], tensor) for name, tensor in pair.state_dict().items())


def test_weights_by_other_names_are_refused_with_the_names_that_are_known(tmp_path: Path) -> None:
    save_file({"S.net.0.weight": torch.zeros(4, 4)}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="no weights of a StyleGAN2 generator") as caught:
        adopt(tmp_path / "w.safetensors", "stylegan2")
    assert "levels.0.stay.weight" in caught.value.looked and "docs/generators.md" in caught.value.fix


@pytest.mark.parametrize("missing", ["mean_style", "levels.1.enter.affine.weight", "levels.2.stay.noise"])
def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path, missing: str) -> None:
    tensors = published(tmp_path / "w.safetensors").state_dict()
    del tensors[missing]
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="does not fit"):
        adopt(tmp_path / "w.safetensors", "stylegan2")


def test_a_network_without_published_weights_says_so(tmp_path: Path) -> None:
    published(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="no published weights are known for r3gan"):
        adopt(tmp_path / "w.safetensors", "r3gan")
