"""Every block of code in the documentation is run page by page, as a reader would: top down, in an empty folder."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if "_build" not in page.parts]
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=fence)\s*$", re.M | re.S)
REMARK = re.compile(r"<!-- (?P<kind>no-run|exits): (?P<what>[^\n]*?) -->\s*\Z")


class Block(NamedTuple):
    language: str
    code: str
    line: int
    exits: int
    """What the commands of the block end with: 0 unless ``<!-- exits: N -->`` stands before it."""


def blocks(page: Path) -> Iterator[Block]:
    """Yield what is to be run on a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        remark = REMARK.search(text[: found.start()])
        if remark is not None and remark["kind"] == "no-run":
            continue
        exits = int(remark["what"]) if remark is not None else 0
        yield Block(found["language"], found["code"], text.count("\n", 0, found.start("code")) + 1, exits)


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the calls of visus in a console block; other lines are what they print."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = re.match(r"(?:\$ )?(?:uv run )?visus( .*)?$", line)
        if words is not None and (line.startswith("$") or block.language != "console"):
            yield shlex.split(words[1] or "", comments=True)


def runnable(page: Path) -> bool:
    return any(block.language == "python" or any(commands(block)) for block in blocks(page))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_block_of_the_page_runs(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["visus"])
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            exec(code, namespace)
        elif block.language in {"console", "bash", "sh"}:
            for arguments in commands(block):
                from visus.cli.app import run

                ended = run(arguments)
                said = capfd.readouterr()
                assert ended == block.exits, (
                    f"{page.name}:{block.line}: visus {shlex.join(arguments)}\n{said.out}{said.err}"
                )


def test_a_block_that_is_not_run_says_why():
    for page in PAGES:
        for remark in re.finditer(r"<!-- no-run:(.*?)-->", page.read_text(encoding="utf-8")):
            assert len(remark[1].split()) >= 3, f"{page.name}: {remark[0]}"


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "trees"),
         str(ROOT / "docs"), str(tmp_path / "html")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "html" / "index.html").is_file()
