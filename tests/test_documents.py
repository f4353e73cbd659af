"""Every block of code in the documentation is run page by page, as a reader would: top down, in an empty folder."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "_build" not in page.parts
]


def extension(name: str) -> ModuleType:
    """Return a module of the documentation's own machinery."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_extensions" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


pages = extension("pages")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(pages.blocks(page.read_text(encoding="utf-8")))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_block_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["visus"])
    for done in pages.perform(page.read_text(encoding="utf-8"), str(page)):
        assert done.ended == done.block.exits, f"{page.name}:{done.block.line}\n{done.block.code}\n{done.printed}"


def test_a_block_that_is_not_run_says_why():
    for page in PAGES:
        for remark in re.finditer(r"<!-- no-run:(.*?)-->", page.read_text(encoding="utf-8")):
            assert len(remark[1].split()) >= 3, f"{page.name}: {remark[0]}"


def test_every_line_of_a_shells_block_is_run_or_the_block_says_why_not():
    for page in PAGES:
        for block in pages.blocks(page.read_text(encoding="utf-8")):
            left = len(list(pages.typed(block))) - len(list(pages.commands(block)))
            assert not left, f"{page.name}:{block.line}: {left} lines are not run, and no remark says why"


def test_a_command_of_another_program_is_seen_and_a_printed_line_is_not_taken_for_one():
    (block,) = pages.blocks("```console\n$ pip install uv && uv run visus demo\nvisus demo: done\n```\n")
    assert list(pages.typed(block)) == ["pip install uv && uv run visus demo"]
    assert list(pages.commands(block)) == []


def test_every_setting_has_its_words_in_the_table():
    for section, settings in extension("recipe_settings").rows().items():
        for one in settings:
            assert one.meaning, f"{section}: {one.key}"


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "trees"),
         str(ROOT / "docs"), str(tmp_path / "html")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "html" / "index.html").is_file()
