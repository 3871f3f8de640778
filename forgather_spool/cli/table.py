"""A plain table for people: aligned columns, never wider than asked for.

Two columns give way when it is narrow: the one that names a thing is cut
short, and the last, the remark, goes onto a line of its own. Cells must be fit
to be shown (`show.shown`). Knows nothing of jobs.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence

GAP = "  "
INDENT = "    "
MIN_REMARK = 24  # narrower, a remark in its column is no help
MIN_NAME = 6

Row = Sequence[str]


def render(headers: Row, rows: Sequence[Row | str], *, width: int | None, name_column: int) -> list[str]:
    """The table's lines. A row that is one string is a line across; the last column is the remark.

    `width` None: as wide as it needs to be.
    """
    full = [row for row in rows if not isinstance(row, str)]
    widths = [max(map(cells, column)) for column in zip(headers, *full, strict=True)]
    remark_below = False
    if width is not None and _total(widths) > width:
        widths, remark_below = _narrowed(widths, width, name_column)
    lines = _row_lines(headers, widths, remark_below) if full else []
    lines = lines[:1]  # the remark needs no heading where it has no column
    for row in rows:
        lines += [row] if isinstance(row, str) else _row_lines(row, widths, remark_below)
    return lines if width is None else [clipped(line, width) for line in lines]


def cells(text: str) -> int:
    """How many terminal cells `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_cell(c) for c in text)


def clipped(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something was cut off."""
    if cells(text) <= width:
        return text
    taken, used = [], 0
    for c in text:
        used += _cell(c)
        if used > width - 1:
            break
        taken.append(c)
    return "".join(taken) + "…" if width > 0 else ""


def _cell(c: str) -> int:
    if unicodedata.combining(c):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _narrowed(widths: list[int], width: int, name_column: int) -> tuple[list[int], bool]:
    """Widths that fit, if any do, and whether the remark goes below."""
    narrowed = list(widths)
    others = _total(widths) - widths[name_column] - widths[-1]
    room = width - others
    narrowed[name_column] = min(widths[name_column], max(MIN_NAME, room // 3))
    narrowed[-1] = room - narrowed[name_column]
    if narrowed[-1] >= MIN_REMARK:
        return narrowed, False
    room = width - (others - len(GAP))
    narrowed[name_column] = max(MIN_NAME, min(widths[name_column], room))
    narrowed[-1] = 0
    return narrowed, True


def _row_lines(row: Row, widths: Sequence[int], remark_below: bool) -> list[str]:
    *front, remark = row
    padded = [_padded(clipped(cell, w), w) for cell, w in zip(front, widths, strict=False)]
    if remark_below:
        return [GAP.join(padded).rstrip(), *([INDENT + remark] if remark else [])]
    return [GAP.join([*padded, clipped(remark, widths[-1])]).rstrip()]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def terminal_width() -> int | None:
    """Columns of the terminal on stdout, or as COLUMNS says; None where nobody looks at lines."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns
