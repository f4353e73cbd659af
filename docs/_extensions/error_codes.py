"""The directive ``error-codes``: every error that the source raises, with its exit code, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import visus
from visus.core import errors

SOURCE = Path(visus.__file__).parent


class Raised(NamedTuple):
    """One place that makes an error."""

    code: str
    kind: str
    what: str
    fix: str
    place: str

    @property
    def exit(self) -> int:
        """What the command ends with."""
        return errors.BUG if self.code == "BUG" else getattr(errors, self.kind, errors.UsageError).exit


def raised() -> Iterator[Raised]:
    """Yield every error that is made with a code, in the order of codes."""
    kinds = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.VisusError)
    }
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) >= 2:
                code = node.args[0]
                known = node.func.id in kinds or node.func.id.endswith(("Error", "UnknownName"))
                if known and isinstance(code, ast.Constant) and isinstance(code.value, str):
                    fix = next((word.value for word in node.keywords if word.arg == "fix"), None)
                    place = f"{file.relative_to(SOURCE)}"
                    found.append(Raised(code.value, node.func.id, words(node.args[1]), words(fix), place))
    yield from sorted(found)


def words(node: ast.expr | None) -> str:
    """Return a message as it stands in the source, with {names} where values will be."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        inside = ast.unparse(node.value)
        return "{" + (inside if inside.isidentifier() else "...") + "}"
    return "" if node is None else "..."


class ErrorCodes(Directive):
    """One row a code and message."""

    def run(self) -> list[nodes.Node]:
        text = [".. list-table::", "   :header-rows: 1", "   :widths: 14 8 46 32", "", "   * - code", "     - exit"]
        text += ["     - what is said", "     - what helps"]
        seen = set()
        for error in raised():
            if (error.code, error.what) in seen:
                continue
            seen.add((error.code, error.what))
            text += [f"   * - ``{error.code}``", f"     - {error.exit}", f"     - {literal(error.what)}"]
            text += [f"     - {literal(error.fix) if error.fix.strip('. ') else ''}"]
        block = nodes.Element()
        self.state.nested_parse(StringList(text, source="visus"), 0, block)
        return block.children


def literal(text: str) -> str:
    return f"``{' '.join(text.split()).replace('`', chr(39))}``"


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("error-codes", ErrorCodes)
    return {"parallel_read_safe": True}
