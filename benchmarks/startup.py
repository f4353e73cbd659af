"""How soon the command line answers: seconds of ``visus --help`` and ``import visus``, each in a process of its own.

Bytecode is compiled first, by one process of each that is not counted.  The processes take turns, A B C A B C; an empty
Python stands beside them, because its start is part of theirs.

    python benchmarks/startup.py [--processes 20]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "visus --help": ["-m", "visus", "--help"],
    "import visus": ["-c", "import visus"],
    "python alone": ["-c", ""],
}


def seconds(words: list[str], bytecode: str) -> float:
    """Return the wall time of one Python process that keeps its bytecode in a folder of ours."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment | {"PYTHONPYCACHEPREFIX": bytecode},
    )
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=20)
    given = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as bytecode:
        for turn in range(given.processes + 1):
            for name, words in COMMANDS.items():
                one = seconds(words, bytecode)
                if turn:  # the first compiles
                    took[name].append(one)
    for name, all_of_it in took.items():
        print(f"{name}: median {statistics.median(all_of_it):.3f} s, worst {max(all_of_it):.3f} s "
              f"of {given.processes} processes")  # fmt: skip


if __name__ == "__main__":
    main()
