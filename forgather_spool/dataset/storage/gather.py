"""Gathering: the rows at any numbers, straight from mapped bytes, a column at a time.

For each row its batch is looked up once; then each column is a few fancy-index
reads over the whole region, and for values of many lengths one join. Nulls
come out as zero bytes, so equal values are equal bytes. Knows columns and
addresses, not files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forgather_spool.dataset.rows import BATCH_ROWS
from forgather_spool.dataset.storage.columns import Column
from forgather_spool.dataset.storage.region import Region
from forgather_spool.errors import UsageError

INT32_MAX = (1 << 31) - 1
BYTES = pa.large_binary()
UNCHECKED = pc.TakeOptions(boundscheck=False)


class Gatherer:
    """Gathers from `region`. `arrays` are those of the index: offsets of each batch's buffers."""

    def __init__(self, region: Region, arrays: Mapping[str, np.ndarray]) -> None:
        self._region = region  # held: the views below do not keep it
        self._arrays = arrays
        self._views = {width: region.view(f"u{width}") for width in (1, 2, 4, 8)}
        self._whole = region.buffer(0, region.size)
        self._offsets = {width: region.view(f"i{width}") for width in (4, 8)}
        self._nullable = {name for name, found in arrays.items() if name.endswith(".0") and (found >= 0).any()}

    def column(self, place: int, column: Column, batches: np.ndarray, offsets: np.ndarray) -> pa.Array:
        """Column number `place` of the rows at `offsets` in `batches` (both int64, of one length)."""
        valid = self._validity(f"{place}.0", batches, offsets)
        if column.kind == "fixed":
            return self._fixed(place, column, batches, offsets, valid)
        if column.kind == "bits":
            return self._bits(place, column, batches, offsets, valid)
        return self._variable(place, column, batches, offsets, valid)

    def _validity(self, name: str, batches: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
        """True where a row has a value; None when all have."""
        if name not in self._nullable:
            return None
        addresses = self._arrays[name][batches]
        known = addresses >= 0
        if not known.any():
            return None
        valid = np.ones(len(offsets), bool)
        valid[known] = self._bit(addresses[known], offsets[known])
        return None if valid.all() else valid

    def _bit(self, addresses: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        return (self._views[1][addresses + (offsets >> 3)] >> (offsets & 7).astype(np.uint8)) & 1 != 0

    def _fixed(self, place: int, column: Column, batches: Any, offsets: Any, valid: Any) -> pa.Array:
        width = column.width
        where = self._arrays[f"{place}.1"][batches] + offsets * width
        if width in (1, 2, 4, 8):
            values = self._views[width][where >> (width.bit_length() - 1)]
        else:
            values = self._alike(where, width).view(np.uint8).reshape(-1, width)
        if valid is not None:
            values = np.where(valid if values.ndim == 1 else valid[:, None], values, values.dtype.type(0))
        if pa.types.is_fixed_size_list(column.type):
            return _fixed_lists(column, values, valid, len(offsets))
        return pa.Array.from_buffers(column.type, len(offsets), [_packed(valid), pa.py_buffer(values)])

    def _bits(self, place: int, column: Column, batches: Any, offsets: Any, valid: Any) -> pa.Array:
        bits = self._bit(self._arrays[f"{place}.1"][batches], offsets)
        if valid is not None:
            bits &= valid
        return pa.Array.from_buffers(column.type, len(offsets), [_packed(valid), _packed(bits)])

    def _variable(self, place: int, column: Column, batches: Any, offsets: Any, valid: Any) -> pa.Array:
        view, shift = self._offsets[column.offset_width], column.offset_width.bit_length() - 1
        entry = self._arrays[f"{place}.1"][batches]
        entry >>= shift
        entry += offsets
        starts = view[entry]
        entry += 1
        sizes = view[entry]
        sizes -= starts
        if valid is not None:
            sizes[~valid] = 0
        bounds = np.zeros(len(offsets) + 1, np.int64)
        np.add.accumulate(sizes, out=bounds[1:])
        total = int(bounds[-1])
        if column.offset_width == 4 and total > INT32_MAX:
            raise UsageError(f"{len(offsets)} rows of {column.type} are more than 2 GiB", hint="take fewer at a time")
        first = self._arrays[f"{place}.2"][batches]
        if column.width != 1:
            starts, sizes = starts * np.int64(column.width), sizes * np.int64(column.width)
        first += starts
        joined = self._joined(first, sizes, total * column.width)
        parts = [_packed(valid), pa.py_buffer(bounds.astype(view.dtype, copy=False))]
        if column.kind == "bytes":
            return pa.Array.from_buffers(column.type, len(offsets), [*parts, joined])
        inner = pa.Array.from_buffers(column.type.value_type, total, [None, joined])
        return pa.Array.from_buffers(column.type, len(offsets), parts, children=[inner])

    def _joined(self, first: np.ndarray, sizes: np.ndarray, total: int) -> pa.Buffer:
        """The `total` bytes at the addresses `first`, of each as many as `sizes` says, one after the other.

        In one call: every second entry of an array whose values are the whole range, from an
        address to the next. The entries between have no sensible length, and nobody looks
        at them. Of the outermost offsets Arrow takes the mean length, and makes room for as
        many values of it: just enough, so that the bytes are not copied once more.
        """
        count = len(first)
        if not count:
            return pa.py_buffer(b"")
        if sizes[0] and sizes[0] == sizes[-1] and (sizes == sizes[0]).all():
            return pa.py_buffer(self._alike(first, int(sizes[0])))
        self._fetch(first)
        offsets = np.empty(2 * count + 2, np.int64)
        pairs = offsets[1:-1].reshape(count, 2)
        pairs[:, 0] = first
        np.add(first, sizes, out=pairs[:, 1])
        offsets[0], offsets[-1] = 0, min(total * (2 * count + 1) // count + 4, self._region.size)
        ends = pa.Array.from_buffers(BYTES, 2 * count + 1, [None, pa.py_buffer(offsets), self._whole])
        picked = ODD.slice(0, count) if count <= len(ODD) else _odd(count)
        return pc.call_function("array_take", [ends, picked], UNCHECKED).buffers()[2]

    def _fetch(self, first: np.ndarray) -> None:
        """Have memory look up all of these addresses at once, and not each when its bytes are copied."""
        self._views[1].take(first, mode="clip")  # a last value without bytes begins where the range ends

    def _alike(self, first: np.ndarray, size: int) -> np.ndarray:
        """`size` bytes from each of the addresses `first`."""
        self._fetch(first)
        every = np.ndarray((len(self._views[1]) - size + 1,), f"V{size}", buffer=self._views[1], strides=(1,))
        return every[first]


def _fixed_lists(column: Column, values: np.ndarray, valid: np.ndarray | None, rows: int) -> pa.Array:
    inner_type, size = column.type.value_type, column.type.list_size
    inner = pa.Array.from_buffers(inner_type, rows * size, [None, pa.py_buffer(np.ascontiguousarray(values))])
    return pa.Array.from_buffers(column.type, rows, [_packed(valid)], children=[inner])


def _packed(bits: np.ndarray | None) -> pa.Buffer | None:
    return None if bits is None else pa.py_buffer(np.packbits(bits, bitorder="little"))


def _odd(count: int) -> pa.Array:
    """1, 3, 5, ...: by its buffer, for an array made of numpy's has Arrow import pandas, 23 MB."""
    return pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(np.arange(1, 2 * count, 2))])


ODD = _odd(BATCH_ROWS[1])
