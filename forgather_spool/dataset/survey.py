"""A survey of rows: what the columns hold, how much, and how long texts and lists are. Pure: knows no files.

It is of a sample, taken from all over the data set by whoever asks; a few
thousand rows say of lengths what millions would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

BUCKETS = 12
WIDE = 16  # from the 5th to the 95th of a hundred: beyond it, buckets double


@dataclass(frozen=True, slots=True)
class Bucket:
    """`count` rows have a length of `start` up to, not including, `stop`."""

    start: int
    stop: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Of the values that are not null. `unit` is characters, bytes or values."""

    unit: str
    least: int
    median: float
    mean: float
    p95: float
    most: int
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`lengths` is None where values have none: numbers, times, structs, or nothing but nulls."""

    name: str
    type: str
    nulls: int
    row_bytes: float
    lengths: Lengths | None


def surveyed(sample: pa.Table) -> tuple[Column, ...]:
    """Each column of `sample`."""
    rows = max(1, len(sample))
    return tuple(
        Column(
            name=field.name,
            type=str(field.type),
            nulls=column.null_count,
            row_bytes=column.nbytes / rows,
            lengths=_lengths(column),
        )
        for field, column in zip(sample.schema, sample.columns, strict=True)
    )


def _lengths(column: Any) -> Lengths | None:
    unit, found = _counted(column)
    if found is None:
        return None
    lengths = np.sort(found.drop_null().cast(pa.int64()).to_numpy())
    if not len(lengths):
        return None
    low, median, p95 = np.percentile(lengths, [5, 50, 95]).tolist()
    return Lengths(
        unit=unit,
        least=int(lengths[0]),
        median=median,
        mean=float(lengths.mean()),
        p95=p95,
        most=int(lengths[-1]),
        buckets=_filled(lengths, edges(int(lengths[0]), int(lengths[-1]), doubling=p95 > WIDE * max(1.0, low))),
    )


def _counted(column: Any) -> tuple[str, Any]:
    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind):
        return "characters", pc.utf8_length(column)
    if types.is_binary(kind) or types.is_large_binary(kind):
        return "bytes", pc.binary_length(column)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "values", pc.list_value_length(column)
    return "", None


def edges(least: int, most: int, *, doubling: bool) -> list[int]:
    """Round borders of at most `BUCKETS` buckets or so: the first at or below `least`, the last above `most`."""
    if doubling:
        found = [0] if least == 0 else [1 << (least.bit_length() - 1)]
        while found[-1] <= most:
            found.append(max(1, found[-1] * 2))
        return found
    step = _round_step((most - least + 1) / BUCKETS)
    first = least // step * step
    return list(range(first, most + step + 1, step))[: (most - first) // step + 2]


def _round_step(least: float) -> int:
    """1, 2 or 5 times a power of ten: the least that is not below `least`."""
    power = 1
    while True:
        for times in (1, 2, 5):
            if times * power >= least:
                return times * power
        power *= 10


def _filled(lengths: np.ndarray, borders: Sequence[int]) -> tuple[Bucket, ...]:
    places = np.searchsorted(lengths, borders)
    return tuple(
        Bucket(start, stop, int(count))
        for start, stop, count in zip(borders[:-1], borders[1:], np.diff(places), strict=True)
    )
