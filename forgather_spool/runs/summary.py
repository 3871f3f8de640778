"""A run in a few lines, as facts, as Markdown, as one line.

The lines hold what others wrote (names, paths): whoever prints them makes them
fit for a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from forgather_spool.phrases import at_text
from forgather_spool.runs.read import Run

NOTHING = "nothing logged yet"
_HEADERS = ("run", "steps", "loss", "best loss", "eval loss", "best eval", "steps/s", "duration")


def as_document(run: Run) -> dict[str, object]:
    """Keys are a promise. What is not known or not finite is null; `first_not_finite_step` tells the two apart.

    `*_loss` are {step, value}; `best_*` is the lowest.
    """
    loss, eval_loss = run.series("loss"), run.series("eval_loss")
    return {
        "run_id": run.run_id,
        "name": run.name,
        "job_id": run.job_id,
        "file": str(run.file),
        "started_at": _iso(started_at(run)),
        "resumed_from": run.resumed_from,
        "records": len(run.records),
        "last_step": run.last_step,
        "last_epoch": _finite(next((r["epoch"] for r in reversed(run.records) if "epoch" in r), None)),
        "final_loss": _point(loss.final),
        "best_loss": _point(loss.lowest),
        "first_not_finite_step": None if loss.first_not_finite is None else int(loss.first_not_finite),
        "final_eval_loss": _point(eval_loss.final),
        "best_eval_loss": _point(eval_loss.lowest),
        "duration_s": _finite(run.duration_s),
        "steps_per_s": _finite(run.steps_per_s),
        "metrics": list(run.metrics),
    }


def as_lines(run: Run) -> list[str]:
    """For people: a fact a line, only those there are."""
    loss, eval_loss = run.series("loss"), run.series("eval_loss")
    epoch = next((f" (epoch {number(r['epoch'])})" for r in reversed(run.records) if "epoch" in r), "")
    facts = [
        ("run", run.run_id + (f" ({run.name})" if run.name and run.name != run.run_id else "")),
        ("file", str(run.file)),
        ("job", run.job_id),
        ("started", (at := started_at(run)) and at_text(at)),
        ("resumed from", run.resumed_from),
        ("steps", NOTHING if run.last_step is None else f"{run.last_step}{epoch}, {len(run.records)} records"),
        ("loss", _final_and_best(loss.final, loss.lowest)),
        ("not finite", None if loss.first_not_finite is None else f"the loss, at step {loss.first_not_finite:.0f}"),
        ("eval loss", _final_and_best(eval_loss.final, eval_loss.lowest)),
        ("duration", None if run.duration_s is None else span(run.duration_s)),
        ("speed", None if run.steps_per_s is None else f"{number(run.steps_per_s)} steps/s"),
        ("metrics", ", ".join(run.metrics)),
    ]
    return [f"{name:<12}  {fact}" for name, fact in facts if fact]


def as_one_line(run: Run) -> str:
    """E.g. ``run-7: step 1200, loss 2.41 (best 2.38), eval loss 2.52, 3.2 steps/s, 6 min 12 s``."""
    if run.last_step is None:
        return f"{run.run_id}: {NOTHING}"
    loss, eval_loss = run.series("loss"), run.series("eval_loss")
    best = f" (best {number(loss.lowest[1])})" if loss.lowest else ""
    parts = [f"step {run.last_step}"]
    parts += [f"loss {number(loss.final[1])}{best}"] if loss.final else []
    parts += [f"eval loss {number(eval_loss.final[1])}"] if eval_loss.final else []
    parts += [f"{number(run.steps_per_s)} steps/s"] if run.steps_per_s is not None else []
    parts += [span(run.duration_s)] if run.duration_s is not None else []
    return f"{run.run_id}: {', '.join(parts)}"


def as_markdown(runs: Sequence[Run]) -> list[str]:
    """A table with a row for each run."""
    rows = [_HEADERS, ("---", *["---:"] * (len(_HEADERS) - 1)), *(_cells(run) for run in runs)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _cells(run: Run) -> tuple[str, ...]:
    loss, eval_loss = run.series("loss"), run.series("eval_loss")
    values = (loss.final, loss.lowest, eval_loss.final, eval_loss.lowest)
    return (
        "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in run.run_id),
        "0" if run.last_step is None else str(run.last_step),
        *("" if point is None else number(point[1]) for point in values),
        "" if run.steps_per_s is None else number(run.steps_per_s),
        "" if run.duration_s is None else span(run.duration_s),
    )


def started_at(run: Run) -> datetime | None:
    """As `run.json` says, else the first record's time."""
    first = next((record["timestamp"] for record in run.records if "timestamp" in record), None)
    try:
        return run.started_at or (None if first is None else datetime.fromtimestamp(first, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def number(value: float) -> str:
    """Four significant digits; as they are read aloud, not 1e+03."""
    if not math.isfinite(value) or (value and not 1e-4 <= abs(value) < 1e9):
        return f"{value:.3g}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def span(seconds: float) -> str:
    """E.g. "4.2 s", "6 min 12 s", "3 h 4 min"."""
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(int(seconds), 60)
    return f"{minutes} min {rest_s} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _final_and_best(final: tuple[float, float] | None, best: tuple[float, float] | None) -> str | None:
    if final is None:
        return None
    return number(final[1]) + (f", best {number(best[1])} at step {best[0]:.0f}" if best else "")


def _point(point: tuple[float, float] | None) -> dict[str, object] | None:
    return None if point is None else {"step": int(point[0]), "value": _finite(point[1])}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
