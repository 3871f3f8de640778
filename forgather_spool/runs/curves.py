"""What a plot shows, before it is ink: for each metric its curves.

A run that was resumed continues the curve of the one before it. Steps that
were trained twice show what the later run made of them. In training time the
later run goes on where the earlier ended: the hours in which nobody trained
are not training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forgather_spool.errors import UsageError
from forgather_spool.runs.read import Axis, Run
from forgather_spool.runs.series import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One metric of one line of runs. `line` is the line's number, from 0: same line, same colour."""

    label: str
    line: int
    metric: str
    series: Series  # not empty
    resumed_at: tuple[float, ...]  # the xs at which a later run took over

    def smoothed(self, span: int) -> Series:
        """As `Series.smoothed`, but an evaluation, which is an average already, as it is."""
        return self.series if self.metric.startswith("eval_") else self.series.smoothed(span)


Lines = Sequence[tuple[str, tuple[Run, ...]]]  # a label, and the runs that make one line, first one first


def curves(lines: Lines, metrics: Sequence[str], x: Axis) -> dict[str, list[Curve]]:
    """For each metric that some run logged, its curves, in the order asked for.

    Raises:
        UsageError: nobody logged any of the metrics, or the records have no such x.
    """
    found: dict[str, list[Curve]] = {}
    for metric in metrics:
        for number, (label, runs) in enumerate(lines):
            parts = _parts(runs, metric, x)
            if parts:
                found.setdefault(metric, []).append(_curve(label, number, metric, parts))
    if not found:
        raise UsageError(f"nothing logged of {', '.join(metrics)}", hint=_what_there_is(lines))
    return found


def is_loss(metric: str) -> bool:
    """Losses have one size and share a panel."""
    return "loss" in metric


def panels(found: dict[str, list[Curve]]) -> list[list[Curve]]:
    """The curves that are drawn together: all losses, then each other metric."""
    losses = [curve for metric, each in found.items() if is_loss(metric) for curve in each]
    others = [each for metric, each in found.items() if not is_loss(metric)]
    return ([losses] if losses else []) + others


def _curve(label: str, line: int, metric: str, parts: Sequence[Series]) -> Curve:
    joined = Series((), ())
    for part in parts:
        joined = joined.until(part.xs[0]).followed_by(part)
    starts = tuple(part.xs[0] for part in parts[1:])
    return Curve(label=label, line=line, metric=metric, series=joined, resumed_at=starts)


def _parts(runs: Sequence[Run], metric: str, x: Axis) -> list[Series]:
    parts, spent_s = [], 0.0
    for run in runs:
        series = run.series(metric, x)
        if series:
            parts.append(series.shifted(spent_s))
        spent_s += (run.duration_s or 0.0) if x == "time" else 0.0
    return parts


def _what_there_is(lines: Lines) -> str:
    there = dict.fromkeys(metric for _, runs in lines for run in runs for metric in run.metrics)
    return f"--metrics takes: {', '.join(there)}" if there else "the run has not logged yet"
