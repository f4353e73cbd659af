"""How near the style of paintings comes, what is left of the content, and how long it takes.

    python benchmarks/stylizing.py FOLDER/content FOLDER/style [--size 384]
        [--photos PHOTOS --minutes 30 --model johnson --seen 256] [--keep FOLDER]

By optimisation a style at least 5 times nearer in at most 120 seconds is wanted; of the networks that paint in one
pass at least 10 pictures of 256 x 256 a second on 2 cores.  With photos to learn from, a network also learns the style
of the first painting, or of all where it learns any, from PHOTOS seen at that many pixels a side; what it then paints
of the content is measured in the same way.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import visus
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.stylizers import STYLIZERS

HEAD = f"{'picture':30} {'nearer':>8} {'similarity':>10} {'seconds':>8}"


def main() -> None:
    """Measure both ways of painting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content")
    parser.add_argument("styles")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--photos")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="johnson", choices=list(STYLIZERS), help="what learns from the photos")
    parser.add_argument("--seen", type=int, default=256, help="pixels a side at which it sees them")
    parser.add_argument("--keep", help="folder for the pictures and the run")
    asked = parser.parse_args()
    met = in_one_pass()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(asked.keep or folder)
        if asked.photos:
            learned(asked, out)
        met &= optimised(asked.content, asked.styles, asked.size, out)
    print("met" if met else "missed")


def in_one_pass(side: int = 256, seconds: float = 4.0) -> bool:
    """Print how many pictures a second each network paints, one at a time; tell whether that is enough."""
    enough = True
    for name in STYLIZERS:
        network = build(ModelSettings(name=name), 0, 3, (side, side)).eval().to(memory_format=torch.channels_last)
        picture = torch.rand(1, 3, side, side).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            described = network.described(picture) if STYLIZERS[name].any_style else None
            taken = list[float]()
            while sum(taken) < seconds:
                began = time.perf_counter()
                network(picture) if described is None else network.painted(picture, described)
                taken.append(time.perf_counter() - began)
        rate = 1 / statistics.median(taken)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        print(f"{name:10} {parameters:9,} parameters  {rate:6.1f} pictures of {side} x {side} a second, "
              f"{torch.get_num_threads()} threads")  # fmt: skip
        enough &= rate >= 10
    return enough


def learned(asked: argparse.Namespace, out: Path) -> None:
    """Let a network learn, and print what it paints."""
    first, any_style = paintings(asked.styles)[0], STYLIZERS[asked.model].any_style
    run = visus.train(
        asked.photos, task="stylize", model=asked.model, out=out / "run", minutes=asked.minutes,
        set={"style": asked.styles if any_style else str(first), "input.size": asked.seen},
    )  # fmt: skip
    print(run.summary)
    print(HEAD, f"  in one pass by {asked.model}, at 512 pixels")
    for painting in paintings(asked.styles) if any_style else [None]:
        for one in visus.stylize(asked.content, painting, model=run.folder, out=out, size=512).pictures:
            print(f"{Path(one.drawn).stem:30} {one.fall:7.1f}x {one.similarity:10.3f} {one.seconds:8.2f}")


def optimised(content: str, styles: str, size: int, out: Path) -> bool:
    """Paint every picture of one folder in the style of every picture of another; tell whether all are as wanted."""
    print(HEAD, f"  by optimisation, at {size} pixels")
    met = True
    for painting in paintings(styles):
        for one in visus.stylize(content, painting, out=out, size=size).pictures:
            met &= one.fall >= 5 and one.seconds <= 120
            print(f"{Path(one.drawn).stem:30} {one.fall:7.1f}x {one.similarity:10.3f} {one.seconds:8.1f}")
    return met


def paintings(folder: str) -> list[Path]:
    """Return the files of a folder."""
    return sorted(path for path in Path(folder).iterdir() if path.is_file())


if __name__ == "__main__":
    main()
