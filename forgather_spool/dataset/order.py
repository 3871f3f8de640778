"""Orders: in which sequence the rows of a data set come. A value, the same on every machine.

An order is a stack of layers over ``range(total)``, written as text from the
rows up, and that text is all there is to it:

    all                                 the rows as stored
    rows:100-900                        rows 100 up to, not including, 900
    feistel6-v1:7.2                     what lies below, shuffled with seed 7 for epoch 2
    window-v1:7.2.1024.64               the same by windows of 64 blocks of 1024 rows
    rows:0-800/feistel6-v1:7.0/rows:0-80     80 of the shuffled first 800

A position is a place in the order, a row a place in the data. `at` turns the
one into the other for any positions, at any place, in constant memory; see
permutation.py for what `feistel6-v1` promises. Knows no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from forgather_spool.dataset.permutation import Permutation, key_of, mix
from forgather_spool.errors import UsageError

FEISTEL = "feistel6-v1"
WINDOW = "window-v1"
BLOCK_ROWS = 1024
WINDOW_BLOCKS = 64
MAX_WINDOW_ROWS = 1 << 62  # positions are int64


@dataclass(frozen=True)
class Cut:
    """Positions `start` up to, not including, `stop` of what lies below."""

    start: int
    stop: int

    @property
    def text(self) -> str:
        return f"rows:{self.start}-{self.stop}"

    def size(self, below: int) -> int:
        if not 0 <= self.start <= self.stop <= below:
            raise UsageError(f"order: {self.text} of {below} rows")
        return self.stop - self.start

    def at(self, positions: np.ndarray, size: int) -> np.ndarray:
        return positions + self.start if self.start else positions


@dataclass(frozen=True)
class Shuffle:
    """A global shuffle: every position may hold every row."""

    seed: int
    epoch: int = 0

    @property
    def text(self) -> str:
        return f"{FEISTEL}:{self.seed}.{self.epoch}"

    def size(self, below: int) -> int:
        return below

    def at(self, positions: np.ndarray, size: int) -> np.ndarray:
        return self._permutation(size).at(positions)

    def _permutation(self, size: int) -> Permutation:
        return _kept(size, key_of(self.seed, self.epoch))


@dataclass(frozen=True)
class Window:
    """A shuffle for data larger than memory: blocks of rows are shuffled, then the rows within each window of blocks.

    Whole blocks are read at a time, so a disk is read in large pieces. Rows
    that fill no block come last, in the last window. Blocks are counted in
    rows, not as they happen to be stored: the order is the same for copies stored otherwise.
    """

    seed: int
    epoch: int = 0
    block_rows: int = BLOCK_ROWS
    blocks: int = WINDOW_BLOCKS

    @property
    def text(self) -> str:
        return f"{WINDOW}:{self.seed}.{self.epoch}.{self.block_rows}.{self.blocks}"

    def size(self, below: int) -> int:
        return below

    def at(self, positions: np.ndarray, size: int) -> np.ndarray:
        width = self.block_rows * self.blocks
        windows = positions // width
        place = np.empty_like(positions)
        for window in np.unique(windows).tolist():
            mine = windows == window
            place[mine] = window * width + self._within(window, size).at(positions[mine] - window * width)
        full = size // self.block_rows
        blocks, offsets = np.divmod(place, self.block_rows)
        whole = blocks < full
        if full:
            blocks[whole] = _kept(full, key_of(self.seed, self.epoch)).at(blocks[whole])
        return blocks * self.block_rows + offsets

    def _within(self, window: int, size: int) -> Permutation:
        width = self.block_rows * self.blocks
        held = min(width, size - window * width)
        return _kept(held, mix(key_of(self.seed, self.epoch) + window + 1))


Layer = Cut | Shuffle | Window


@dataclass(frozen=True)
class Order:
    """`layers` over ``range(total)``. Equal when their text and total are."""

    total: int
    layers: tuple[Layer, ...] = ()

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        """The size below each layer, and the order's own last."""
        sizes = [self.total]
        for layer in self.layers:
            sizes.append(layer.size(sizes[-1]))
        return tuple(sizes)

    def __len__(self) -> int:
        return self._sizes[-1]

    def then(self, layer: Layer) -> Order:
        """This order with one more layer on top.

        Raises:
            UsageError: a cut reaches past the end.
        """
        order = Order(self.total, (*self.layers, layer))
        len(order)
        return order

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The rows at `positions` (int64, each in ``range(len(self))``), as int64."""
        for layer, below in zip(reversed(self.layers), reversed(self._sizes[:-1]), strict=True):
            positions = layer.at(positions, below)
        return positions

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The rows at positions `start` up to, not including, `stop`."""
        return self.at(np.arange(start, stop, dtype=np.int64))

    @property
    def first_row(self) -> int | None:
        """Where a plain run of stored rows begins; None when anything is shuffled."""
        if all(isinstance(layer, Cut) for layer in self.layers):
            return sum(layer.start for layer in self.layers if isinstance(layer, Cut))
        return None

    @property
    def text(self) -> str:
        return "/".join(layer.text for layer in self.layers) or "all"


def parse_order(text: str, total: int) -> Order:
    """The order `text` spells, over `total` rows.

    Raises:
        UsageError: not an order, or one of more rows than there are.
    """
    order = Order(total)
    for part in [] if text == "all" else text.split("/"):
        order = order.then(_parse_layer(part, text))
    return order


def _parse_layer(part: str, text: str) -> Layer:
    name, _, values = part.partition(":")
    try:
        if name == "rows":
            start, _, stop = values.partition("-")
            return Cut(_number(start), _number(stop))
        numbers = [_number(value) for value in values.split(".")]
        if name == FEISTEL and len(numbers) == 2:
            return Shuffle(*numbers)
        if name == WINDOW and len(numbers) == 4 and min(numbers[2:]) > 0 and math.prod(numbers[2:]) <= MAX_WINDOW_ROWS:
            return Window(*numbers)
    except ValueError:
        pass
    raise UsageError(f"order {text!r}: {part!r} is not a layer", hint=f"for example rows:0-800/{FEISTEL}:7.0")


def _number(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 40):
        raise ValueError(text)
    return int(text)


@lru_cache(maxsize=32)
def _kept(size: int, key: int) -> Permutation:
    """The permutation, kept for the next call: a small one costs a sort to make."""
    return Permutation(size, key)
