"""Where everything lies in Arrow stream files: batches, and the buffers of each column.

Reads the messages' heads, not their bodies. A stream is whole only with its
end marker: pyarrow reads one that was cut between two messages without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.progress import Progress
from forgather_spool.dataset.storage.columns import Column, buffers_of, column_of
from forgather_spool.dataset.storage.offsets import check
from forgather_spool.dataset.storage.region import Region

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
OLD_END = b"\x00\x00\x00\x00"  # before Arrow 0.15
ABSENT = -1  # no such buffer: no nulls, or nothing in it


class NeedsCopy(Exception):
    """A file cannot be used as it lies: compressed, or not a stream."""


class Scan:
    """What there is in the files of `region`, in their sequence. Batches without rows are left out."""

    def __init__(self) -> None:
        self.schema: pa.Schema = None
        self.columns: list[Column] = []
        self.batches: list[tuple[int, int, int, int]] = []  # file, number in the file, rows, where
        self.addresses: list[list[list[int]]] = []  # column, batch, buffer: offsets in the region

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name: `file`, `number`, `where`, `ends` (rows up to a batch's end), ``<column>.<buffer>``."""
        table = np.array(self.batches, np.int64).reshape(-1, 4)
        found = {"file": table[:, 0], "number": table[:, 1], "where": table[:, 3], "ends": np.cumsum(table[:, 2])}
        for place, column in enumerate(self.columns):
            addresses = np.array(self.addresses[place], np.int64).reshape(-1, max(1, column.buffers))
            found |= {f"{place}.{buffer}": addresses[:, buffer] for buffer in range(column.buffers)}
        return found


def scan(paths: Sequence[str], sizes: Sequence[int], region: Region, progress: Progress | None = None) -> Scan:
    """The batches of `paths`, which are mapped as `region`.

    Raises:
        BadDataset: damaged, cut short, or of another schema than the first.
        NeedsCopy: a file must be copied into a plain stream first.
    """
    found = Scan()
    whole = sum(sizes)
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        try:
            _scan_file(found, number, path, size, region)
            if progress:
                progress("bytes indexed", sum(sizes[: number + 1]), whole)
        except pa.ArrowInvalid as error:
            raise BadDataset(f"{path}: not an Arrow stream: {_first_line(error)}") from None
        except (OSError, pa.ArrowException) as error:
            raise BadDataset(f"{path}: damaged or cut short: {_first_line(error)}") from None
    return found


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _scan_file(found: Scan, number: int, path: str, size: int, region: Region) -> None:
    start = region.offsets[number]
    if bytes(region.memory[start : start + min(size, 6)]) == b"ARROW1":
        raise NeedsCopy(path)
    source = pa.BufferReader(region.buffer(start, size))
    reader = pa.ipc.open_stream(source)
    if found.schema is None:
        found.schema = reader.schema
        found.columns = [column_of(one.type) for one in reader.schema]
        found.addresses = [[] for _ in reader.schema]
    elif not reader.schema.equals(found.schema):
        raise BadDataset(f"{path}: other columns or types than the files before it")
    at, place = source.tell(), 0
    while (batch := _next(reader)) is not None:
        if batch.num_rows:
            _check_offsets(batch, path)
            found.batches.append((number, place, batch.num_rows, start + at))
            _take_buffers(found, batch, path, region)
        at, place = source.tell(), place + 1
    rest = bytes(region.memory[start + at : start + min(size, at + 64)])
    if rest not in (END, OLD_END):
        raise BadDataset(f"{path}: cut short: no end marker after its last batch", hint="make or fetch it again")


def _next(reader: Any) -> Any:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None


def _check_offsets(batch: Any, path: str) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            check(column)
        except pa.ArrowInvalid as error:
            message = f"{path}: damaged: column {name!r}: {_first_line(error)}"
            raise BadDataset(message, hint="make or fetch it again") from None


def _take_buffers(found: Scan, batch: Any, path: str, region: Region) -> None:
    for place, column in enumerate(found.columns):
        if column.kind == "other":
            continue
        buffers = buffers_of(column, batch.column(place))
        if buffers is not None:
            addresses = [_address(buffer, region, path) for buffer in buffers]
            addresses[1:] = [max(0, address) for address in addresses[1:]]
            if all(address % width == 0 for address, width in zip(addresses, _alignments(column), strict=True)):
                found.addresses[place].append(addresses)
                continue
        found.columns[place] = Column(column.type, "other")
        found.addresses[place] = []


def _address(buffer: Any, region: Region, path: str) -> int:
    if buffer is None or not buffer.size:
        return ABSENT
    offset = int(buffer.address) - region.address
    if not 0 <= offset < region.size:
        raise NeedsCopy(path)
    return offset


def _alignments(column: Column) -> list[int]:
    values = column.width if column.width in (1, 2, 4, 8) and column.kind == "fixed" else 1
    return [1, *([column.offset_width] if column.offset_width else []), values]
