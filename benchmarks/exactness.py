"""Kill a real training process at random times, resume it, and compare what it ends with to a run that was left alone.

Every child is ``python -m visus train`` or ``resume`` in a process of its own, killed with SIGKILL at a uniformly
random moment; after each kill the newest complete state must load.  A run that ends is compared bit for bit (SHA-256
of both model files' tensors, and the list of losses) and the next one begins, until the wanted number of kills is
reached.  Runs take turns with 0 and 2 worker processes; all of them must end like the one that was left alone with
the first of these numbers.

    python benchmarks/exactness.py [DATA] [--kills 50] [--steps 400] [--workers 0 2] [--set KEY=VALUE ...]

A detector: ``exactness.py BOXES --steps 60 --set model=anchor_free size=128 augment.mosaic=0.5``; one that is tiny, to
see in two minutes that all is well: ``--kills 3 --steps 4 --workers 0 --set model=anchor_free size=64 batch=4
model.options.width=32 model.options.layers=1 augment.mosaic=0.5 data.leaks=false resamples=20``.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from visus.core.modelfile import checksum, read_model


def command(verb: str, data: str, folder: Path, steps: int, workers: int, settings: list[str]) -> list[str]:
    visus = [sys.executable, "-m", "visus"]
    if verb == "resume":
        return [*visus, "resume", str(folder), "--quiet"]
    sets = [word for setting in ("save_every=0.3", *settings) for word in ("--set", setting)]
    lengths = ["--steps", str(steps), "--workers", str(workers)]
    return [*visus, "train", data, "--out", str(folder), *lengths, "--quiet", *sets]


def outcome(folder: Path) -> tuple[str, str, list[float]]:
    """Return what must be equal: the tensors of both model files, and every loss."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    return (*(checksum(read_model(folder / f"{name}.safetensors")[0]) for name in ("best", "last")), losses)


def complete_states(folder: Path) -> int:
    """Return how many saved states are there with their manifests."""
    return len(list((folder / "state").glob("*.json")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="worker processes, taken in turn")
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help="of visus train")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    kills = runs = different = lost = left = 0
    with tempfile.TemporaryDirectory() as base:
        alone = {}
        for workers in reversed(given.workers):
            whole = Path(base) / f"whole-{workers}"
            began = time.perf_counter()
            words = command("train", given.data, whole, given.steps, workers, given.set)
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            alone[workers] = time.perf_counter() - began
        expected = outcome(whole)
        while kills < given.kills:
            folder, workers = Path(base) / f"run-{runs}", given.workers[runs % len(given.workers)]
            while not (folder / "result.json").exists():
                verb = "resume" if (folder / "recipe.yaml").exists() else "train"
                had = complete_states(folder)
                words = command(verb, given.data, folder, given.steps, workers, given.set)
                began = time.perf_counter()
                child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                moment = chance.uniform(0.2, 1.1) * alone[workers]
                try:
                    _, said = child.communicate(timeout=moment if kills < given.kills else None)
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    child.communicate()
                    kills += 1
                    lost += had > 0 and complete_states(folder) == 0
                    continue
                if child.returncode:
                    print(said.decode()[-2000:])
                    return 1
                if verb == "train":  # it was left alone after all: how fast this machine is now
                    alone[workers] = time.perf_counter() - began
            left += sum(1 for part in folder.rglob(".visus-part-*"))
            different += outcome(folder) != expected
            runs += 1
            print(f"{kills} kills, {runs} runs ended, {different} different, {lost} checkpoints lost, "
                  f"{left} files left behind", flush=True)  # fmt: skip
    print(f"{kills} SIGKILLs over {runs} runs of {given.steps} steps on {given.data}, "
          f"with {' and '.join(map(str, given.workers))} workers in turn: "
          f"{runs - different} of {runs} bit-identical, {lost} checkpoints lost, {left} files left behind")  # fmt: skip
    return int(different or lost or left)


if __name__ == "__main__":
    sys.exit(main())
