"""Rows of Arrow streams on this machine: mapped, gathered by number, checked against their index.

Reading has no state but the maps, so any number of threads may share one
object. While it is in use the files are looked at again about once a second: a
file changed in place would show through the map, and that is an error here.
One cut short in place kills whoever reads past its end (SIGBUS), as with any
map: files are replaced by renaming others over them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forgather_spool.dataset.errors import BadDataset, ContentChanged
from forgather_spool.dataset.order import Order
from forgather_spool.dataset.rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    FIRST_BATCH_ROWS,
    BatchBytes,
    OpenFile,
    Rows,
    without_columns,
)
from forgather_spool.dataset.storage.gather import Gatherer
from forgather_spool.dataset.storage.index import Index, load
from forgather_spool.dataset.storage.region import Region
from forgather_spool.dataset.walk import Walk
from forgather_spool.errors import UsageError

LOOK_AGAIN_S = 1.0
FIRST_AHEAD, AHEAD = 1024, 16_384  # positions computed at a time: few at first, so that the start is quick
OPENED_BATCHES = 4096


class StoredRows(Rows):
    """The rows of `index`. `path` is where that was saved, from which a pickled copy opens itself again.

    Raises:
        BadDataset: a file is gone or cannot be mapped.
    """

    def __init__(self, index: Index, path: Path) -> None:
        self._index, self._path = index, path
        files = [one.path for one in index.files]
        try:
            self._region = Region(files, [one.size for one in index.files])
        except OSError as error:
            raise BadDataset(f"{error.filename or files}: {error.strerror}") from None
        self._ends = index.arrays["ends"]
        self._length = int(self._ends[-1]) if len(self._ends) else 0
        self._starts = np.concatenate([np.zeros(1, np.int64), self._ends[:-1]]) if self._length else self._ends
        self._gatherer = Gatherer(self._region, index.arrays)
        self._schemas: dict[tuple[int, ...], Any] = {}
        self._opened: dict[int, Any] = {}
        self._whole: dict[int, list[Any]] = {}  # all batches of a file: dictionaries come before them in the stream
        self._looked_at = -LOOK_AGAIN_S

    def __len__(self) -> int:
        return self._length

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (os.fspath(self._path), self.fingerprint)

    @property
    def schema(self) -> pa.Schema:
        return self._index.schema

    @property
    def fingerprint(self) -> str:
        return self._index.fingerprint

    @property
    def mapped_bytes(self) -> int:
        """Addresses, not memory: what of it is in memory is the kernel's page cache."""
        return self._region.size

    @property
    def sources(self) -> list[str]:
        """The user's files, in the sequence of their rows."""
        return [one.path for one in self._index.sources]

    @property
    def row_bytes(self) -> float:
        """A row's share of the files."""
        return sum(one.size for one in self._index.files) / max(1, self._length)

    def check(self) -> None:
        """Raises ContentChanged when a file is no longer the one that was indexed."""
        if changed := self._index.changed:
            self._looked_at = -LOOK_AGAIN_S  # whoever asks again at once is told again, and given nothing for a second
            raise ContentChanged(f"{changed.path}: changed since it was loaded", hint="load the data set again")
        self._looked_at = time.monotonic()

    def file_at(self, address: int) -> tuple[OpenFile, int] | None:
        return self._region.file_at(address)

    def take(self, rows: np.ndarray, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The rows with these numbers (int64, in any sequence, also twice), copied, as one batch.

        Raises:
            UsageError: no such row or column, or more than 2 GiB of a column with 32-bit offsets.
        """
        rows = np.ascontiguousarray(rows, np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._length):
            raise UsageError(f"rows {rows.min()} to {rows.max()} of {self._length}")
        return self._take(rows, self._places(columns))

    def slice(self, start: int, stop: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Rows `start` up to, not including, `stop`: not copied where they lie in one stored batch."""
        if not 0 <= start <= stop <= self._length:
            raise UsageError(f"rows {start} to {stop} of {self._length}")
        places = self._places(columns)
        if start < stop:
            batch = self._batch_of(start)
            if stop <= self._ends[batch]:
                return self._cut(batch, start, stop, places)
        return self._take(np.arange(start, stop, dtype=np.int64), places)

    def batches(
        self, order: Order, walk: Walk, *, columns: Sequence[str] | None = None, batch_bytes: BatchBytes = BATCH_BYTES
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """As `Rows.batches`; the rows of a plain run are not copied."""
        if order.total != self._length or walk.last >= len(order):
            raise UsageError(f"an order of {order.total} rows, positions up to {walk.last}: there are {self._length}")
        places = self._places(columns)
        self._look()
        row_bytes = max(1.0, self.row_bytes)

        def rows() -> int:
            wanted = batch_bytes() if callable(batch_bytes) else batch_bytes
            return min(max(int(wanted / row_bytes), BATCH_ROWS[0]), BATCH_ROWS[1])

        if order.first_row is not None and walk.is_run:
            return self._run(order.first_row + walk.first, walk.count, rows, places)
        return self._walk(order, walk, rows, places)

    def _run(
        self, first: int, count: int, rows: Callable[[], int], places: list[int]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        given = 0
        while given < count:
            self._look()
            start = first + given
            batch = self._batch_of(start)
            left = min(first + count, int(self._ends[batch])) - start
            stop = start + (_even(left, rows()) if given else min(left, rows(), FIRST_BATCH_ROWS))
            yield given, self._cut(batch, start, stop, places)
            given = stop - first

    def _walk(
        self, order: Order, walk: Walk, rows: Callable[[], int], places: list[int]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        given, size = 0, min(rows(), FIRST_BATCH_ROWS)
        while given < walk.count:
            ahead = order.at(walk.positions(given, min(walk.count, given + (AHEAD if given else FIRST_AHEAD))))
            at = 0
            while at < len(ahead):
                self._look()
                yield (
                    given + at,
                    self._take(ahead[at : at + size], places),
                )  # in no name here: it is not to outlive its use
                at, size = min(at + size, len(ahead)), rows()
            given += len(ahead)

    def _look(self) -> None:
        if time.monotonic() - self._looked_at > LOOK_AGAIN_S:
            self.check()

    def _places(self, columns: Sequence[str] | None) -> list[int]:
        names = self.schema.names
        if columns is None:
            return list(range(len(names)))
        for name in columns:
            if names.count(name) != 1:
                raise UsageError(f"no column {name!r}", hint=f"there are {', '.join(names)}")
        return [names.index(name) for name in columns]

    def _schema(self, places: list[int]) -> pa.Schema:
        found = self._schemas.get(tuple(places))
        if found is None:
            fields = [self.schema.field(place) for place in places]
            found = self._schemas[tuple(places)] = pa.schema(fields, metadata=self.schema.metadata)
        return found

    def _batch_of(self, row: int) -> int:
        return int(np.searchsorted(self._ends, row, side="right"))

    def _cut(self, batch: int, start: int, stop: int, places: list[int]) -> pa.RecordBatch:
        if not places:
            return without_columns(stop - start)
        whole = self._open(batch)
        if places != list(range(len(self.schema))):
            whole = pa.RecordBatch.from_arrays([whole.column(place) for place in places], schema=self._schema(places))
        first = int(self._starts[batch])
        return whole.slice(start - first, stop - start)

    def _take(self, rows: np.ndarray, places: list[int]) -> pa.RecordBatch:
        batches = np.searchsorted(self._ends, rows, side="right")
        offsets = rows - self._starts[batches] if len(rows) else rows
        arrays = []
        others: dict[int, pa.RecordBatch] = {}
        for place in places:
            column = self._index.columns[place]
            if not len(rows):
                arrays.append(pa.array([], self.schema.field(place).type))
            elif column.kind != "other":
                arrays.append(self._gatherer.column(place, column, batches, offsets))
            else:
                others = others or {batch: self._open(batch) for batch in np.unique(batches).tolist()}
                arrays.append(_picked({batch: one.column(place) for batch, one in others.items()}, batches, offsets))
        schema = self._schema(places)
        if not places:
            return without_columns(len(rows))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _open(self, batch: int) -> pa.RecordBatch:
        """A stored batch, not copied. Many stay open; no lock, for one held while a program forks is never freed."""
        found = self._opened.get(batch)
        if found is None:
            if len(self._opened) >= OPENED_BATCHES:
                self._opened.clear()
            found = self._opened[batch] = self._read(batch)
        return found

    def _read(self, batch: int) -> pa.RecordBatch:
        file, where = int(self._index.arrays["file"][batch]), int(self._index.arrays["where"][batch])
        start, size = self._region.offsets[file], self._index.files[file].size
        if self._index.has_dictionaries:
            if file not in self._whole:
                self._whole[file] = list(pa.ipc.open_stream(self._region.buffer(start, size)))
            return self._whole[file][int(self._index.arrays["number"][batch])]
        message = pa.ipc.read_message(self._region.buffer(where, start + size - where))
        return pa.ipc.read_record_batch(message, self.schema)


def _even(left: int, rows: int) -> int:
    """How many of a stored batch's last `left` rows come next: it gives batches of about `rows`, and no scrap."""
    return min(-(-left // max(1, round(left / rows))), BATCH_ROWS[1])


def _picked(stored: dict[int, pa.Array], batches: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """One slice a row, of any type. A `take` of a whole column would copy all of it first."""
    places = zip(batches.tolist(), offsets.tolist(), strict=True)
    return pa.concat_arrays([stored[batch].slice(at, 1) for batch, at in places])


def _reopen(path: str, fingerprint: str) -> StoredRows:
    index = load(Path(path))
    if index is None or index.fingerprint != fingerprint or index.changed:
        message = f"{path}: the data changed since they were loaded, or it is no index of this machine"
        raise ContentChanged(message, hint="load the data set again")
    return StoredRows(index, Path(path))
