"""JSON lines as record batches: one schema for all lines of all files, and for what cannot be read the line.

Arrow's reader does the work, a block of whole lines at a time, twice: what all
lines have in common is known only after the last. Ints next to floats are
floats, absent values are null, and a string that looks like a time stays one.
A file that is one JSON array counts as a line for each of its elements.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from forgather_spool.dataset.storage.packed import unpacked

BLOCK_BYTES = 32 << 20
MAX_DEPTH = 1000  # Arrow's reader calls itself for each level, and at some ten thousand its stack is full: SIGSEGV
BRACKETS = bytes.maketrans(b"[]", b"{}")
OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

Block = tuple[int, bytes]  # the number of its first line, from 1


class BadLine(Exception):
    """What is wrong, and in which line."""


def json_schema(path: str, found: Any = None) -> Any:
    """What all lines of `path` have in common with `found`, the schema of the files before it.

    Raises:
        BadLine, pa.ArrowException: they have nothing in common, or are no JSON.
    """
    for block in blocks(path):
        schema = _texts_again(_parsed(block, None).schema)
        found = schema if found is None else pa.unify_schemas([found, schema], promote_options="permissive")
    return found


def json_batches(path: str, schema: Any) -> Iterator[Any]:
    """The lines of `path` by `schema`. Raises as `json_schema`."""
    for block in blocks(path):
        yield from _parsed(block, schema).to_batches()


def blocks(path: str) -> Iterator[Block]:
    """Pieces that end with a line. A file that is one array is taken apart first."""
    with unpacked(path) as file:
        if file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
            yield from _elements(path)
            return
    with unpacked(path) as file:
        line, rest = 1, b""
        while piece := file.read(BLOCK_BYTES):
            whole, newline, rest_now = (rest + piece).rpartition(b"\n")
            rest = rest_now
            if whole.strip():
                yield line, whole + newline
            line += whole.count(b"\n") + len(newline)
        if rest.strip():
            yield line, rest


def _elements(path: str) -> Iterator[Block]:
    with unpacked(path) as file:
        try:
            found = json.loads(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise BadLine(f"JSON: {error}") from None
    if found:
        yield 1, "".join(json.dumps(one) + "\n" for one in found).encode()


def _parsed(block: Block, schema: Any) -> Any:
    """The table of a block. The first time it is seen, when there is no schema yet, it is looked at closely."""
    first, text = block
    if schema is None and _depth(text) > MAX_DEPTH and _depth(TEXTS.sub(b"", text)) > MAX_DEPTH:
        raise BadLine(f"from line {first} on: lists and objects in each other, more than {MAX_DEPTH} deep")
    try:
        return _table(text, schema)
    except pa.ArrowException as error:
        raise _in_its_line(block, schema, error) from None


def _table(text: bytes, schema: Any) -> Any:
    import pyarrow.json as pj

    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "error")
    reading = pj.ReadOptions(block_size=max(1 << 20, len(text)))
    found = pj.read_json(io.BytesIO(text), read_options=reading, parse_options=options)
    found.validate(full=True)  # the reader takes bytes for text that are none
    return found


def _in_its_line(block: Block, schema: Any, error: Exception) -> BadLine:
    """The error of a block, as that of the first line with which it cannot be read."""
    first, text = block
    lines = text.split(b"\n")
    good, bad = 0, len(lines)  # so many lines can be read, and so many cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        some = b"\n".join(lines[:middle])
        try:
            if some.strip():  # Arrow takes blank lines for no lines at all
                _table(some + b"\n", schema)
            good = middle
        except pa.ArrowException as found:
            bad, error = middle, found
    return BadLine(f"line {first + bad - 1}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Without the number of a row, which Arrow counts from where it began to read."""
    text = next(iter(str(error).splitlines()), "").rpartition("Invalid: ")[2]
    return re.sub(r"\.? (in row|at string index) \d+$", "", text).removeprefix("JSON parse error: ")


def _depth(text: bytes) -> int:
    """How deep brackets lie in each other at most, as if none of them was in a text."""
    steps = np.frombuffer(text.translate(BRACKETS, OTHERS), np.uint8).astype(np.int32)
    return int(np.cumsum(ord("|") - steps).max(initial=0))  # "{" comes before "|", and "}" behind it


def _texts_again(schema: Any) -> Any:
    """Arrow's reader takes strings for times; the second reading gives them back as they were written."""
    return pa.schema([(field.name, _text_type(field.type)) for field in schema])


def _text_type(type_: Any) -> Any:
    if pa.types.is_timestamp(type_):
        return pa.string()
    if pa.types.is_list(type_):
        return pa.list_(_text_type(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _text_type(field.type)) for field in type_])
    return type_
