"""The fingerprint of a data set: a hash of its rows, not of how or where they are stored.

    sha256 over: version; number of rows; name and type of each column;
                 `huggingface` features, if any; the rows, in blocks of 1,024

Copies in other files, of another format, cut otherwise, have the same. Up to
4 GiB every row is hashed, beyond that 4,096 blocks at equal distances (the
fingerprint says which: ``s1-`` in place of ``w1-``); what lies between is guarded by size and mtime alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from forgather_spool.dataset.progress import Progress
from forgather_spool.dataset.storage.columns import column_of
from forgather_spool.dataset.storage.stored import StoredRows

BLOCK_ROWS = 1024
WHOLE_BYTES = 4 << 30
SAMPLED_BLOCKS = 4096


def fingerprint(rows: StoredRows, progress: Progress | None = None) -> str:
    """``w1-`` or ``s1-`` and 32 hex digits."""
    blocks = -(-len(rows) // BLOCK_ROWS)
    whole = rows.row_bytes * len(rows) <= WHOLE_BYTES or blocks <= SAMPLED_BLOCKS
    chosen = range(blocks) if whole else [number * blocks // SAMPLED_BLOCKS for number in range(SAMPLED_BLOCKS)]
    found = hashlib.sha256(f"forgather dataset 1 {len(rows)}\n".encode())
    for field in rows.schema:
        found.update(f"{field.name!r} {type_text(field.type)}\n".encode())
    found.update(json.dumps(rows.features, sort_keys=True).encode())
    for done, block in enumerate(chosen, 1):
        numbers = np.arange(block * BLOCK_ROWS, min(len(rows), (block + 1) * BLOCK_ROWS), dtype=np.int64)
        for array in rows.take(numbers).columns:
            for piece in canonical(array):
                found.update(piece)
        if progress:
            progress("blocks of 1,024 rows hashed", done, len(chosen))
    return f"{'w1' if whole else 's1'}-{found.hexdigest()[:32]}"


def canonical(array: Any) -> Iterator[Any]:
    """Bytes that are equal for equal values of one type, however they are stored."""
    if array.null_count:
        yield np.packbits(array.is_valid().to_numpy(zero_copy_only=False))
        array = array.drop_null()
    type_, column = array.type, column_of(array.type)
    if isinstance(array, pa.ExtensionArray):
        yield from canonical(array.storage)
    elif types.is_dictionary(type_):
        yield from canonical(array.dictionary_decode())
    elif types.is_boolean(type_):
        yield from canonical(array.cast(pa.uint8()))
    elif types.is_struct(type_):
        for child in array.flatten():
            yield from canonical(child)
    elif types.is_list(type_) or types.is_large_list(type_):
        yield np.diff(array.offsets.to_numpy())
        yield from canonical(array.flatten())
    elif types.is_fixed_size_list(type_):
        yield from canonical(array.flatten())
    elif column.kind == "bytes" and len(array):
        start, width = array.offset * column.offset_width, column.offset_width
        offsets = np.frombuffer(array.buffers()[1], f"i{width}", len(array) + 1, start)
        yield np.diff(offsets)
        yield (array.buffers()[2] or pa.py_buffer(b""))[int(offsets[0]) : int(offsets[-1])]
    elif column.kind == "fixed" and len(array):
        yield np.frombuffer(array.buffers()[1], np.uint8, column.width * len(array), column.width * array.offset)
    elif len(array):
        yield repr(array.to_pylist()).encode()  # maps, views, unions: rare, and slow here


def type_text(type_: Any) -> str:
    """A type's name without what differs between stores of the same values: how the items of a list are called."""
    if isinstance(type_, pa.BaseExtensionType):
        return type_text(type_.storage_type)
    if types.is_dictionary(type_):
        return type_text(type_.value_type)
    if types.is_struct(type_):
        return "struct<" + ", ".join(f"{field.name!r}: {type_text(field.type)}" for field in type_) + ">"
    if types.is_fixed_size_list(type_):
        return f"list<{type_text(type_.value_type)}>[{type_.list_size}]"
    if types.is_list(type_) or types.is_large_list(type_):
        return f"{'large_' if types.is_large_list(type_) else ''}list<{type_text(type_.value_type)}>"
    return str(type_)
