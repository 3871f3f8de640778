"""Curves in a terminal: braille dots, two across and four down in each cell.

One panel with a y axis, an x axis and, for several curves, a letter at the end
of each, so that they can be told apart without colours. Labels must be fit to
be shown.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence

from forgather_spool.runs.series import Series
from forgather_spool.runs.summary import number

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # U+2800's bits by row, column
_Y_LABEL = 10  # -1.23e-308
_MAX_EXPONENT = 308.25  # of ten, that a float holds
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
Range = tuple[float, float]


def drawing(
    named: Sequence[tuple[str, Series]], *, x_label: str, width: int = 80, height: int = 20, log_scale: bool = False
) -> list[str]:
    """At most `height` lines of at most `width` cells, and a line for each curve's name below.

    Points that are not finite, or on a log scale not positive, are left out.
    """
    columns, rows = max(10, width - _Y_LABEL - 2), max(4, height - 2)
    shown = [(label, _points(series, log_scale)) for label, series in named]
    everything = [point for _, points in shown for point in points]
    if not everything:
        return ["nothing to draw: no value is finite" + (" and positive" if log_scale else "")]
    x_range, y_range = _range(x for x, _ in everything), _range(y for _, y in everything)
    canvas = [[0x2800] * columns for _ in range(rows)]
    ends: dict[tuple[int, int], str] = {}
    for letter, (_, points) in zip(_endless_letters(), shown, strict=False):
        dots = [(_scaled(x, x_range, 2 * columns), _scaled(y, y_range, 4 * rows)) for x, y in points]
        for column, up in _joined(dots):
            down = 4 * rows - 1 - up
            canvas[down // 4][column // 2] |= _DOTS[down % 4][column % 2]
        if dots and len(named) > 1:
            ends[rows - 1 - dots[-1][1] // 4, dots[-1][0] // 2] = letter
    lines = ["".join(ends.get((r, c), chr(cell)) for c, cell in enumerate(row)) for r, row in enumerate(canvas)]
    framed = [f"{_tick(r, rows, y_range, log_scale):>{_Y_LABEL}} ┤{line}" for r, line in enumerate(lines)]
    first, last = number(x_range[0]), number(x_range[1])
    middle = f"{first}{x_label:^{max(1, columns - len(first) - len(last))}}{last}"
    legend = [f"{letter} = {label}" for letter, (label, _) in zip(_endless_letters(), shown, strict=False)]
    return [*framed, f"{'':>{_Y_LABEL}} └{'─' * columns}", f"{'':>{_Y_LABEL}}  {middle}"] + (
        legend if len(named) > 1 else []
    )


def _points(series: Series, log_scale: bool) -> list[tuple[float, float]]:
    finite = [(x, y) for x, y in zip(series.xs, series.ys, strict=True) if math.isfinite(y)]
    return [(x, math.log10(y)) for x, y in finite if y > 0] if log_scale else finite


def _range(values: Iterator[float]) -> Range:
    """From the least to the greatest; around a single value some room, so that it is in the middle."""
    found = list(values)
    low, high = min(found), max(found)
    room = 0.0 if high > low else abs(low) / 10 or 0.5
    return max(low - room, -sys.float_info.max), min(high + room, sys.float_info.max)


def _scaled(value: float, within: Range, size: int) -> int:
    extent = within[1] / 2 - within[0] / 2  # halves: the whole may be more than a float holds
    return round((value / 2 - within[0] / 2) / extent * (size - 1)) if extent else size // 2


def _joined(dots: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The dots and what lies straight between them."""
    yield from dots[:1]
    for (x0, y0), (x1, y1) in itertools.pairwise(dots):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        yield from ((x0 + round((x1 - x0) * i / steps), y0 + round((y1 - y0) * i / steps)) for i in range(1, steps + 1))


def _tick(row: int, rows: int, within: Range, log_scale: bool) -> str:
    """The y in the middle of the row; every fourth has one, and the last."""
    last = rows - 1
    if row != last and (row % 4 or row == last - 1):
        return ""
    value = within[1] * (1 - row / last) + within[0] * (row / last)
    return number(10 ** min(value, _MAX_EXPONENT) if log_scale else value)


def _endless_letters() -> Iterator[str]:
    while True:
        yield from _LETTERS
