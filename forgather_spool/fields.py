"""Fields: what one key of a document may hold, and the check of a whole document against them.

The first thing wrong is named with its path. The tables themselves are in
`schema.py`. No dataclasses and no `re`: `forgather submit` pays for every
import here.
"""

from __future__ import annotations

from forgather_spool.document import Document, kind_of
from forgather_spool.errors import BadDocument

REQUIRED = object()
MAX_ARGV_BYTES = 128 * 1024  # one argument the kernel accepts: MAX_ARG_STRLEN in execve(2)


class Field:
    """One key: its kind, what it is when absent, and its limits (both ends included).

    kind: string, integer, number, boolean, strings (a list), string_map, object, objects (a list).
    `default` REQUIRED means the key must stand; None also allows null, as `nullable` does beside another default.
    `absolute`: a path from the root; `says_something`: not empty. Both are asked for where a document enters;
    one that stands already may be what it is.
    """

    __slots__ = (
        "absolute", "choices", "default", "fields", "help", "is_shared", "kind", "maximum", "minimum", "nullable",
        "says_something",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        default: object = REQUIRED,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        choices: tuple[str, ...] = (),
        fields: dict[str, Field] | None = None,
        nullable: bool = False,
        absolute: bool = False,
        says_something: bool = False,
        help: str = "",
    ) -> None:
        self.kind = kind
        self.default = default
        self.is_shared = not isinstance(default, (dict, list))  # many documents may hold the very same default
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.fields = fields
        self.nullable = nullable or default is None
        self.absolute = absolute
        self.says_something = says_something
        self.help = help


def check(document: Document, fields: dict[str, Field], *, where: str = "$", unknown: str = "keep") -> Document:
    """`document` with defaults filled in; the first thing wrong raises BadDocument with its path.

    `unknown` is "refuse" or "keep".
    """
    _check_values(document, fields, where, unknown)
    checked = dict(document)
    for name, field in fields.items():
        if name not in document:
            if field.default is REQUIRED:
                raise _missing(where, name)
            checked[name] = field.default if field.is_shared else field.default.copy()  # type: ignore[attr-defined]
    return checked


def verify(document: Document, fields: dict[str, Field], *, where: str = "$", unknown: str = "keep") -> None:
    """As `check`, where nobody asks for the defaults."""
    _check_values(document, fields, where, unknown)
    for name, field in fields.items():
        if field.default is REQUIRED and name not in document:
            raise _missing(where, name)


def _check_values(document: Document, fields: dict[str, Field], where: str, unknown: str) -> None:
    for name, value in document.items():
        field = fields.get(name)
        if field is not None:
            _check_value(f"{where}.{name}", value, field, unknown)
        elif unknown == "refuse":
            raise BadDocument(f"{where}.{name}", "no such field", hint=f"known fields: {', '.join(sorted(fields))}")


def _missing(where: str, name: str) -> BadDocument:
    return BadDocument(f"{where}.{name}", "is required")


def _check_value(where: str, value: object, field: Field, unknown: str) -> None:
    if value is None and field.nullable:
        return
    if where == "$.version":
        _refuse_newer(where, value, field)
    _CHECKS[field.kind](where, value, field)
    if unknown == "refuse":
        _check_entering(where, value, field)
    if field.fields is not None and isinstance(value, dict):
        verify(value, field.fields, where=where, unknown=unknown)
    if field.fields is not None and isinstance(value, list):
        for i, item in enumerate(value):
            verify(item, field.fields, where=f"{where}[{i}]", unknown=unknown)


def _check_entering(where: str, value: object, field: Field) -> None:
    """What is asked for where a document enters; one that stands already may be what it is."""
    if field.absolute and not str(value).startswith("/"):
        raise BadDocument(where, f"{value!r} is not an absolute path", hint="begin it with /")
    if field.says_something and not value:
        raise BadDocument(where, "must not be empty", hint="leave it out")


def _refuse_newer(where: str, value: object, field: Field) -> None:
    """A file of a later version is whole, and not for us to guess at."""
    if isinstance(value, int) and field.maximum is not None and value > field.maximum:
        raise BadDocument(
            where,
            f"{value}: written by a newer forgather; this one reads up to {_plain(field.maximum)}",
            hint="upgrade forgather, or look with the one that wrote it",
        )


def _wrong(where: str, wanted: str, value: object) -> BadDocument:
    return BadDocument(where, f"expected {wanted}, got {kind_of(value)}")


def _string(where: str, value: object, field: Field) -> None:
    if not isinstance(value, str):
        raise _wrong(where, "string", value)
    if field.choices and value not in field.choices:
        raise BadDocument(where, f"{value!r} is not one of {', '.join(field.choices)}")
    if field.maximum is not None and len(value.encode()) > field.maximum:
        raise BadDocument(where, f"longer than {int(field.maximum)} bytes")


def _number(where: str, value: object, field: Field) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(where, "number", value)
    _in_range(where, value, field)


def _whole(where: str, value: object, field: Field) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(where, "integer", value)
    _in_range(where, value, field)


def _in_range(where: str, value: float, field: Field) -> None:
    if field.minimum is not None and value < field.minimum:
        raise BadDocument(where, f"{value} is less than {_plain(field.minimum)}")
    if field.maximum is not None and value > field.maximum:
        raise BadDocument(where, f"{value} is more than {_plain(field.maximum)}")


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _boolean(where: str, value: object, field: Field) -> None:
    if not isinstance(value, bool):
        raise _wrong(where, "boolean", value)


def _strings(where: str, value: object, field: Field) -> None:
    if not isinstance(value, (list, tuple)):
        raise _wrong(where, "array of strings", value)
    if field.minimum is not None and len(value) < field.minimum:
        raise BadDocument(where, "must not be empty")
    for i, item in enumerate(value):
        if not isinstance(item, str):
            raise _wrong(f"{where}[{i}]", "string", item)
        if len(item.encode()) >= MAX_ARGV_BYTES:
            raise BadDocument(f"{where}[{i}]", f"longer than {MAX_ARGV_BYTES - 1} bytes, which no kernel can start")


def _string_map(where: str, value: object, field: Field) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, "object of strings", value)
    for key, item in value.items():
        if not isinstance(item, str):
            raise _wrong(f"{where}.{key}", "string", item)
        if not key or "=" in key:
            raise BadDocument(f"{where}.{key}", "is no name for an environment variable")


def _object(where: str, value: object, field: Field) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, "object", value)


def _objects(where: str, value: object, field: Field) -> None:
    if not isinstance(value, list):
        raise _wrong(where, "array of objects", value)
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise _wrong(f"{where}[{i}]", "object", item)


_CHECKS = {
    "string": _string,
    "integer": _whole,
    "number": _number,
    "boolean": _boolean,
    "strings": _strings,
    "string_map": _string_map,
    "object": _object,
    "objects": _objects,
}
