"""Columns: which of them can be gathered straight from the mapped bytes, and by which buffers.

    kind     Arrow types                                        buffers
    fixed    numbers, times, decimals, fixed binary, lists      validity, values
             of a fixed size of those
    bits     bool                                               validity, values
    bytes    string, binary, and their large forms              validity, offsets, values
    list     list and large_list of what is `fixed`             validity, offsets, values
    other    all the rest (struct, map, dictionary, views,      none: rows are cut out by Arrow
             null, lists of lists, nulls within lists)

Pure: knows types, not files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pyarrow import types

Kind = Literal["fixed", "bits", "bytes", "list", "other"]
BUFFERS: dict[Kind, int] = {"fixed": 2, "bits": 2, "bytes": 3, "list": 3, "other": 0}


@dataclass(frozen=True)
class Column:
    """`width` bytes a value (of a list: of its elements); `offset_width` bytes an offset, 0 without offsets."""

    type: Any
    kind: Kind
    width: int = 0
    offset_width: int = 0

    @property
    def buffers(self) -> int:
        return BUFFERS[self.kind]


def column_of(type_: pa.DataType) -> Column:
    """How a column of this type is gathered."""
    if types.is_boolean(type_):
        return Column(type_, "bits")
    if types.is_string(type_) or types.is_binary(type_):
        return Column(type_, "bytes", 1, 4)
    if types.is_large_string(type_) or types.is_large_binary(type_):
        return Column(type_, "bytes", 1, 8)
    if types.is_list(type_) or types.is_large_list(type_):
        width = 0 if types.is_fixed_size_list(type_.value_type) else fixed_width(type_.value_type)
        return Column(type_, "list", width, 4 if types.is_list(type_) else 8) if width else Column(type_, "other")
    if width := fixed_width(type_):
        return Column(type_, "fixed", width)
    return Column(type_, "other")


def fixed_width(type_: pa.DataType) -> int:
    """Bytes a value, all in one buffer; 0 when it is not so."""
    if types.is_fixed_size_list(type_):
        inner = type_.value_type
        return 0 if types.is_fixed_size_list(inner) else fixed_width(inner) * type_.list_size
    if isinstance(type_, pa.BaseExtensionType) or types.is_dictionary(type_) or types.is_boolean(type_):
        return 0
    try:
        return int(type_.bit_width) // 8
    except ValueError:
        return 0


def buffers_of(column: Column, array: Any) -> list[Any] | None:
    """The Arrow buffers of `array` that `column.kind` needs; None when this array cannot be gathered so."""
    if array.offset:
        return None
    buffers = array.buffers()
    inner_nulls = column.kind == "list" and array.values.null_count
    if column.kind == "fixed" and types.is_fixed_size_list(column.type):
        inner_nulls, buffers = array.values.null_count, [buffers[0], buffers[2]]
    elif column.kind == "list":
        inner_nulls, buffers = array.values.null_count, [buffers[0], buffers[1], buffers[3]]
    return None if inner_nulls else buffers


def holds_dictionary(type_: pa.DataType) -> bool:
    """Whether a batch of it cannot be read without messages before it, however deep the dictionary lies."""
    if isinstance(type_, pa.BaseExtensionType):
        return holds_dictionary(type_.storage_type)
    if types.is_dictionary(type_):
        return True
    return any(holds_dictionary(type_.field(place).type) for place in range(type_.num_fields))
