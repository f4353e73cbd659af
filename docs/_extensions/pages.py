"""The blocks of code on a page, and how they are run: from the top, in one namespace, in the present folder."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from typing import NamedTuple

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=fence)[ ]*$", re.M | re.S)
SHELLS = {"console", "bash", "sh", "shell"}
REMARK = re.compile(r"<!-- (?P<kind>no-run|exits): (?P<what>[^\n]*?) -->\s*\Z")


class Block(NamedTuple):
    """A block that is run.

    Attributes:
        language: ``python``, or one of a shell.
        code: between the fences.
        line: of the page, at which the code begins.
        end: offset in the page, behind the closing fence.
        exits: what its commands end with: 0 unless ``<!-- exits: N -->`` stands before it.
    """

    language: str
    code: str
    line: int
    end: int
    exits: int


class Done(NamedTuple):
    """What came of a block: all that it printed, and what its last command ended with (0 for Python)."""

    block: Block
    printed: str
    ended: int


def blocks(text: str) -> Iterator[Block]:
    """Yield what is to be run on a page, in order; not what stands behind ``<!-- no-run: reason -->``."""
    for found in FENCE.finditer(text):
        remark = REMARK.search(text[: found.start()])
        if remark is not None and remark["kind"] == "no-run":
            continue
        exits = int(remark["what"]) if remark is not None else 0
        block = Block(
            found["language"], found["code"], text.count("\n", 0, found.start("code")) + 1, found.end(), exits
        )
        if block.language in {"python", *SHELLS}:
            yield block


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the arguments of each call of visus in a shell's block: the lines that are run."""
    for line in typed(block):
        words = re.match(r"(?:uv run )?visus( .*)?$", line)
        if words is not None:
            yield shlex.split(words[1] or "", comments=True)


def typed(block: Block) -> Iterator[str]:
    """Yield each line a reader types in a shell's block; behind prompts, other lines are what it prints."""
    if block.language not in SHELLS:
        return
    for line in block.code.replace("\\\n", " ").splitlines():
        prompt, command = line.startswith("$ "), line.removeprefix("$ ").strip()
        if command and not command.startswith("#") and (prompt or block.language != "console"):
            yield command


def perform(text: str, name: str) -> Iterator[Done]:
    """Run a page block by block; ``name`` stands in tracebacks."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(text):
        printed, ended = io.StringIO(), 0
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            if block.language == "python":
                exec(compile("\n" * (block.line - 1) + block.code, name, "exec"), namespace)  # noqa: S102
            for arguments in commands(block):
                from visus.cli.app import run

                ended = run(arguments)
                if ended != block.exits:
                    break
        yield Done(block, printed.getvalue(), ended)


if __name__ == "__main__":  # a page on stdin; what its blocks printed on stdout
    print(json.dumps(list(perform(sys.stdin.read(), "the page"))))
