"""A config file and those it extends, read, checked for their keys, and laid over one another.

    extends: base.yaml       found from the folder of the file that says so; up to MAX_EXTENDS deep
    mappings are merged key by key; everything else, lists too, is replaced
    null takes away what the extended file said

Each file is checked for itself, so that what is wrong is told with the file it
stands in. References (``${...}``) are left as they are, and a value that is one
passes for any type here; `config.resolve` checks again.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forgather_spool import schema
from forgather_spool.errors import BadDocument, UsageError
from forgather_spool.fields import Field
from forgather_spool.training import yaml_file
from forgather_spool.training.arguments import Argument, declared
from forgather_spool.training.config_fields import CONFIG, DATA, LISTS, MODEL, NUMBERS_TOO, TOKENIZER, TRAIN

MAX_EXTENDS = 16
_TABLES: dict[tuple[str, ...], dict[str, Field]] = {
    (): CONFIG,
    ("train",): TRAIN,
    ("train", "model"): MODEL,
    ("train", "tokenizer"): TOKENIZER,
    ("train", "data"): DATA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the files say, before anything is filled in. `layers`: each file's own mapping, what wins first."""

    path: str
    project: str
    arguments: tuple[Argument, ...]
    layers: tuple[tuple[str, Mapping[str, Any]], ...]

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


def load(path: str, project: str | None = None) -> Source:
    """The config at `path`, with all it extends. `project`: the folder paths count from; default the config's own.

    Raises:
        UsageError: there is no such file; the hint lists what is there.
        BadDocument, UnreadableFile: a file that is no config; the message names it and the field.
    """
    path = os.path.abspath(path)
    project = os.path.dirname(path) if project is None else os.path.abspath(project)
    if not os.path.isfile(path):
        raise UsageError(f"no such config: {path}", hint=_configs_beside(path))
    layers = tuple(_layers(path))
    declarations = merged([layer.get("dynamic_args") or {} for _, layer in layers])
    said_in = {name: file for file, layer in reversed(layers) for name in layer.get("dynamic_args") or {}}
    arguments: list[Argument] = []
    for name, declaration in declarations.items():
        file = said_in[name]
        try:
            arguments += declared({name: declaration}, project, "$.dynamic_args")
        except BadDocument as error:
            raise in_file(error, file) from None
    return Source(path=path, project=project, arguments=tuple(arguments), layers=layers)


def merged(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Mappings laid over one another, the first on top."""
    whole: dict[str, Any] = {}
    for layer in reversed(layers):
        whole = _laid_over(whole, layer)
    return whole


def in_file(error: BadDocument, path: str) -> BadDocument:
    """The same error with the file's name before the field."""
    return BadDocument(f"{os.path.basename(path)}: {error.where}", error.problem, hint=error.hint)


def check_keys(document: Mapping[str, Any], *, references: bool) -> None:
    """Every key known and of its type. `references`: a text with ``${`` in it may become anything yet.

    Raises:
        BadDocument: with the field's path.
    """
    for at, fields in _TABLES.items():
        part: Any = document
        for key in at:
            part = part.get(key) if isinstance(part, Mapping) else None
        if isinstance(part, Mapping):
            _check_part(part, fields, at, references)


def _check_part(part: Mapping[str, Any], fields: dict[str, Field], at: tuple[str, ...], references: bool) -> None:
    """The keys of one mapping. Those within have a table of their own; that something is missing is not seen here."""
    where = ".".join(("$", *at))
    for key, value in part.items():
        if key not in fields:
            raise BadDocument(f"{where}.{key}", "no such key", hint=_known(key, fields))
        if value is None or (references and isinstance(value, str) and "${" in value):
            continue
        if (*at, key) in LISTS:
            _check_list(f"{where}.{key}", value)
        elif (*at, key) in NUMBERS_TOO and isinstance(value, (int, float)) and not isinstance(value, bool):
            continue
        else:
            field = fields[key]
            alone = Field(field.kind, None, minimum=field.minimum, maximum=field.maximum, choices=field.choices)
            schema.check({key: value}, {key: alone}, where=where)


def _known(key: str, fields: dict[str, Field]) -> str:
    close = difflib.get_close_matches(key, fields, n=1)
    return f"did you mean {close[0]}?" if close else f"known keys: {', '.join(sorted(fields))}"


def _check_list(where: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list):
        raise BadDocument(where, "expected a list, or one line of text")
    for i, item in enumerate(value):
        if isinstance(item, (dict, list)) or item is None:
            raise BadDocument(f"{where}[{i}]", "expected text or a number")


def _layers(path: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    while True:
        layer = yaml_file.read(path)
        try:
            check_keys(layer, references=True)
            found.append((path, layer))
            if layer.get("extends") is None:
                return found
            path = _extended(layer["extends"], [file for file, _ in found])
        except BadDocument as error:
            raise in_file(error, path) from None


def _extended(base: str, chain: list[str]) -> str:
    """The path of what the last file of `chain` extends."""
    path = os.path.normpath(os.path.join(os.path.dirname(chain[-1]), os.path.expanduser(base)))
    if path in chain:
        circle = " -> ".join(os.path.basename(file) for file in [*chain, path])
        raise BadDocument("$.extends", f"goes in a circle: {circle}")
    if len(chain) >= MAX_EXTENDS:
        raise BadDocument("$.extends", f"more than {MAX_EXTENDS} files deep")
    if not os.path.isfile(path):
        raise BadDocument("$.extends", f"no such file: {path}")
    return path


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(below)
    for key, value in above.items():
        if value is None:
            whole.pop(key, None)
        elif isinstance(value, Mapping):
            under = whole.get(key)
            whole[key] = _laid_over(under if isinstance(under, Mapping) else {}, value)
        else:
            whole[key] = value
    return whole


def _configs_beside(path: str) -> str:
    folder = os.path.dirname(path)
    names = configs_in(folder)
    return f"{folder} has {', '.join(names)}" if names else "forgather init writes a starter project"


def configs_in(folder: str) -> list[str]:
    """The names of the YAML files of a folder, sorted."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(name for name in names if name.endswith((".yaml", ".yml")) and not name.startswith("."))
