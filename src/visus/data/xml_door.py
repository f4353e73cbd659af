"""The door for XML: a small tree of elements, from which document types and entities are turned away unread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from visus.core.errors import DataError
from visus.data.paths import read_regular, shown

_MOST_BYTES = 1 << 23
_MOST_ELEMENTS = 100_000
_DEEPEST = 32


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        name: of its tag.
        line: on which it begins.
        attributes: of its tag.
        children: in their order.
        text: what stands directly in it, without the blanks around it as ``stripped``.
    """

    name: str
    line: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)
    text: str = ""

    @property
    def stripped(self) -> str:
        """Its text without the blanks around it."""
        return self.text.strip()

    def all(self, name: str) -> Iterator[Element]:
        """Yield the children of a name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Element | None:
        """Return the first child of a name, or None."""
        return next(self.all(name), None)


def read_xml(path: Path, subject: str = "") -> Element:
    """Return the root element of a file.

    A document type is refused where it begins, so that no entity is ever declared, expanded or fetched.

    Args:
        path: a regular file.
        subject: what messages call it.

    Raises:
        DataError: DATA-010 it cannot be opened, DATA-231 it is no well-formed XML, or longer, deeper or of more
            elements than annotations are, DATA-232 it has a document type.
    """
    subject = subject or shown(path)
    data = read_regular(path, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise DataError("DATA-231", f"{subject}: the XML has more than {_MOST_BYTES:,} bytes")
    if not data.strip():
        raise DataError("DATA-231", f"{subject}: the XML file is empty", fix="write it again, or remove it")
    parser = expat.ParserCreate()
    parser.buffer_text = True
    tree = _Tree(subject, parser)
    parser.StartDoctypeDeclHandler = tree.doctype
    parser.EntityDeclHandler = tree.entity
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.characters
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: an encoding that Python lacks
        at = f"line {error.lineno}, column {error.offset + 1}" if isinstance(error, expat.ExpatError) else ""
        why = expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else str(error)
        raise DataError(
            "DATA-231", f"{subject}: this is not well-formed XML: {why}", where=at, fix="write it again, or remove it"
        ) from error
    return tree.elements[0]


class _Tree:
    """Takes what the parser meets, and keeps the elements, the root first."""

    def __init__(self, subject: str, parser: expat.XMLParserType) -> None:
        self.subject, self.parser = subject, parser
        self.elements: list[Element] = []
        self.open: list[tuple[Element, list[str]]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.open) >= _DEEPEST:
            raise self.refused("DATA-231", f"the XML is more than {_DEEPEST} elements deep")
        if len(self.elements) >= _MOST_ELEMENTS:
            raise self.refused("DATA-231", f"the XML has more than {_MOST_ELEMENTS:,} elements")
        element = Element(name, self.parser.CurrentLineNumber, attributes)
        if self.open:
            self.open[-1][0].children.append(element)
        self.elements.append(element)
        self.open.append((element, []))

    def end(self, _: str) -> None:
        element, parts = self.open.pop()
        element.text = "".join(parts)

    def characters(self, text: str) -> None:
        self.open[-1][1].append(text)

    def doctype(self, *_: object) -> None:
        raise self.refused("DATA-232", "the XML has a document type (<!DOCTYPE>), which is not read")

    def entity(self, *_: object) -> None:
        raise self.refused("DATA-232", "the XML declares an entity (<!ENTITY>), which is not read")

    def refused(self, code: str, what: str) -> DataError:
        return DataError(
            code, f"{self.subject}: {what}", where=f"line {self.parser.CurrentLineNumber}",
            fix="write the file again without it, or remove it",
        )  # fmt: skip


def plain_values(element: Element) -> object:
    """Return an element as JSON has it: its text, or an object of its children, lists where a name comes again.

    Attributes stand under ``@name``, text beside children under ``#text``.
    """
    if not element.children and not element.attributes:
        return element.stripped
    values: dict[str, object] = {f"@{name}": value for name, value in element.attributes.items()}
    count = Counter(child.name for child in element.children)
    for child in element.children:
        value = plain_values(child)
        if count[child.name] == 1:
            values[child.name] = value
            continue
        listed = values.setdefault(child.name, [])
        if isinstance(listed, list):
            listed.append(value)
    if element.stripped:
        values["#text"] = element.stripped
    return values


def write_values(name: str, value: object, depth: int = 0) -> str:
    """Return an element, or several, that ``plain_values`` reads as the given value.

    What XML cannot hold, such as a number that is no text, is left out.
    """
    blanks = "\t" * depth
    if not _is_name(name):
        return ""
    if isinstance(value, str):
        return f"{blanks}<{name}>{escaped(value)}</{name}>\n"
    if isinstance(value, Mapping):
        texts = {key: part for key, part in value.items() if isinstance(part, str)}
        tag = "".join(
            f' {key[1:]}="{escaped(part)}"' for key, part in texts.items() if key[:1] == "@" and _is_name(key[1:])
        )
        inner = "".join(write_values(str(key), part, depth + 1) for key, part in value.items())
        if "#text" in texts:
            inner += f"{blanks}\t{escaped(texts['#text'])}\n"
        return f"{blanks}<{name}{tag}>\n{inner}{blanks}</{name}>\n"
    if isinstance(value, Sequence):
        return "".join(write_values(name, part, depth) for part in value)
    return ""


def escaped(text: str) -> str:
    """Return text as it stands in XML; characters that XML has not are replaced by a question mark in a diamond."""
    kept = "".join(letter if _is_xml(letter) else "\ufffd" for letter in text)
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\r", "&#13;")):
        kept = kept.replace(letter, entity)
    return kept


def _is_xml(letter: str) -> bool:
    """Tell whether XML 1.0 has a character (section 2.2)."""
    return letter in "\t\n\r" or (letter >= " " and not "\ud800" <= letter <= "\udfff" and letter not in "\ufffe\uffff")


def _is_name(text: str) -> bool:
    """Tell whether text can name an element: the names that are alike in every edition of XML."""
    return text.replace("-", "_").replace(".", "_").isidentifier() and text.isascii()
