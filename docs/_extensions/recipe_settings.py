"""The directive ``recipe-settings``: a table of every setting, read from the recipe's own types and docstrings."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from visus.core.recipe import SECTIONS, Explained, Recipe, explained


def rows() -> dict[str, list[Explained]]:
    """Return every setting in words, section by section."""
    sections: dict[str, list[Explained]] = {}
    for setting in explained():
        sections.setdefault(setting.key.rpartition(".")[0], []).append(setting)
    return sections


class RecipeSettings(Directive):
    """One table a section."""

    def run(self) -> list[nodes.Node]:
        text: list[str] = []
        for section, settings in rows().items():
            group = SECTIONS.get(section, Recipe)
            title = f"``{section}``" if section else "The run"
            text += ["", f".. rubric:: {title}", "", (group.__doc__ or "").splitlines()[0], ""]
            text += [".. list-table::", "   :header-rows: 1", "   :widths: 22 14 26 38", ""]
            text += ["   * - setting", "     - default", "     - takes", "     - meaning"]
            for one in settings:
                text += [f"   * - ``{one.key}``", f"     - ``{one.default}``"]
                text += [f"     - {one.takes}", f"     - {one.meaning}"]
        block = nodes.Element()
        self.state.nested_parse(StringList(text, source="visus.core.recipe"), 0, block)
        return block.children


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("recipe-settings", RecipeSettings)
    return {"parallel_read_safe": True}
