"""The door for YAML in the user's data: texts, lists and mappings, and nothing that could mean more.

Every scalar is kept as it is written: in ``names: [no, 1e3, 007]`` people mean these names, not False, 1000 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from visus.core.errors import DataError
from visus.data.paths import read_regular, shown

Tree: TypeAlias = str | list["Tree"] | dict[str, "Tree"]

_MOST_BYTES = 1 << 20
_DEEPEST = 16
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # only its parser is used; in C it is ten times as fast


def read_yaml(path: Path, subject: str = "") -> Tree:
    """Return the one document of a file; an empty one is an empty text.

    Tags, by which YAML names types and has them made, and aliases, by which a small file becomes a huge tree, are
    refused.

    Raises:
        DataError: DATA-010 it cannot be opened, DATA-233 it is no YAML, has a key twice, a tag or an alias, or is
            longer or deeper than descriptions of data are.
    """
    subject = subject or shown(path)
    data = read_regular(path, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise DataError("DATA-233", f"{subject}: the YAML has more than {_MOST_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError("DATA-233", f"{subject}: line {line} is not UTF-8", fix="save the YAML as UTF-8") from error
    reader = _Reader(subject)
    try:
        return reader.document(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        raise _malformed(subject, text, error) from error


class _Reader:
    """Builds plain values from the events of a parser."""

    def __init__(self, subject: str) -> None:
        self.subject = subject

    def document(self, events: Iterator[Any]) -> Tree:
        value: Tree = ""
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.refused(event, "a second document begins")
            elif isinstance(event, yaml.NodeEvent):
                value = self.value(event, events, 0)
        return value

    def value(self, event: Any, events: Iterator[Any], depth: int) -> Tree:
        """Return the value that begins with an event."""
        if isinstance(event, yaml.AliasEvent):
            raise self.refused(event, f"*{event.anchor} stands for another place; write it out")
        if event.tag is not None:
            raise self.refused(event, f"the tag {shown(event.tag)!r} asks for a type; plain values are read alone")
        if depth > _DEEPEST:
            raise self.refused(event, f"it is more than {_DEEPEST} levels deep")
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Tree] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self.value(event, events, depth + 1))
            return items
        mapping: dict[str, Tree] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.value(event, events, depth + 1)
            if not isinstance(key, str):
                raise self.refused(event, "a key is no text")
            if key in mapping:
                raise self.refused(event, f"the key {shown(key)!r} is there twice")
            mapping[key] = self.value(next(events), events, depth + 1)
        return mapping

    def refused(self, event: Any, what: str) -> DataError:
        return DataError("DATA-233", f"{self.subject}: line {event.start_mark.line + 1}: {what}")


def _malformed(subject: str, text: str, error: yaml.YAMLError) -> DataError:
    mark = getattr(error, "problem_mark", None)
    why = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    if mark is None:
        return DataError("DATA-233", f"{subject}: this is no YAML: {why}")
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return DataError(
            "DATA-233", f"{subject}: line {mark.line + 1} is indented by a tab", fix="indent YAML by blanks alone"
        )
    return DataError("DATA-233", f"{subject}: line {mark.line + 1} is no YAML: {why}")
