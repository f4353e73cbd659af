"""The directive ``recipe-settings``: a table of every setting, read from the recipe's own types and docstrings."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from visus.core.recipe import SECTIONS, Recipe


def described(documented: type) -> dict[str, str]:
    """Return {attribute: words} of a class's ``Attributes:`` section; ``a, b: words`` describes both."""
    _, _, text = (documented.__doc__ or "").partition("Attributes:\n")
    lines = re.sub(r"\n {9,}", " ", text).splitlines()  # a continued line is indented further
    found: dict[str, str] = {}
    for line in lines:
        for part in re.split(r"(?<=\.)\s\s+(?=\w+:)", line.strip()):
            names, colon, words = part.partition(":")
            if colon and all(re.fullmatch(r"\w+", name) for name in names.split(", ")):
                found |= dict.fromkeys(names.split(", "), words.strip())
    return found


def rows() -> dict[str, list[tuple[str, Any, str]]]:
    """Return (key, default, words) of every setting, section by section."""
    sections: dict[str, list[tuple[str, Any, str]]] = {}
    words = {"": described(Recipe), **{name: described(group) for name, group in SECTIONS.items()}}
    for key, default in Recipe().flat().items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, []).append((key, default, words[section][name]))
    return sections


class RecipeSettings(Directive):
    """One table a section."""

    def run(self) -> list[nodes.Node]:
        text: list[str] = []
        for section, settings in rows().items():
            group = SECTIONS.get(section, Recipe)
            title = f"``{section}``" if section else "The run"
            text += ["", f".. rubric:: {title}", "", (group.__doc__ or "").splitlines()[0], ""]
            text += [".. list-table::", "   :header-rows: 1", "   :widths: 26 18 56", ""]
            for key, default, words in [("setting", None, "meaning"), *settings]:
                shown = "default" if key == "setting" else f"``{default if default != '' else repr('')}``"
                name = key if key == "setting" else f"``{key}``"
                text += [f"   * - {name}", f"     - {shown}", f"     - {words}"]
        block = nodes.Element()
        self.state.nested_parse(StringList(text, source="visus.core.recipe"), 0, block)
        return block.children


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("recipe-settings", RecipeSettings)
    return {"parallel_read_safe": True}
