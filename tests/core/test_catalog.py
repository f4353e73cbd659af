import subprocess
import sys

import pytest

from visus.core.catalog import Catalog
from visus.core.errors import UsageError


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Return a catalog over a package: one module offers a hammer, one raises, one is empty, one is private."""
    folder = tmp_path / "shop" / "hammers"
    folder.mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "claw.py").write_text("HAMMER = 'a claw hammer'\n")
    (folder / "sledge.py").write_text("raise RuntimeError('imported without being asked for')\n")
    (folder / "empty.py").write_text("")
    (folder / "_handle.py").write_text("HAMMER = 'private'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield Catalog("shop.hammers", "HAMMER")
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_a_name_is_a_module_and_gives_what_it_offers(shop):
    assert shop["claw"] == "a claw hammer"


def test_listing_imports_nothing_and_leaves_out_private_modules(shop):
    assert list(shop) == ["claw", "empty", "sledge"]
    assert "shop.hammers.claw" not in sys.modules


def test_asking_whether_a_name_exists_imports_nothing(shop):
    assert "sledge" in shop
    assert "_handle" not in shop
    assert len(shop) == 3


def test_a_misspelt_name_is_answered_with_the_nearest_one(shop):
    with pytest.raises(UsageError, match=r"no hammer named 'slegde'.*") as refused:
        shop["slegde"]
    assert (refused.value.code, refused.value.fix) == ("USE-004", "did you mean 'sledge'?")


def test_an_unknown_name_is_a_missing_key_for_python(shop):
    assert shop.get("nothing", 7) == 7


def test_a_module_that_offers_nothing_is_named(shop):
    with pytest.raises(UsageError, match=r"shop\.hammers\.empty offers no HAMMER"):
        shop["empty"]


@pytest.mark.parametrize("name", ["", ".", "..", "claw.x", "os", "../claw", "claw\0"])
def test_a_name_that_is_no_name_is_refused(shop, name):
    with pytest.raises(UsageError):
        shop[name]


def test_an_error_inside_a_module_is_not_taken_for_a_missing_name(shop):
    with pytest.raises(RuntimeError, match="imported without"):
        shop["sledge"]


def test_an_installed_package_joins_through_an_entry_point(shop, tmp_path):
    """A wheel leaves a dist-info folder beside its modules; that is all that is needed."""
    installed = tmp_path / "tack_hammer-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tack-hammer\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[shop.hammers]\ntack = tack_hammer:OFFER\n")
    (tmp_path / "tack_hammer.py").write_text("OFFER = 'a tack hammer'\n")
    assert list(shop) == ["claw", "empty", "sledge", "tack"]
    assert shop["tack"] == "a tack hammer"


@pytest.mark.parametrize(
    ("package", "noun"), [("visus.tasks", "task"), ("visus.losses", "loss"), ("a.b.metrics", "metric")]
)
def test_messages_use_the_singular(package, noun):
    assert Catalog(package, "X").kind == noun


@pytest.mark.parametrize(
    "module",
    ["visus", "visus.core", "visus.core.catalog", "visus.core.errors", "visus.core.recipe", "visus.core.files"],
)
def test_what_the_command_line_needs_at_once_loads_no_torch(module):
    seen = f"import sys, {module}; print(sorted({{'torch', 'timm', 'torchvision', 'numpy'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout == "[]\n"
