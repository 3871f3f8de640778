"""Gathering: the rows at any numbers, straight from mapped bytes, a column at a time.

For each row its batch is looked up once; then each column is a few fancy-index
reads over the whole region, and for long values of many lengths one join. Nulls
come out as zero bytes, so equal values are equal bytes. Knows columns and
addresses, not files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from forgather_spool.dataset.storage.columns import Column
from forgather_spool.dataset.storage.region import Region
from forgather_spool.errors import UsageError

INT32_MAX = (1 << 31) - 1
SHORT_BYTES = 64  # values up to here, on average, are gathered byte by byte: a join costs more for each of them


class Gatherer:
    """Gathers from `region`. `arrays` are those of the index: offsets of each batch's buffers."""

    def __init__(self, region: Region, arrays: Mapping[str, np.ndarray]) -> None:
        self._region = region  # held: the views below do not keep it
        self._arrays = arrays
        self._views = {width: region.view(f"u{width}") for width in (1, 2, 4, 8)}
        self._offsets = {width: region.view(f"i{width}") for width in (4, 8)}

    def column(self, place: int, column: Column, batches: np.ndarray, offsets: np.ndarray) -> pa.Array:
        """Column number `place` of the rows at `offsets` in `batches` (both int64, of one length)."""
        valid = self._validity(self._arrays[f"{place}.0"][batches], offsets)
        if column.kind == "fixed":
            return self._fixed(place, column, batches, offsets, valid)
        if column.kind == "bits":
            return self._bits(place, column, batches, offsets, valid)
        return self._variable(place, column, batches, offsets, valid)

    def _validity(self, addresses: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
        """True where a row has a value; None when all have."""
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
        elif width >= SHORT_BYTES:
            values = self._alike(where, width).view(np.uint8).reshape(-1, width)
        else:
            values = self._views[1][where[:, None] + np.arange(width)]
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
        entry = (self._arrays[f"{place}.1"][batches] >> shift) + offsets
        starts, ends = view[entry].astype(np.int64), view[entry + 1].astype(np.int64)
        if valid is not None:
            ends = np.where(valid, ends, starts)
        bounds = np.zeros(len(offsets) + 1, np.int64)
        np.cumsum(ends - starts, out=bounds[1:])
        if column.offset_width == 4 and bounds[-1] > INT32_MAX:
            raise UsageError(f"{len(offsets)} rows of {column.type} are more than 2 GiB", hint="take fewer at a time")
        values = self._arrays[f"{place}.2"][batches]
        joined = self._joined(values + starts * column.width, (ends - starts) * column.width)
        bounds = bounds.astype(f"i{column.offset_width}", copy=False)
        parts = [_packed(valid), pa.py_buffer(bounds)]
        if column.kind == "bytes":
            return pa.Array.from_buffers(column.type, len(offsets), [*parts, pa.py_buffer(joined)])
        inner = pa.Array.from_buffers(column.type.value_type, int(bounds[-1]), [None, pa.py_buffer(joined)])
        return pa.Array.from_buffers(column.type, len(offsets), parts, children=[inner])

    def _joined(self, first: np.ndarray, sizes: np.ndarray) -> Any:
        """`sizes` bytes each from the addresses `first`, one after the other: what has the buffer interface."""
        total = int(sizes.sum())
        if total and sizes[0] * len(sizes) == total and (sizes == sizes[0]).all():
            return self._alike(first, int(sizes[0]))
        if total <= SHORT_BYTES * len(sizes):
            behind = np.cumsum(sizes) - sizes
            return self._views[1][np.repeat(first - behind, sizes) + np.arange(total)]
        memory, last = self._region.memory, first + sizes
        return b"".join([memory[start:end] for start, end in zip(first.tolist(), last.tolist(), strict=True)])

    def _alike(self, first: np.ndarray, size: int) -> np.ndarray:
        """`size` bytes from each of the addresses `first`."""
        whole = self._views[1]
        every = np.ndarray((len(whole) - size + 1,), f"V{size}", buffer=whole, strides=(1,))
        return every[first]


def _fixed_lists(column: Column, values: np.ndarray, valid: np.ndarray | None, rows: int) -> pa.Array:
    inner_type, size = column.type.value_type, column.type.list_size
    inner = pa.Array.from_buffers(inner_type, rows * size, [None, pa.py_buffer(np.ascontiguousarray(values))])
    return pa.Array.from_buffers(column.type, rows, [_packed(valid)], children=[inner])


def _packed(bits: np.ndarray | None) -> pa.Buffer | None:
    return None if bits is None else pa.py_buffer(np.packbits(bits, bitorder="little"))
