"""The house around the code: what a stranger finds at the door, and that it says the truth."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_the_licence_is_the_whole_apache_licence_2_0():
    """The text of https://www.apache.org/licenses/LICENSE-2.0.txt, byte for byte."""
    text = (ROOT / "LICENSE").read_bytes()
    assert sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "src/visus/py.typed"])
def test_what_every_project_has_is_there(name):
    assert (ROOT / name).is_file()


def test_the_version_is_the_same_everywhere():
    import visus

    assert visus.__version__ == PROJECT["project"]["version"]
    assert f"## {visus.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_lock_belongs_to_the_project():
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    ours = next(package for package in lock["package"] if package["name"] == "visus")
    locked = {
        requirement["name"]
        for requirement in ours["metadata"]["requires-dist"]
        if "extra" not in str(requirement.get("marker"))
    }
    assert locked == {re.match(r"[\w.-]+", requirement)[0] for requirement in PROJECT["project"]["dependencies"]}


def test_every_dependency_is_used_by_the_source():
    """A base dependency that nothing imports costs every user a download."""
    names = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    for requirement in PROJECT["project"]["dependencies"]:
        name = re.match(r"[\w.-]+", requirement)[0]
        module = names.get(name, name.replace("-", "_"))
        assert re.search(rf"^\s*(import|from) {module}\b|[\"']{module}[\"']", source, re.M), name


def test_an_error_code_means_one_thing():
    """A script that reads codes can rely on it: a code has one exit code, and the form ROOM-NUMBER."""
    specification = importlib.util.spec_from_file_location(
        "error_codes", ROOT / "docs" / "_extensions" / "error_codes.py"
    )
    module = importlib.util.module_from_spec(specification)
    sys.modules["error_codes"] = module
    specification.loader.exec_module(module)
    places = defaultdict(lambda: defaultdict(set))
    for error in module.raised():
        places[error.code][error.exit].add(error.place)
    assert len(places) > 80
    unclear = [f"{code}: {dict(exits)}" for code, exits in places.items() if len(exits) > 1]
    unclear += [code for code in places if code != "BUG" and not re.fullmatch(r"[A-Z]+-\d{3}", code)]
    assert not unclear, "\n".join(unclear)


LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)|!\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target = match[1] or match[2]
        if "://" not in target and not target.startswith(("mailto:", "#")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_file_holds_what_has_no_place_in_it():
    """Merge marks, unfinished work, and paths of somebody's machine."""
    marks = re.compile(rb"^(<{7}|>{7}) |\bTODO\b|\bFIXME\b|/home/[a-z]+/|/Users/[A-Za-z]+/|/work/|\bshared/[a-z]", re.M)
    elsewhere = {Path(__file__), ROOT / "uv.lock", ROOT / ".ci" / "run"}
    found = [
        f"{file.relative_to(ROOT)}: {match[0].decode()}"
        for file in tracked()
        if file not in elsewhere and file.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".cfg", ""}
        for match in marks.finditer(file.read_bytes())
    ]
    assert not found, "\n".join(found)


def test_no_large_file_is_committed():
    large = [
        f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes"
        for file in tracked()
        if file.stat().st_size > 1_000_000
    ]
    assert not large, "\n".join(large)


def test_only_code_that_we_may_relicense_is_in_the_source():
    """No file carries another project's licence header."""
    foreign = re.compile(
        r"GNU (Affero |Lesser )?General Public|NVIDIA CORPORATION|Creative Commons.*NonCommercial", re.I
    )
    found = [
        str(file) for file in (ROOT / "src").rglob("*.py") if foreign.search(file.read_text(encoding="utf-8")[:2000])
    ]
    assert found == []


@pytest.mark.slow
def test_the_wheel_holds_the_source_and_is_the_same_bytes_twice(tmp_path):
    """Built from the tracked files in two places: the same archive, and in it every source file and nothing else."""
    import zipfile

    wheels = []
    for name in ("first", "second"):
        copy = tmp_path / name
        for file in tracked():
            to = copy / file.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(file.read_bytes())
        subprocess.run(["uv", "build", "--wheel", "--offline", "-o", str(copy / "out")], cwd=copy, check=True)
        wheels += (copy / "out").glob("*.whl")
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    packed = {name for name in zipfile.ZipFile(wheels[0]).namelist() if ".dist-info/" not in name}
    source = {str(file.relative_to(ROOT / "src")) for file in tracked() if file.is_relative_to(ROOT / "src")}
    assert packed == source
