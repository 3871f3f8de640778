"""A training config, resolved: what to run, with what, and where its results go.

    load(path)                  the files, with the dynamic arguments they declare (`config_file`)
    resolve(source, given)      everything filled in and checked: a Config

A config says exactly one of `command`, `script`, `train`. Relative paths count
from the project's folder, which is where the training runs. The keys are in
`config_fields`; what ``${...}`` may hold, in `substitute`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forgather_spool.errors import BadArgument, BadDocument
from forgather_spool.training import substitute
from forgather_spool.training.arguments import Argument, Value, filled
from forgather_spool.training.config_fields import CONFIG, PROGRAMS
from forgather_spool.training.config_file import Source, check_keys, in_file, load, merged
from forgather_spool.training.train_section import completed

__all__ = ["Command", "Config", "Script", "Train", "load", "resolve"]


@dataclass(frozen=True, slots=True)
class Command:
    """Any program, which starts its own processes if it wants several."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A Python script and its arguments."""

    path: str
    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Train:
    """The built-in trainer; `document` is the mapping `train`, with its defaults."""

    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that running it takes. It runs in the folder `project`.

    gpus: None means one for each process. time_limit: as written, e.g. "12h".
    """

    path: str
    project: str
    name: str
    description: str
    arguments: tuple[Argument, ...]
    values: Mapping[str, Value]
    env: Mapping[str, str]
    nproc_per_node: int
    gpus: int | None
    time_limit: str | None
    python: str | None
    output_dir: str
    program: Command | Script | Train

    def as_document(self) -> dict[str, Any]:
        """The whole of it as plain values, paths absolute: what people look at and the built-in trainer reads."""
        document: dict[str, Any] = {"name": self.name, "description": self.description}
        for key in ("nproc_per_node", "gpus", "time_limit", "python", "output_dir"):
            document[key] = getattr(self, key)
        document |= {"env": dict(self.env), "dynamic_args": dict(self.values)}
        match self.program:
            case Command(argv):
                document["command"] = list(argv)
            case Script(path, args):
                document |= {"script": path, "args": list(args)}
            case Train(section):
                document["train"] = dict(section)
        return document


def resolve(source: Source, given: Mapping[str, Value], environ: Mapping[str, str]) -> Config:
    """`source` with its dynamic arguments (`given`, else their defaults) and the environment filled in.

    Raises:
        BadArgument: an argument is missing, unknown or out of bounds; it names the flag.
        BadDocument: something else is wrong; it names the file and the field.
    """
    values = filled(source.arguments, given)
    layers = []
    for path, layer in source.layers:
        try:
            layers.append(_filled_in(layer, values, environ))
        except BadDocument as error:
            raise in_file(error, path) from None
    try:
        return _config(source, values, merged(layers))
    except BadDocument as error:
        raise in_file(error, source.path) from None


def _filled_in(layer: Mapping[str, Any], values: Mapping[str, Value], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """One file's mapping without references; types are checked again now that they are known."""
    plain = {key: value for key, value in layer.items() if key not in ("dynamic_args", "extends")}
    if isinstance(plain.get("command"), str):
        plain["command"] = _words("$.command", plain["command"])  # split first: a value with a blank stays one word
    found: Mapping[str, Any] = substitute.substituted(plain, values, environ, where="$")
    check_keys(found, references=False)
    return found


def _config(source: Source, values: Mapping[str, Value], document: dict[str, Any]) -> Config:
    full: dict[str, Any] = {name: document.get(name, field.default) for name, field in CONFIG.items()}
    name = str(full["name"] or os.path.splitext(source.name)[0])
    if name in (".", "..") or "/" in name or "\0" in name:
        raise BadDocument("$.name", f"{name!r} cannot be the name of a folder")
    project = source.project
    return Config(
        path=source.path,
        project=project,
        name=name,
        description=full["description"],
        arguments=source.arguments,
        values=values,
        env={key: _text(f"$.env.{key}", value) for key, value in full["env"].items()},
        nproc_per_node=full["nproc_per_node"],
        gpus=full["gpus"],
        time_limit=None if full["time_limit"] is None else str(full["time_limit"]),
        python=full["python"],
        output_dir=below(project, full["output_dir"] or f"output_models/{name}"),
        program=_program(document, project),
    )


def _program(document: Mapping[str, Any], project: str) -> Command | Script | Train:
    said = [key for key in PROGRAMS if key in document]
    if len(said) != 1:
        what = f"has {' and '.join(said)}" if said else "says nothing to run"
        raise BadDocument("$", f"{what}; give exactly one of {', '.join(PROGRAMS)}")
    if "args" in document and said != ["script"]:
        raise BadDocument("$.args", "goes with script")
    if said == ["command"]:
        argv = _texts("$.command", document["command"])
        if not argv:
            raise BadDocument("$.command", "must not be empty")
        return Command(argv)
    if said == ["script"]:
        return Script(below(project, document["script"]), _texts("$.args", document.get("args", [])))
    return Train(completed(document["train"], lambda path: below(project, path)))


def below(project: str, path: str) -> str:
    """`path`, counted from the project's folder; absolute."""
    return os.path.normpath(os.path.join(project, os.path.expanduser(path)))


def _words(where: str, line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise BadDocument(where, f"cannot be split into words: {error}") from None


def _texts(where: str, value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    return tuple(_text(f"{where}[{i}]", item) for i, item in enumerate(items))


def _text(where: str, value: Any) -> str:
    if value is None or isinstance(value, (dict, list)):
        raise BadDocument(where, "expected text or a number")
    text = substitute.spelled(value)
    if "\0" in text:
        raise BadDocument(where, "a NUL character cannot be part of a word")
    return text


def given_values(arguments: tuple[Argument, ...], pairs: tuple[str, ...]) -> dict[str, Value]:
    """What ``--dynamic-arg k=v`` says; later ones win. Raises BadArgument."""
    by_name = {argument.name: argument for argument in arguments}
    given: dict[str, Value] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals:
            raise BadArgument(f"--dynamic-arg {pair}: expected NAME=VALUE")
        if name not in by_name:
            hint = f"it has: {', '.join(sorted(by_name))}" if by_name else "it has none"
            raise BadArgument(f"--dynamic-arg {name}: the config has no such argument", hint=hint)
        given[name] = by_name[name].parsed(text)
    return given
