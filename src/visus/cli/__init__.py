"""The command line: arguments and printing, one verb a file.  ``visus --help`` loads no PyTorch."""

from __future__ import annotations

import os
import sys
import time

STARTED = time.perf_counter()
"""When this command began, as nearly as it can know; a budget in minutes counts from here."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    # Threads that wait for each other by spinning are several times slower as soon as anything else wants a core; the
    # OpenMP library reads this once, when PyTorch is loaded, and whoever has set it already is right.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from visus.cli.app import run

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold bytes that no encoding has a letter for
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
