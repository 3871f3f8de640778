"""A plain table for people: aligned columns, never wider than asked for.

Where it is narrow, columns are left out that the caller says matter least
(`left_out`). Then two give way: the one that names a thing is cut short, and a
remark that is too long for what is left goes onto a line of its own. Cells must
be fit to be shown (`show.shown`). Knows nothing of jobs.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Collection, Sequence

GAP = "  "
INDENT = "    "
MIN_REMARK = 9  # narrower, hardly any remark fits beside the rest
MIN_NAME = 6
GOOD_NAME = 14  # as far as that a name is cut short to have remarks beside it

Row = Sequence[str]


def render(headers: Row, rows: Sequence[Row | str], *, width: int | None, name_column: int) -> list[str]:
    """The table's lines. A row that is one string is a line across; the last column is the remark.

    `width` None: as wide as it needs to be.
    """
    full = [row for row in rows if not isinstance(row, str)]
    widths = _natural(headers, full)
    if width is not None and _total(widths) > width:
        widths = _narrowed(widths, width, name_column)
    lines = _row_lines(headers, widths)[:1] if full else []
    for row in rows:
        lines += [row] if isinstance(row, str) else _row_lines(row, widths)
    return lines if width is None else [clipped(line, width) for line in lines]


def natural_width(headers: Row, rows: Sequence[Row | str]) -> int:
    """How many cells a line takes where nothing gives way."""
    return _total(_natural(headers, [row for row in rows if not isinstance(row, str)]))


def left_out(
    headers: Row, rows: Sequence[Row], width: int, *, name_column: int, gives_way: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """The table without as many of the columns `gives_way`, in that order, as it takes to have a row on a line.

    The name counts as long as it must be, and everything else as long as it is.
    """
    columns = list(zip(headers, *rows, strict=True))
    columns[name_column] = tuple(clipped(cell, GOOD_NAME) for cell in columns[name_column])
    sizes = [max(map(cells, column)) for column in columns]
    stay = list(range(len(headers)))
    for name in gives_way:
        if _total([sizes[i] for i in stay]) <= width:
            break
        stay = [i for i in stay if headers[i] != name]
    return [headers[i] for i in stay], [[row[i] for i in stay] for row in rows]


def silent(headers: Row, rows: Sequence[Row], silence: Collection[str]) -> list[str]:
    """The columns in which every row says one of `silence`."""
    return [name for name, *column in zip(headers, *rows, strict=True) if all(cell in silence for cell in column)]


def _natural(headers: Row, rows: Sequence[Row]) -> list[int]:
    return [max(map(cells, column)) for column in zip(headers, *rows, strict=True)]


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


def _narrowed(widths: Sequence[int], width: int, name_column: int) -> list[int]:
    """Widths that fit, if any do; that of the remark is 0 where none is to stand beside the rest."""
    narrowed = list(widths)
    others = _total(widths) - widths[name_column] - widths[-1]
    room = width - others
    beside = room - min(widths[name_column], max(GOOD_NAME, room // 3))
    if beside >= min(MIN_REMARK, widths[-1]):
        narrowed[-1] = min(widths[-1], beside)
        narrowed[name_column] = min(widths[name_column], room - narrowed[-1])
        return narrowed
    room += len(GAP)
    narrowed[name_column] = max(MIN_NAME, min(widths[name_column], room))
    narrowed[-1] = 0
    return narrowed


def _row_lines(row: Row, widths: Sequence[int]) -> list[str]:
    *front, remark = row
    padded = [_padded(clipped(cell, w), w) for cell, w in zip(front, widths, strict=False)]
    if cells(remark) <= widths[-1]:
        return [GAP.join([*padded, remark]).rstrip()]
    return [GAP.join(padded).rstrip(), INDENT + remark]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def terminal_width() -> int | None:
    """Columns of the terminal on stdout, or as COLUMNS says; None where nobody looks at lines."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns
