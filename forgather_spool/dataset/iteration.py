"""One iteration: reads batches, makes examples, counts what it gave out. Knows where it is at every moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import length_hint
from typing import Any

import numpy as np
import pyarrow as pa

from forgather_spool.dataset.cursor import State
from forgather_spool.dataset.formats import Format, as_format, batches_of, columns_of_examples, examples_of, parts_of
from forgather_spool.dataset.order import Order
from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset.stages import Example, Numbered, Stage, run_group, run_one
from forgather_spool.dataset.walk import Walk


@dataclass
class Iteration:
    """From `start` (which has a lane) to the end of its part. What was given out counts as taken from then on."""

    rows: Rows
    order: Order
    start: State
    columns: Sequence[str] | None
    stages: tuple[Stage, ...]
    format: Format
    taken: int = field(init=False)
    emitted: int = field(init=False)
    finished: int = field(init=False)
    _held: Iterator[Any] = field(init=False, default_factory=lambda: iter([]))  # of those taken, not given out yet
    seen: list[int] = field(default_factory=lambda: [0, 0])  # source rows, examples

    def __post_init__(self) -> None:
        cursor = self.start.cursor
        self.taken, self.emitted, self.finished = cursor.taken, cursor.emitted, cursor.finished

    @property
    def state(self) -> State:
        taken = self.taken - length_hint(self._held)
        cursor = replace(self.start.cursor, taken=taken, emitted=self.emitted, finished=self.finished)
        return replace(self.start, cursor=cursor)

    def examples(self) -> Iterator[Any]:
        """One at a time."""
        if not self.stages:
            return self._plain()
        return self._in_groups() if self.start.group else self._one_by_one()

    def batches(self, size: int, drop_last: bool) -> Iterator[Any]:
        """`size` at a time, as columns or a table; the last one shorter."""
        if self.stages:
            yield from self._batches_of_examples(size, drop_last)
            return
        for batch in regrouped((batch for _, batch in self._read(self._walks())), size):
            if batch.num_rows < size and drop_last:
                return
            for part in batches_of(batch, self.format, size):
                self.taken += min(size, batch.num_rows)
                yield part
            del batch, part

    def _batches_of_examples(self, size: int, drop_last: bool) -> Iterator[Any]:
        held: list[Example] = []
        for example in self.examples():
            held.append(example)
            if len(held) == size:
                yield columns_of_examples(held, self.format)
                held = []
        if held and not drop_last:
            yield columns_of_examples(held, self.format)

    def _walks(self) -> Iterable[Walk]:
        cursor = self.start.cursor
        assert cursor.lane is not None
        return cursor.lane.walks(cursor.rest, self.taken)

    def _read(self, walks: Iterable[Walk]) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """Batches, each with the positions of its rows (where stages may ask for them)."""
        for walk in walks:
            for start, batch in self.rows.batches(self.order, walk, columns=self.columns):
                yield walk.positions(start, start + batch.num_rows) if self.stages else NOWHERE, batch
                del batch

    def _plain(self) -> Iterator[Any]:
        for _, batch in self._read(self._walks()):
            for part in parts_of(batch):
                found = examples_of(part, self.format)
                self.taken, self._held = self.taken + len(found), iter(found)
                del part
                yield from self._held
            del batch

    def _one_by_one(self) -> Iterator[Example]:
        for index, example in self._numbered(self._walks()):
            found = run_one(self.stages, index, example)
            self.taken += 1
            self.seen[0] += 1
            if found is not None:
                self.seen[1] += 1
                yield self._formatted(found)

    def _numbered(self, walks: Iterable[Walk]) -> Iterator[Numbered]:
        for positions, batch in self._read(walks):
            examples = chain.from_iterable(examples_of(part, self.format) for part in parts_of(batch))
            yield from zip(positions.tolist(), examples, strict=True)

    def _in_groups(self) -> Iterator[Example]:
        lane = self.start.cursor.lane
        assert lane is not None
        for begun in self.start.cursor.mine(lane):
            yield from self._group(list(self._numbered(begun.positions)), max(begun.emitted, self.emitted))
            self.finished, self.emitted = self.finished + 1, 0
        group: list[Numbered] = []
        for one in self._numbered(self._walks()):
            group.append(one)
            if len(group) == self.start.group:
                yield from self._whole(group)
                group = []
        if group:
            yield from self._whole(group)

    def _whole(self, group: list[Numbered]) -> Iterator[Example]:
        rows = len(group)
        yield from self._group(group, self.emitted)
        self.taken, self.emitted = self.taken + rows, 0

    def _group(self, group: list[Numbered], emitted: int) -> Iterator[Example]:
        """What becomes of a group, without the `emitted` examples already given out."""
        found = run_group(self.stages, group)
        self.seen[0] += len(group)
        self.seen[1] += len(found)
        for number, (_, example) in enumerate(found[emitted:], emitted + 1):
            self.emitted = number
            yield self._formatted(example)

    def _formatted(self, example: Example) -> Example:
        if self.format == "python":
            return example
        return {name: as_format(value, self.format) for name, value in example.items()}


NOWHERE = np.empty(0, np.int64)


def regrouped(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `size`, or of many times that; the last one shorter."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        wanted = min(size - rows, batch.num_rows)
        if rows:
            held, rows, batch = [*held, batch.slice(0, wanted)], rows + wanted, batch.slice(wanted)
            if rows < size:
                continue
            yield pa.concat_batches(held)
            held, rows = [], 0
        whole = batch.num_rows - batch.num_rows % size
        if whole:
            yield batch.slice(0, whole)
        if whole < batch.num_rows:
            held, rows = [batch.slice(whole)], batch.num_rows - whole
        del batch
    if rows:
        yield pa.concat_batches(held)
