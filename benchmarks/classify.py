"""How good a classifier the plain command trains in a given time: ``visus train DATA --minutes M``, nothing else.

Each seed is a process of its own; the test part is read once, by the final evaluation.  Prints the accuracy of every
seed, their mean and standard deviation, and the wall time of the whole command from its start to its exit.

    python benchmarks/classify.py DATA [--minutes 3] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    found, walls = [], []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as base:
            command = [sys.executable, "-m", "visus", "train", given.data,
                       "--minutes", str(given.minutes), "--seed", str(seed),
                       "--out", str(Path(base) / "run"), "--json", "--quiet"]  # fmt: skip
            began = time.perf_counter()
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            walls.append(time.perf_counter() - began)
            told = json.loads(done.stdout)
        score = told["scores"]["accuracy"]
        found.append(score["value"])
        low, high = 100 * score["low"], 100 * score["high"]
        print(f"seed {seed}: accuracy {100 * score['value']:.2f} % [{low:.2f}, {high:.2f}], "
              f"n = {score['n']:,}, {told['steps']:,} steps, {walls[-1]:.0f} s", flush=True)  # fmt: skip
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    print(f"visus train {Path(given.data).name} --minutes {given.minutes:g}: "
          f"accuracy {100 * statistics.mean(found):.2f} +- {100 * spread:.2f} % over {len(found)} seeds "
          f"(least {100 * min(found):.2f}), "
          f"wall {min(walls):.0f} to {max(walls):.0f} s of {60 * given.minutes:.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
