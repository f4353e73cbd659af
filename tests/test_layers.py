"""The plan of the house, kept by reading the source: who may import whom, and what no file may hold."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "visus"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {file: ast.parse(file.read_bytes()) for file in FILES}

SUPPLIES = {"core"}
"""What every room may use."""

TOOLS = ("checks", "explainers", "compressors", "exporters", "server", "tuners", "trackers", "matchers", "report")
"""Rooms that work on a trained model."""

MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "losses": SUPPLIES,
    "metrics": SUPPLIES,
    "models": SUPPLIES,
    "transforms": SUPPLIES,
    "engine": SUPPLIES,
    "data": SUPPLIES | {"transforms"},
    "tasks": SUPPLIES | {"losses", "metrics", "models", "transforms"},
    **{tool: SUPPLIES | {"data", "engine", "tasks"} for tool in TOOLS},
    "compressors": SUPPLIES | {"data", "engine", "tasks", "models"},  # they make other networks
    "verbs": SUPPLIES | {"losses", "metrics", "models", "transforms", "engine", "data", "tasks", *TOOLS},
    "cli": SUPPLIES | {"verbs", "the public face"},
    "the public face": {"verbs", "core"},
    "__main__": {"cli"},
}
"""Room -> rooms whose doors it may open.  A room may always import itself."""

ONLY_INSIDE_FUNCTIONS = {"cli", "the public face"}
"""These answer at once, so they import other rooms only where they are needed."""

LIGHT_PARTS_OF_CORE = {f"visus.core.{part}" for part in ("errors", "catalog", "recipe", "scores", "figures")}
"""What may be imported at once even there: it loads no torch."""

FOREIGN_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
"""Import name -> distribution, where they differ in more than a hyphen."""


class Import(NamedTuple):
    file: Path
    line: int
    module: str
    eager: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def imports(file: Path) -> Iterator[Import]:
    """Yield every import of a file, wherever it stands, under its absolute name."""
    package = list(file.relative_to(SOURCE.parent).with_suffix("").parts)[:-1]

    def walk(node: ast.AST, eager: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                yield from (Import(file, child.lineno, name.name, eager) for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                module = ".".join([*base, *([child.module] if child.module else [])])
                yield from (Import(file, child.lineno, f"{module}.{name.name}", eager) for name in child.names)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                yield from walk(child, eager=False)  # read by the type checker alone, but the law of rooms holds
            else:
                yield from walk(child, eager and not inside)

    yield from walk(TREES[file], eager=True)


def room(module: str) -> str:
    """Return the room of a module of ours: ``visus.data.feed.Feed`` stands in ``data``."""
    first = module.split(".")[1:2]
    return first[0] if first and (first[0] in MAY_IMPORT or (SOURCE / first[0]).is_dir()) else "the public face"


def own_room(file: Path) -> str:
    first = file.relative_to(SOURCE).parts[0]
    return {"__init__.py": "the public face", "__main__.py": "__main__"}.get(first, first)


OURS = [item for file in FILES for item in imports(file) if item.module.split(".")[0] == "visus"]
THEIRS_AND_PYTHONS = [item for file in FILES for item in imports(file) if item.module.split(".")[0] != "visus"]
THEIRS = [item for item in THEIRS_AND_PYTHONS if item.module.split(".")[0] not in sys.stdlib_module_names]


def test_every_room_is_in_the_plan():
    assert {own_room(file) for file in FILES} <= set(MAY_IMPORT)


def test_no_room_imports_a_room_it_may_not():
    broken = [
        f"{item}: {own_room(item.file)} may not import {room(item.module)}"
        for item in OURS
        if room(item.module) not in {own_room(item.file), *MAY_IMPORT[own_room(item.file)]}
        and item.module != "visus.__version__"  # a fact, not a room
    ]
    assert not broken, "\n".join(broken)


def test_the_command_line_and_the_public_face_open_rooms_only_inside_functions():
    broken = [
        str(item)
        for item in OURS
        if item.eager
        and own_room(item.file) in ONLY_INSIDE_FUNCTIONS
        and room(item.module) != own_room(item.file)
        and item.module != "visus.__version__"
        and not any(item.module.startswith(part + ".") for part in LIGHT_PARTS_OF_CORE)
    ]
    assert not broken, "\n".join(broken)


DISTRIBUTIONS = importlib.metadata.packages_distributions()


def distribution(module: str) -> str:
    first = module.split(".")[0]
    return DISTRIBUTIONS.get(first, [FOREIGN_NAMES.get(first, first)])[0].lower().replace("_", "-")


def declared(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def test_a_library_that_is_optional_is_imported_inside_functions_of_one_file_and_declared_as_an_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = declared(project["dependencies"])
    extras = declared([name for names in project["optional-dependencies"].values() for name in names])
    broken, users = [], defaultdict(set)
    for item in THEIRS:
        name = distribution(item.module)
        if name in base:
            continue
        users[name].add(str(item.file.relative_to(ROOT)))
        if item.eager:
            broken.append(f"{item} at once, but it is optional")
        if name not in extras:
            broken.append(f"{item}, which no extra of pyproject.toml brings ({name})")
    broken += [f"{name} is imported by {sorted(files)}" for name, files in users.items() if len(files) > 1]
    assert not broken, "\n".join(broken)


HEAVY = "{'torch', 'torchvision', 'timm', 'torchmetrics', 'sklearn', 'scipy', 'matplotlib', 'numpy', 'PIL'}"


def loaded_by(program: str) -> str:
    """Return which heavy libraries a fresh Python has loaded after a program."""
    program += f"\nimport sys; print('loaded', sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_importing_visus_and_every_package_of_it_loads_nothing_heavy():
    packages = [".".join(file.parent.relative_to(SOURCE.parent).parts) for file in FILES if file.name == "__init__.py"]
    assert loaded_by("import " + ", ".join(packages)) == "loaded []"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["trian"]])
def test_the_command_line_answers_without_loading_anything_heavy(arguments):
    program = f"""
import sys
sys.argv = ["visus", *{arguments!r}]
from visus.cli import main
try:
    main()
except SystemExit:
    pass
"""
    assert loaded_by(program) == "loaded []"


def test_no_file_has_a_name_that_says_nothing():
    empty = {"utils", "util", "misc", "helpers", "helper", "common", "tools", "stuff"}
    assert [str(file) for file in [*FILES, *(ROOT / "tests").rglob("*.py")] if file.stem.lstrip("_") in empty] == []


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of every file with its place."""
    for file, tree in TREES.items():
        name = file.relative_to(ROOT)
        yield from ((f"{name}:{getattr(node, 'lineno', 0)}", node) for node in ast.walk(tree))


def test_no_name_of_ours_is_img_or_cfg():
    def named(node: ast.AST) -> str:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            return node.id
        if isinstance(node, ast.arg):
            return node.arg
        return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""

    short = {"img", "imgs", "cfg", "cfgs"}
    assert [f"{place} {named(node)}" for place, node in nodes() if short & set(named(node).lower().split("_"))] == []


UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "random"}
"""What executes what a file says; and Python's global generator, because numbers are derived, never drawn."""

SPEAK_TO_THEIR_CHILDREN = {Path("data/parcels.py"), Path("data/workers.py")}
"""These pickle for pipes between a process and the children it started; they never open a file that way."""

UNSAFE_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "torch.manual_seed", "torch.seed", "np.random.seed", "numpy.random.seed", "tempfile.mktemp",
}  # fmt: skip


def test_nothing_in_a_file_can_be_executed_and_nothing_draws_from_a_global_generator():
    broken = [
        str(item)
        for item in THEIRS_AND_PYTHONS
        if item.module.split(".")[0] in UNSAFE_MODULES and item.file.relative_to(SOURCE) not in SPEAK_TO_THEIR_CHILDREN
    ]
    for place, node in nodes():
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg}
        if call in UNSAFE_CALLS:
            broken.append(f"{place} calls {call}")
        if given.get("shell", "False") != "False":
            broken.append(f"{place} opens a shell")
        if call == "torch.load" and given.get("weights_only") != "True":
            broken.append(f"{place} calls torch.load without weights_only=True")
        if call.endswith((".load", ".memmap")) and given.get("allow_pickle", "False") != "False":
            broken.append(f"{place} unpickles an array")
        if re.fullmatch(r"(np|numpy)\.random\.[a-z]\w*", call):
            broken.append(f"{place} calls {call}: make a Generator of a derived seed")
    assert not broken, "\n".join(broken)
