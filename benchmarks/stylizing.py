"""How near the style of paintings comes, what is left of the content, and how long it takes.

    python benchmarks/stylizing.py FOLDER/content FOLDER/style [SIZE]

Wanted is a style at least 5 times nearer in at most 120 seconds.
"""

import sys
import tempfile
from pathlib import Path

import visus


def main(content: str, styles: str, size: int = 384) -> None:
    """Paint every picture of one folder in the style of every picture of another."""
    paintings = sorted(path for path in Path(styles).iterdir() if path.is_file())
    print(f"{'picture':30} {'nearer':>8} {'similarity':>10} {'seconds':>8}")
    met = True
    with tempfile.TemporaryDirectory() as folder:
        for painting in paintings:
            for one in visus.stylize(content, painting, out=folder, size=size).pictures:
                met &= one.fall >= 5 and one.seconds <= 120
                print(f"{Path(one.drawn).stem:30} {one.fall:7.1f}x {one.similarity:10.3f} {one.seconds:8.1f}")
    print("met" if met else "missed", f"at {size} pixels")


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:4]))
