"""Strict JSON: the only way a byte from a file becomes a value here.

The standard parser accepts what no file of ours may hold: NaN, duplicate keys,
lone surrogates, NUL in strings, numbers that overflow to infinity, nesting
deep enough to raise RecursionError. Each of these stops a dispatcher or a
terminal later on, so each is refused here, once, with a field path.

Knows nothing of files or of what the documents mean. Writing does without the
standard `json` package: `forgather submit` writes one document, and importing
`json` (which brings `re`) would cost it more than all else it does.
"""

from __future__ import annotations

from forgather_spool.errors import BadDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import json
    from typing import TypeGuard

MAX_DOCUMENT_BYTES = 1 << 20  # one job, not a data set; larger is refused unread
MAX_DEPTH = 64

Document = dict[str, object]


def parse(data: bytes) -> Document:
    """The one JSON object in `data`, an UTF-8 text without a byte order mark.

    Raises:
        BadDocument: anything else, with the reason in a person's words.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise BadDocument("$", f"larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadDocument("$", f"not UTF-8: byte {error.start} is 0x{data[error.start]:02x}") from None
    if text.startswith("\ufeff"):
        raise BadDocument("$", "begins with a byte order mark; save it as plain UTF-8")
    value = _parse_text(text)
    if not isinstance(value, dict):
        raise BadDocument("$", f"expected an object, got {kind_of(value)}")
    if "\\" in text or text.count("{") + text.count("[") > MAX_DEPTH:  # else nothing can be nested or escaped too far
        _refuse_unprintable(value)
    return value


def dump(document: Document) -> bytes:
    """`document` as one line of JSON and a newline; what `parse` would refuse raises BadDocument."""
    try:
        return f"{_spell(document, 0)}\n".encode()
    except (_Unspeakable, UnicodeEncodeError):
        _refuse_unprintable(document)  # finds the place
        raise


class _Unspeakable(Exception):
    """Somewhere in it is what no file of ours may hold."""


def _spell(value: object, depth: int) -> str:
    if isinstance(value, str):
        return _quote(value)
    if depth > MAX_DEPTH:
        raise _Unspeakable
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, dict):
        return f"{{{', '.join([f'{_quote(key)}: {_spell(item, depth + 1)}' for key, item in value.items()])}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join([_spell(item, depth + 1) for item in value])}]"
    if _is_finite(value):
        return float.__repr__(value)
    raise _Unspeakable


def _quote(text: object) -> str:
    if not isinstance(text, str) or "\0" in text:
        raise _Unspeakable
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{text.translate(_ESCAPES)}"'


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and value - value == 0  # neither NaN nor infinite


_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\b"): "\\b",
    ord("\f"): "\\f",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


def kind_of(value: object) -> str:
    """What JSON calls the type of `value`: for messages such as "expected integer, got string"."""
    for kind, types in _KINDS:
        if isinstance(value, types):
            return kind
    return type(value).__name__


_KINDS: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("null", type(None)),
    ("boolean", bool),
    ("integer", int),
    ("number", float),
    ("string", str),
    ("array", (list, tuple)),
    ("object", dict),
)


def _refuse_unprintable(value: object) -> None:
    """Walk without recursion: depth, NUL, lone surrogates and what is not JSON are refused with their path."""
    stack: list[tuple[str, object, int]] = [("$", value, 0)]
    while stack:
        where, item, depth = stack.pop()
        if isinstance(item, str):
            _check_text(where, item)
        elif depth > MAX_DEPTH:
            raise BadDocument(where, "nested too deeply")
        elif isinstance(item, dict):
            for key, inner in item.items():
                _check_text(where, key)
                stack.append((f"{where}.{key}", inner, depth + 1))
        elif isinstance(item, (list, tuple)):
            stack.extend((f"{where}[{i}]", inner, depth + 1) for i, inner in enumerate(item))
        elif not (item is None or isinstance(item, int) or _is_finite(item)):
            raise BadDocument(where, f"{item!r} cannot be written as JSON")


def _check_text(where: str, text: object) -> None:
    if not isinstance(text, str):
        raise BadDocument(_shown(where), f"the key {text!r} is not a string")
    if "\0" in text:
        raise BadDocument(_shown(where), "a NUL character cannot be part of a string")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadDocument(_shown(where), "half of a surrogate pair, so no UTF-8 text") from None


def _shown(where: str) -> str:
    return where.encode("utf-8", "replace").decode()


def _no_duplicates(pairs: list[tuple[str, object]]) -> Document:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadDocument(f"$..{_shown(twice)}", "stands twice in one object")
    return found


def _no_constant(name: str) -> object:
    raise BadDocument("$", f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BadDocument("$", f"{text} is larger than any number here")
    return number


def _integer(text: str) -> int:
    if len(text) > 20:
        raise BadDocument("$", f"{text[:20]}... is larger than any number here")
    return int(text)


def _parse_text(text: str) -> object:
    if not text.strip():
        raise BadDocument("$", "is empty")
    import json  # brings `re`, 7 ms: a program that only writes documents need not pay for it

    try:
        return _decoder().decode(text)
    except RecursionError:
        raise BadDocument("$", "nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadDocument("$", f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None


def _decoder() -> json.JSONDecoder:
    """Made once: making one costs as much as reading a small document."""
    global _made
    if _made is None:
        import json

        _made = json.JSONDecoder(
            object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer
        )
    return _made


_made: json.JSONDecoder | None = None
