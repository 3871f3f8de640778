"""Columns of Arrow as lists of Python objects: what `to_pylist` gives, by faster ways for what is common."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

AT_ONCE = 64  # rows of numbers turned into Python objects at a time: more fall out of the cache
YEARS = (np.datetime64("0001-01-01", "us").astype(np.int64), np.datetime64("9999-12-31", "us").astype(np.int64))
FAST_STRINGS = int(pa.__version__.partition(".")[0]) >= 26  # it makes no object of its own of each any more
PER_US = {"s": 1_000_000, "ms": 1000, "us": 1}


def python_column(array: Any) -> list[Any]:
    """`array.to_pylist()`, by faster ways for what is common and has no nulls."""
    type_ = array.type
    if array.null_count or isinstance(array, pa.ExtensionArray):
        return _plain(array)
    if types.is_string(type_) or types.is_large_string(type_):
        return _plain(array) if FAST_STRINGS else _strings(array)
    if types.is_integer(type_) or types.is_float32(type_) or types.is_float64(type_):
        return _plain(array, lambda: array.to_numpy().tolist())
    if types.is_timestamp(type_) and type_.tz is None and type_.unit in PER_US:
        found = datetimes(array)
        return _plain(array) if found is None else found
    if types.is_list(type_) or types.is_large_list(type_):
        inner = array.values
        if (types.is_integer(inner.type) or types.is_float64(inner.type)) and not inner.null_count:
            return _lists(array)
    return _plain(array)


def _plain(array: Any, fast: Callable[[], list[Any]] | None = None) -> list[Any]:
    found: list[Any] = fast() if fast else array.to_pylist()
    return found


def _strings(array: Any) -> list[Any]:
    if not len(array):
        return []
    width = 8 if types.is_large_string(array.type) else 4
    _, offsets, values = array.buffers()
    bounds = np.frombuffer(offsets, f"i{width}", len(array) + 1, array.offset * width)
    first, last = int(bounds[0]), int(bounds[-1])
    if first == last:
        return [""] * len(array)
    memory = memoryview(values)[first:last]
    return [str(memory[start:end], "utf-8") for start, end in itertools.pairwise((bounds - first).tolist())]


def datetimes(array: Any) -> list[Any] | None:
    """Of timestamps without zone, in seconds to microseconds; None where some are null or in no year of Python's."""
    scale = PER_US[array.type.unit]
    if array.null_count:
        return None
    values = array.cast(pa.int64()).to_numpy()
    if len(values) and not (values.min() >= YEARS[0] // scale + 1 and values.max() <= YEARS[1] // scale - 1):
        return None
    found: list[Any] = (values * scale).view("datetime64[us]").tolist()
    return found


def _lists(array: Any) -> list[Any]:
    bounds = array.offsets.to_numpy()
    values = array.values.to_numpy()
    found: list[Any] = []
    for start in range(0, len(array), AT_ONCE):
        stop = min(len(array), start + AT_ONCE)
        first = int(bounds[start])
        flat = values[first : int(bounds[stop])].tolist()
        places = (bounds[start : stop + 1] - first).tolist()
        found += [flat[one:next_] for one, next_ in itertools.pairwise(places)]
    return found
