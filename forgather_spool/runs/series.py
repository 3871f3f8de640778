"""A metric over time, and what can be asked of it: its best, its last, a smoother one. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """Points in the order they were logged. `ys` may hold NaN and infinities, `xs` only finite numbers."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def __bool__(self) -> bool:
        return bool(self.xs)

    @property
    def final(self) -> tuple[float, float] | None:
        """The last point, finite or not."""
        return (self.xs[-1], self.ys[-1]) if self else None

    @property
    def lowest(self) -> tuple[float, float] | None:
        """The first point with the least finite y."""
        finite = [(y, index) for index, y in enumerate(self.ys) if math.isfinite(y)]
        if not finite:
            return None
        y, index = min(finite)
        return self.xs[index], y

    @property
    def first_not_finite(self) -> float | None:
        """The x from which something went wrong."""
        return next((x for x, y in zip(self.xs, self.ys, strict=True) if not math.isfinite(y)), None)

    def smoothed(self, span: int) -> Series:
        """An exponential moving average over about `span` points, unbiased from the first; 1 changes nothing."""
        return Series(self.xs, tuple(_moving_average(self.ys, 2 / (span + 1)))) if span > 1 else self

    def shifted(self, by: float) -> Series:
        return Series(tuple(x + by for x in self.xs), self.ys)

    def until(self, stop: float) -> Series:
        """The points with an x below `stop`."""
        kept = [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if x < stop]
        return Series(tuple(x for x, _ in kept), tuple(y for _, y in kept))

    def followed_by(self, other: Series) -> Series:
        return Series(self.xs + other.xs, self.ys + other.ys)


def _moving_average(ys: Sequence[float], weight: float) -> list[float]:
    """What is not finite stays as it is and does not spoil what follows."""
    averages, total, seen = [], 0.0, 0.0
    for y in ys:
        if math.isfinite(y):
            total += weight * (y - total)
            seen += weight * (1 - seen)
            averages.append(total / seen)
        else:
            averages.append(y)
    return averages
