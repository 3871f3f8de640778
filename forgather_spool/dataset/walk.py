"""Walks: which positions of an order one reader takes, and in which sequence. Pure arithmetic.

A walk is a progression of runs: `block` positions `step` apart, then the next
run `stride` after the start of the one before.

    Walk(first=4, count=6)                              4 5 6 7 8 9
    Walk(first=1, count=4, stride=3)                    1 4 7 10         rank 1 of 3
    Walk(first=0, count=6, block=2, stride=4)           0 1 4 5 8 9      reader 0 of 2, in batches of 2

As text (in a URL): ``first:count:block:step:stride``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from operator import index
from typing import SupportsIndex

import numpy as np

from forgather_spool.errors import UsageError


@dataclass(frozen=True)
class Walk:
    """`count` positions: the t-th is ``first + (t // block) * stride + (t % block) * step``."""

    first: int
    count: int
    block: int = 1
    step: int = 1
    stride: int = 1

    def positions(self, start: int, stop: int) -> np.ndarray:
        """The `start`-th up to, not including, the `stop`-th position, as int64."""
        steps = np.arange(start, stop, dtype=np.int64)
        if self.is_run:
            return steps + self.first
        runs, within = np.divmod(steps, self.block)
        return self.first + runs * self.stride + within * self.step

    @property
    def is_run(self) -> bool:
        """Consecutive positions, each the one before plus one."""
        return self.step == 1 and (self.stride == self.block or self.count <= self.block)

    @property
    def last(self) -> int:
        """The greatest position; -1 for an empty walk."""
        if not self.count:
            return -1
        runs, within = divmod(self.count - 1, self.block)
        ends = [self.first + runs * self.stride + within * self.step]
        if runs:
            ends.append(self.first + (runs - 1) * self.stride + (self.block - 1) * self.step)
        return max(ends)

    @property
    def text(self) -> str:
        return f"{self.first}:{self.count}:{self.block}:{self.step}:{self.stride}"


def at(walk: Walk, step: int) -> int:
    """The position of one step."""
    runs, within = divmod(step, walk.block)
    return walk.first + runs * walk.stride + within * walk.step


def part(walk: Walk, start: int, stop: int, *, by: int = 0) -> Iterator[Walk]:
    """Steps `start` up to, not including, `stop` of `walk`, moved by `by`: a broken run first, then whole ones."""
    first = min(-start % walk.block, stop - start)
    if first:
        yield Walk(at(walk, start) + by, first, 1, 1, walk.step)
    if start + first < stop:
        yield Walk(at(walk, start + first) + by, stop - start - first, walk.block, walk.step, walk.stride)


def run(start: int, stop: int) -> Walk:
    """The positions `start` up to, not including, `stop`."""
    return Walk(start, max(0, stop - start))


def parse_walk(text: str, size: int) -> Walk:
    """The walk `text` spells, over an order of `size` positions.

    Raises:
        UsageError: not a walk, or one that leaves the order.
    """
    parts = text.split(":")
    if len(parts) == 5 and all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):
        walk = Walk(*map(int, parts))
        if walk.block and walk.count <= size and walk.last < size:
            return walk
    raise UsageError(f"walk {text!r}: not a walk over {size} positions", hint="first:count:block:step:stride")


def saved_walk(value: Iterable[SupportsIndex], size: int) -> Walk:
    """The walk that a saved state spells as its five numbers, over `size` positions.

    Raises:
        ValueError, TypeError: not a walk, or one that leaves them.
    """
    numbers = [index(number) for number in value]
    if len(numbers) != len(fields(Walk)):
        raise ValueError(f"{value!r} is no walk")
    walk = Walk(*numbers)
    if min(numbers) < 0 or not walk.block or walk.count > size or walk.last >= size:
        raise ValueError(f"{value!r} is no walk over {size} positions")
    return walk
