"""The command line: arguments and printing, one verb a file.  ``visus --help`` loads no PyTorch."""

from __future__ import annotations

import sys
import time

STARTED = time.perf_counter()
"""When this command began, as nearly as it can know; a budget in minutes counts from here."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    from visus.cli.app import run

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold bytes that no encoding has a letter for
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
