"""Pictures for the documentation, where matplotlib is installed: a submit, a start, the drain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import start
from benchmarks.row import Row

MS = "ms (median, whisker to p95)"
OURS, THEIRS = "#2b6cb0", "#a0aec0"


def draw(folder: Path, rows: Sequence[Row]) -> list[str]:
    """The names of the pictures put into `folder`; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "forgather-spool"
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, tuple[str, str, Callable[[Row], bool]]] = {
        "submit.svg": (f"{MS}, one submit, the whole process", "ms", lambda row: row.group == "submit"),
        "start.svg": (f"{MS}, from submit to first instruction", "ms", lambda row: row.group == start.GROUP),
        "drain.svg": ("jobs a second, `true`, two at a time", "jobs/s", lambda row: row.group == "drain"),
    }
    drawn = []
    for name, (label, unit, wanted) in pictures.items():
        bars = _bars([row for row in rows if row.unit == unit and wanted(row)])
        if bars:
            _draw_bars(folder / name, bars, label)
            drawn.append(name)
    return drawn


def _bars(rows: Sequence[Row]) -> list[tuple[str, float, float | None, str]]:
    """Label, value, p95, colour; each peer once, grey."""
    found: dict[str, tuple[str, float, float | None, str]] = {}
    for row in rows:
        if row.peer is not None and row.peer_value is not None:
            found.setdefault(row.peer, (row.peer, row.peer_value, None, THEIRS))
        if row.value is not None:
            ours = OURS if row.bar is not None else THEIRS
            found[row.what] = (row.what, row.value, row.p95, ours)
    return list(found.values())


def _draw_bars(path: Path, bars: Sequence[tuple[str, float, float | None, str]], label: str) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.5, 0.42 * len(bars) + 1.1), layout="constrained")
    names = [bar[0] for bar in bars]
    values = [bar[1] for bar in bars]
    late: list[Any] = [max(0.0, (bar[2] or bar[1]) - bar[1]) for bar in bars]
    axes.barh(names, values, xerr=[[0] * len(bars), late], color=[bar[3] for bar in bars], ecolor="#4a5568", capsize=2)
    for index, (value, over) in enumerate(zip(values, late, strict=True)):
        axes.text(value + over, index, f"  {value:,.3g}" if value < 100 else f"  {value:,.0f}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
