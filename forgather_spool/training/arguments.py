"""Dynamic arguments: what a config leaves open, with types, bounds, choices, help.

    dynamic_args:
      learning_rate: {type: float, default: 1e-3, min: 0, max: 1, help: "peak learning rate"}
      corpus: {type: path, required: true}

On a command line `learning_rate` is ``--learning-rate``, or
``--dynamic-arg learning_rate=...``. An argument without a default is required,
unless it says ``required: false``; it is null then. Pure, but for a path made
absolute: from the current directory when a person gave it, from the project's folder
when it is a default.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgather_spool import schema
from forgather_spool.errors import BadArgument, BadDocument
from forgather_spool.fields import Field

Value = str | int | float | bool | None

TYPES = ("str", "int", "float", "bool", "path")
TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")

FIELDS: dict[str, Field] = {
    "type": Field("string", "str", choices=TYPES, help="what a value must be"),
    "required": Field("boolean", None, help="default: whether there is no default"),
    "min": Field("number", None, help="int and float: at least this"),
    "max": Field("number", None, help="int and float: at most this"),
    "help": Field("string", "", help="a sentence for --help"),
}
ANYTHING = {"default", "choices"}  # their type is what `type` says


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One name a config leaves open. `default` None: null, or required."""

    name: str
    type: str
    default: Value
    required: bool
    minimum: float | None
    maximum: float | None
    choices: tuple[Value, ...]
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parsed(self, text: str) -> Value:
        """What `text` from a command line means. Raises BadArgument, which names the flag."""
        try:
            value = _PARSERS[self.type](text)
        except ValueError:
            raise BadArgument(f"{self.flag}: {text!r} is not {_WANTED[self.type]}") from None
        return self.checked(value)

    def checked(self, value: Value) -> Value:
        """`value`, if it is within the bounds and among the choices. Raises BadArgument."""
        problem = self.problem_with(value)
        if problem:
            raise BadArgument(f"{self.flag}: {problem}")
        return value

    def problem_with(self, value: Value) -> str:
        """What is wrong with a value of the right type; nothing, if it will do."""
        if self.choices and value not in self.choices:
            return f"{value} is not one of {', '.join(map(str, self.choices))}"
        if isinstance(value, (int, float)) and self.minimum is not None and value < self.minimum:
            return f"{value} is less than {self.minimum:g}"
        if isinstance(value, (int, float)) and self.maximum is not None and value > self.maximum:
            return f"{value} is more than {self.maximum:g}"
        return ""


def declared(declarations: Mapping[str, Any], folder: str, where: str) -> tuple[Argument, ...]:
    """The arguments the mapping `dynamic_args` declares; paths among the defaults count from `folder`.

    Raises:
        BadDocument: with the path of what is wrong, from `where` on.
    """
    return tuple(_declared(name, declarations[name], folder, f"{where}.{name}") for name in declarations)


def filled(arguments: Sequence[Argument], given: Mapping[str, Value]) -> dict[str, Value]:
    """Every argument's value: given, else its default. Raises BadArgument for what is missing or unknown."""
    known = {argument.name for argument in arguments}
    for name in given:
        if name not in known:
            hint = f"it has: {', '.join(sorted(known))}" if known else "it has none"
            raise BadArgument(f"--dynamic-arg {name}: the config has no such argument", hint=hint)
    missing = [argument for argument in arguments if argument.required and argument.name not in given]
    if missing:
        flags = ", ".join(argument.flag for argument in missing)
        raise BadArgument(f"missing: {flags}", hint=f"give {missing[0].flag} {missing[0].type.upper()}")
    return {a.name: given.get(a.name, a.default) for a in arguments}


def _declared(name: str, declaration: Any, folder: str, where: str) -> Argument:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is None:
        raise BadDocument(where, "is no name: letters, digits and _")
    if not isinstance(declaration, dict):
        raise BadDocument(where, "expected a mapping such as {type: float, default: 1e-3}")
    known = schema.check(
        {k: v for k, v in declaration.items() if k not in ANYTHING}, FIELDS, where=where, unknown="refuse"
    )
    full: dict[str, Any] = known
    kind, default = full["type"], declaration.get("default")
    required = full["required"] if full["required"] is not None else default is None
    if required and default is not None:
        raise BadDocument(f"{where}.required", "it has a default, so it cannot be required")
    if kind not in ("int", "float") and (full["min"] is not None or full["max"] is not None):
        raise BadDocument(where, f"min and max are for int and float, not for {kind}")
    argument = Argument(
        name=name,
        type=kind,
        default=_typed(default, kind, folder, f"{where}.default"),
        required=required,
        minimum=full["min"],
        maximum=full["max"],
        choices=_choices(declaration.get("choices"), kind, folder, f"{where}.choices"),
        help=full["help"],
    )
    problem = "" if default is None else argument.problem_with(argument.default)
    if problem:
        raise BadDocument(f"{where}.default", problem)
    return argument


def _choices(value: Any, kind: str, folder: str, where: str) -> tuple[Value, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        raise BadDocument(where, "expected a list of values")
    return tuple(_typed(item, kind, folder, f"{where}[{i}]") for i, item in enumerate(value))


def _typed(value: Any, kind: str, folder: str, where: str) -> Value:
    """A value from YAML as the argument's type; an int will do for a float."""
    if value is None:
        return None
    fits: dict[str, Any] = {"str": str, "path": str, "bool": bool, "int": int, "float": (int, float)}
    if not isinstance(value, fits[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise BadDocument(where, f"{value!r} is not {_WANTED[kind]}")
    if kind == "float":
        return float(value)
    if kind == "path":
        return os.path.normpath(os.path.join(folder, os.path.expanduser(value)))
    checked: Value = value
    return checked


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _truth(text: str) -> bool:
    word = text.lower()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise ValueError
    return word in TRUE_WORDS


def _absolute(text: str) -> str:
    if not text:
        raise ValueError
    return os.path.abspath(os.path.expanduser(text))


_PARSERS: dict[str, Callable[[str], Value]] = {
    "str": str,
    "int": int,
    "float": _finite,
    "bool": _truth,
    "path": _absolute,
}
_WANTED = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "path": "a path"}
