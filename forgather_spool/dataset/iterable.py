"""The data set a training script holds: what comes, in which order, for which reader, in which form.

Each of `shuffle`, `slice`, `select`, `shard`, `map`, `filter` and `with_format`
gives a new object over the same rows; nothing is read before iteration. An object is
a torch `IterableDataset` when torch is there. Where it is, and how it goes on
from there, is `resuming.Resumable`'s.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from forgather_spool.dataset.bounds import bound, contiguous, whole
from forgather_spool.dataset.cursor import placed
from forgather_spool.dataset.formats import Format, check_format
from forgather_spool.dataset.iteration import Iteration
from forgather_spool.dataset.lanes import MAX_BLOCK, MAX_READERS, Remainder
from forgather_spool.dataset.order import Cut, Order, Shuffle, Window
from forgather_spool.dataset.resuming import Resumable
from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset.stages import Stage, changes_counts
from forgather_spool.dataset.torch_base import Epoch, loader_of_torch, reader_of_torch
from forgather_spool.errors import UsageError

MAX_SEED = 10**40  # an order is told in text, whose numbers have no more digits
LengthEstimate = Literal["static", "dynamic", "exact"]


class ComposableIterableDataset(Resumable):
    """Examples of `rows`, one dict each."""

    def __init__(
        self, rows: Rows, *, length_estimate: LengthEstimate = "dynamic", reset_length_on_iter: bool = False
    ) -> None:
        super().__init__(rows)
        self._format: Format = "python"
        self._columns: tuple[str, ...] | None = None
        self._length_estimate = length_estimate
        self._reset = reset_length_on_iter

    # What it is

    @property
    def features(self) -> Mapping[str, Any] | None:
        return self.rows.features

    @property
    def column_names(self) -> list[str]:
        return list(self.rows.column_names if self._columns is None else self._columns)

    def __len__(self) -> int:
        """Examples of a whole epoch for this rank.

        Exact, unless a filter or a batched map makes it more or fewer: then an
        estimate by what has come so far in this process.
        """
        count = self._lane.rank_count(len(self.order))
        rows, examples = self._iteration.seen if self._iteration else (0, 0)
        if self._length_estimate == "static" or not changes_counts(self._stages) or not rows:
            return count
        return round(count * examples / rows)

    def __repr__(self) -> str:
        lane = f", rank {self._lane.rank} of {self._lane.ranks}" if self._lane.ranks > 1 else ""
        return f"{type(self).__name__}({len(self.rows)} rows, {self.order.text}{lane}, {self.column_names})"

    # Which rows, in which order

    def shuffle(
        self, seed: int | None = None, buffer_size: int | None = None, *, window: bool = False
    ) -> ComposableIterableDataset:
        """A global shuffle, another one in each epoch, at no cost in memory or time.

        Without a seed one is drawn (and kept in the state). A shuffle of a
        shuffle takes its place. `window` is for data larger than memory: it
        reads whole blocks. `buffer_size` is taken for the sake of other loaders, and has no meaning here.
        """
        layers = self._layers
        if layers and isinstance(layers[-1], (Shuffle, Window)):
            layers = layers[:-1]
        drawn = random.SystemRandom().getrandbits(31) if seed is None else whole(seed, "the seed")
        if abs(drawn) >= MAX_SEED:
            raise UsageError("the seed has more than 40 digits", hint="states and servers take no more")
        layer = Window(drawn) if window else Shuffle(drawn)
        return self._with(_layers=(*layers, layer), _seed_given=seed is not None)

    def slice(self, start: Any = None, end: Any = None) -> ComposableIterableDataset:
        """Positions `start` up to, not including, `end` of this order: numbers, negative ones, fractions or "80%".

        What was shuffled below a slice stays as it is in every epoch, so that parts cut from it stay apart.
        """
        size = len(self._sliceable("slice"))
        cut = Cut(bound(start, size, 0), bound(end, size, size))
        if cut.start >= cut.stop:
            raise UsageError(f"slice {start!r} to {end!r} of {size} rows is empty")
        return self._with(_layers=(*self._layers, cut))

    def select(self, indices: Iterable[int]) -> ComposableIterableDataset:
        """Consecutive positions, given as a range or as numbers."""
        first, last = contiguous(indices)
        return self.slice(first, last)

    def take(self, count: int) -> ComposableIterableDataset:
        """The first `count`, or all when there are fewer."""
        return self.slice(0, min(whole(count, "take", 0), len(self.order)))

    def skip(self, count: int) -> ComposableIterableDataset:
        """All but the first `count`, in every epoch. To go on from somewhere in this one, see `skip_to`."""
        return self.slice(whole(count, "skip", 0), None)

    def _sliceable(self, what: str) -> Order:
        if self._lane.ranks > 1 or changes_counts(self._stages):
            raise UsageError(f"{what} comes before shard, filter and batched maps", hint=f"call {what} first")
        return self.order

    def shard(self, num_shards: int, index: int, *, remainder: Remainder | None = None) -> ComposableIterableDataset:
        """What rank `index` of `num_shards` gets: of every `num_shards` positions in turn, one.

        All ranks get the same number. `remainder` says how: "drop" leaves out
        the last few (fewer than there are ranks; others in each epoch when shuffled), "pad"
        repeats the first, "keep" lets ranks differ by one.
        """
        num_shards, index = whole(num_shards, "the number of shards", 1), whole(index, "a shard")
        if remainder not in (None, *get_args(Remainder)):
            raise UsageError(f"remainder {remainder!r}", hint=f"one of {', '.join(get_args(Remainder))}")
        if not 0 <= index < num_shards:
            raise UsageError(f"shard {index} of {num_shards}", hint=f"shards are 0 to {num_shards - 1}")
        lane = self._lane
        ranks, rank = lane.ranks * num_shards, lane.rank + lane.ranks * index
        if ranks > MAX_READERS:
            raise UsageError(f"{ranks} shards", hint=f"at most {MAX_READERS}; slice takes a part of any size")
        return self._with(_lane=replace(lane, ranks=ranks, rank=rank, remainder=remainder or lane.remainder))

    def reader_blocks(self, rows: int) -> ComposableIterableDataset:
        """Deal rows out to a DataLoader's workers in blocks of `rows`.

        With the loader's batch size, batches come in the same sequence and
        with the same rows as without workers.
        """
        block = whole(rows, "a block's number of rows", 1)
        if block > MAX_BLOCK:
            raise UsageError(f"a block has {block} rows", hint=f"at most {MAX_BLOCK}")
        return self._with(_lane=replace(self._lane, block=block))

    # What becomes of them

    def map(
        self,
        function: Callable[..., Any],
        with_indices: bool = False,
        input_columns: str | Sequence[str] | None = None,
        batched: bool = False,
        batch_size: int = 1000,
        drop_last_batch: bool = False,
        remove_columns: str | Sequence[str] | None = None,
        fn_kwargs: Mapping[str, Any] | None = None,
    ) -> ComposableIterableDataset:
        """Each example (or batch of columns) through `function`, whose result is laid over it; None drops it.

        Indices are positions in the order, the same whichever rank and worker reads them.
        """
        return self._staged(
            Stage(
                function,
                with_indices=with_indices,
                input_columns=_names(input_columns),
                batch_size=_size(batch_size) if batched else 0,
                drop_last_batch=batched and drop_last_batch,
                remove_columns=frozenset(_names(remove_columns) or ()),
                fn_kwargs=dict(fn_kwargs or {}),
            )
        )

    def filter(
        self,
        function: Callable[..., Any],
        with_indices: bool = False,
        input_columns: str | Sequence[str] | None = None,
        batched: bool = False,
        batch_size: int = 1000,
        fn_kwargs: Mapping[str, Any] | None = None,
    ) -> ComposableIterableDataset:
        """Only the examples of which `function` is true (batched: a list of truths)."""
        return self._staged(
            Stage(
                function,
                filters=True,
                with_indices=with_indices,
                input_columns=_names(input_columns),
                batch_size=_size(batch_size) if batched else 0,
                fn_kwargs=dict(fn_kwargs or {}),
            )
        )

    def _staged(self, stage: Stage) -> ComposableIterableDataset:
        if not callable(stage.function):
            raise UsageError(f"{stage.function!r} is no function")
        if stage.with_indices and any(one.batch_size and not one.filters for one in self._stages):
            raise UsageError("after a batched map an example has no index", hint="use with_indices before it")
        return self._with(_stages=(*self._stages, stage))

    def select_columns(self, names: str | Sequence[str]) -> ComposableIterableDataset:
        """Only these columns are read at all (and sent, by a server)."""
        wanted = _names(names) or ()
        if len(set(wanted)) < len(wanted):
            raise UsageError(f"a column is named twice: {', '.join(map(str, wanted))}")
        if absent := [name for name in wanted if name not in self.rows.column_names]:
            raise UsageError(f"no column {absent[0]!r}", hint=f"there are {', '.join(self.rows.column_names)}")
        return self._with(_columns=wanted)

    def remove_columns(self, names: str | Sequence[str]) -> ComposableIterableDataset:
        gone = _names(names) or ()
        return self.select_columns([name for name in self.column_names if name not in gone])

    def with_format(self, format_: str | None) -> ComposableIterableDataset:
        """python (or None), numpy, torch or arrow; see formats.py."""
        return self._with(_format=check_format(format_))

    def _with(self, **changes: Any) -> ComposableIterableDataset:
        made = copy.copy(self)
        made.__dict__.update(changes)
        made._epoch, made._iteration = Epoch(self.epoch), None
        made._pending = None if "_layers" in changes else made._of_these_stages(self._pending)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_iteration": None}  # what is being read here is not read there

    # Iteration

    def __iter__(self) -> Iterator[Any]:
        """Examples: dicts, or tables of one row in the format arrow."""
        return self._begin().examples()

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Any]:
        """Batches: dicts of columns, or tables in the format arrow. A short one may come last."""
        return self._begin().batches(_size(batch_size), drop_last_batch)

    def _begin(self) -> Iteration:
        """Where the state says that was loaded, else at the start of the epoch; for the reader this process is."""
        if self._stages and self._format == "arrow":
            raise UsageError("the format arrow gives tables, and map and filter take examples", hint="python or numpy")
        if self._format != "arrow" and len(set(names := self.column_names)) < len(names):
            raise UsageError("two columns have one name: an example would have one", hint="the format arrow")
        reader, readers = reader_of_torch()
        lane = replace(self._lane, reader=reader, readers=readers)
        state, self._pending = self._pending, None
        if state is None or state.epoch != self.epoch or not self._epoch.claim(loader_of_torch()):
            state = self._fresh()
        start, order = replace(state, cursor=placed(state, lane)), self.order
        self._epoch.begun()
        seen = self._iteration.seen if self._iteration else [0, 0]
        self._iteration = Iteration(
            self.rows, order, start, self._columns, self._stages, self._format, [0, 0] if self._reset else seen
        )
        return self._iteration


def _names(names: str | Iterable[str] | None) -> tuple[str, ...] | None:
    return (names,) if isinstance(names, str) else None if names is None else tuple(names)


def _size(batch_size: Any) -> int:
    return whole(batch_size, "batch_size", 1)
