"""One YAML file as plain values: mappings, lists, text, numbers, true, false, null.

Words mean what YAML 1.2 says, which is what people expect: ``1e-3`` is a
number, ``no`` and ``2026-11-21`` and ``1:30:00`` are text (in YAML 1.1 they are
text, false, a date and 5400). Refused, with the line: a key that stands twice,
a key that is no text, anchors and aliases, tags, numbers beyond all bounds.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from forgather_spool.document import MAX_DEPTH, MAX_DOCUMENT_BYTES
from forgather_spool.errors import BadDocument, UnreadableFile

MAX_DIGITS = 20
_WORDS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
)


def read(path: str) -> dict[str, Any]:
    """The mapping `path` holds; an empty file is an empty one.

    Raises:
        UnreadableFile: it cannot be read, or is not UTF-8.
        BadDocument: it is not YAML, or not what this module takes; `where` is the file, and the line.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableFile(f"{path}: is not UTF-8 text") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise UnreadableFile(f"{path}: larger than {MAX_DOCUMENT_BYTES} bytes")
    value = parse(text, os.path.basename(path))
    if not isinstance(value, dict):
        raise BadDocument(os.path.basename(path), "expected a mapping: lines of `key: value`")
    return value


def parse(text: str, name: str) -> Any:
    """The value `text` spells, {} for none. `name` stands in front of what is wrong. Raises BadDocument."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise BadDocument(_at(name, error.problem_mark), said or "is not YAML") from None
    except yaml.YAMLError as error:
        raise BadDocument(name, f"is not YAML: {' '.join(str(error).split())}") from None
    return {} if node is None else _value(node, name)


def written(document: Mapping[str, Any]) -> str:
    """`document` as YAML, keys in their order: what `parse` reads back as the same."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts a text in quotes where `_Loader` would take it for something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the library's own attribute, replaced

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's words, and without aliases."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the library's own attribute, replaced

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if self.depth > MAX_DEPTH:  # the library takes a second to find out by its recursion
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=event.start_mark)
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not used here: see `extends:` and ${...}",
                problem_mark=event.start_mark,
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in _WORDS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
        )


def _value(node: Any, name: str) -> Any:
    kind = node.tag.rpartition(":")[2]
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, name)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_value(item, name) for item in node.value]
    if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
        value = _SCALARS[kind](node.value)
        if (kind == "int" and len(node.value) > MAX_DIGITS) or (kind == "float" and math.isinf(value)):
            raise BadDocument(_at(name, node.start_mark), f"{node.value[:MAX_DIGITS]} is larger than any number here")
        return value
    raise BadDocument(_at(name, node.start_mark), f"tags such as {node.tag} are not used here")


def _mapping(node: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _value(key_node, name)
        where = _at(name, key_node.start_mark)
        if not isinstance(key, str):
            raise BadDocument(where, f"the key {key_node.value!r} is not text; put it in quotes")
        if key in found:
            raise BadDocument(where, f"the key {key!r} stands twice")
        found[key] = _value(value_node, name)
    return found


def _integer(text: str) -> int:
    return int(text[:MAX_DIGITS], 0) if text[:2] in ("0o", "0x") else int(text[:MAX_DIGITS])


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": float,
}


def _at(name: str, mark: Any) -> str:
    return name if mark is None else f"{name}: line {mark.line + 1}"
