"""The rows as a table on the terminal, as JSON, and as Markdown between two markers of the documentation page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.row import Row

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COLUMNS = ("", "median", "p95", "n", "against", "ratio", "bar", "")
MARKS = {"met": "met", "missed": "MISSED", "": ""}


def as_text(rows: Sequence[Row]) -> str:
    """A table for a terminal."""
    table = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(COLUMNS))]
    lines, group = [_joined(COLUMNS, widths)], ""
    for row, cells in zip(rows, table[1:], strict=True):
        if row.group != group:
            group = row.group
            lines.append(f"-- {group}")
        lines.append(_joined(cells, widths))
    return "\n".join(lines)


def as_markdown(rows: Sequence[Row], machine: Mapping[str, str], images: Sequence[str]) -> str:
    """The facts of the machine, the pictures, a table for each group, and what was said to rows."""
    lines = [f"- {name}: {fact}" for name, fact in machine.items()]
    lines += ["", *(f"![{name.partition('.')[0]}](img/{name})" for name in images)]
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        lines += ["", f"### {group.capitalize()}", "", "| | median | p95 | n | against | ratio | bar | |"]
        lines += ["|---|--:|--:|--:|---|--:|---|---|"]
        lines += ["| " + " | ".join(cell or " " for cell in _cells(row)) + " |" for row in mine]
        lines += [f"\n{row.what}: {row.note}." for row in mine if row.note]
    return "\n".join(lines)


def write(folder: Path, rows: Sequence[Row], machine: Mapping[str, str], images: Sequence[str]) -> None:
    """``performance.json``, and the part of ``performance.md`` between the markers; the prose around it stays."""
    document = {"machine": dict(machine), "rows": [row.as_document() for row in rows]}
    (folder / "performance.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    page = folder / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(rows, machine, images)}\n\n{END}{after}")


def _cells(row: Row) -> tuple[str, ...]:
    against = ""
    if row.peer is not None and row.peer_value is not None:
        against = f"{row.peer} {_number(row.peer_value)}"
    return (
        row.what,
        f"{_number(row.value)} {row.unit}" if row.value is not None else row.note,
        _number(row.p95),
        str(row.count) if row.count > 1 else "",
        against,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.bar is None else str(row.bar),
        MARKS[row.verdict],
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
