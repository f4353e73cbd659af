"""How much memory a process needs that runs an exported file and nothing else: this module is that process, too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

RUNS = 3
LONGEST = 300.0
"""Seconds that the child may take."""


def peak(file: Path, shape: Sequence[int], dtype: str, threads: int) -> int | None:
    """Return the most bytes in memory of a process that opens an .onnx file and runs it a few times.

    Args:
        file: of one input.
        shape, dtype: of the pictures, which are black.
        threads: of the runtime.

    Returns:
        None where the system does not tell.

    Raises:
        ChildProcessError: the process did not end well, or not in time.
    """
    wanted = [str(file), dtype, str(threads), *map(str, shape)]
    try:
        ended = subprocess.run([sys.executable, "-m", __name__, *wanted], capture_output=True, text=True,
                               stdin=subprocess.DEVNULL, timeout=LONGEST, check=False)  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ChildProcessError(f"a process that ran the file took more than {LONGEST:.0f} s") from error
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or [f"code {ended.returncode}"])[-1]
        raise ChildProcessError(f"the process that ran the file failed ({why})")
    return int(ended.stdout) if ended.stdout else None


def _run(file: str, dtype: str, threads: str, *shape: str) -> None:
    """Run a file and print the largest resident set of this process, in bytes; nothing where it is not told."""
    import numpy as np

    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.log_severity_level = 3
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    pictures = np.zeros([int(side) for side in shape], dtype)
    for _ in range(RUNS):
        session.run(None, {session.get_inputs()[0].name: pictures})
    told = Path("/proc/self/status")  # not getrusage: its peak is the parent's where that was larger at the fork
    if told.is_file():
        lines = dict(line.split(":", 1) for line in told.read_text(encoding="ascii").splitlines() if ":" in line)
        sys.stdout.write(str(int(lines["VmHWM"].split()[0]) * 1024))


if __name__ == "__main__":
    _run(*sys.argv[1:])
