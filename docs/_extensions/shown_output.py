"""With ``sphinx-build -t outputs`` every block of code is run and followed by what it printed, on this machine, now."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

import pages

LONGEST = 32  # lines of output that a page shows


def run_page(app: Any, name: str, source: list[str]) -> None:
    """Put the output of each block of a page behind it."""
    if not app.tags.has("outputs"):
        return
    with tempfile.TemporaryDirectory() as folder:  # a fresh Python: autodoc changes functions that it has read
        ran = subprocess.run(
            [sys.executable, pages.__file__], input=source[0], cwd=folder, capture_output=True, text=True, check=False
        )
    if ran.returncode:
        raise RuntimeError(f"{name}: {ran.stderr}")
    for (_, _, line, end, exits), printed, ended in reversed(json.loads(ran.stdout.splitlines()[-1])):
        if ended != exits:
            raise RuntimeError(f"{name}:{line} ended with {ended}\n{printed}")
        lines = printed.rstrip().splitlines()
        if lines:
            kept = lines if len(lines) <= LONGEST else [*lines[: LONGEST - 6], "...", *lines[-5:]]
            shown = "\n\n```{code-block} text\n:class: printed\n\n" + "\n".join(kept) + "\n```"
            source[0] = source[0][:end] + shown + source[0][end:]


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", run_page)
    return {"parallel_read_safe": True}
