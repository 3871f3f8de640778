"""Which run a resumed one continues, so that both can be drawn as one line.

`resumed_from` is a run's id, its path, or the path of a checkpoint that a run
beside it wrote. Where it leads nowhere, the run stands alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from forgather_spool.runs.find import LOGS, run_files
from forgather_spool.runs.read import Run, read_run
from forgather_spool.runs.summary import started_at

_CHECKPOINT = "checkpoint-"
_NEVER = datetime.min.replace(tzinfo=UTC)


def with_what_it_continues(run: Run) -> tuple[Run, ...]:
    """The run and those before it, first one first. Raises UnreadableFile for a damaged one among them."""
    chain, seen = [run], {run.file.resolve()}
    while (before := _predecessor(chain[0])) is not None and before.file.resolve() not in seen:
        seen.add(before.file.resolve())
        chain.insert(0, before)
    return tuple(chain)


def _predecessor(run: Run) -> Run | None:
    if run.resumed_from is None or "\0" in run.resumed_from:
        return None
    name = Path(run.resumed_from).name  # a name only: whatever the file says, we stay among this run's siblings
    siblings = run.file.resolve().parent.parent
    if name and (siblings / name / LOGS).is_file():
        return read_run(siblings / name / LOGS)
    if name.startswith(_CHECKPOINT) and name.removeprefix(_CHECKPOINT).isdecimal():
        return _writer_of(int(name.removeprefix(_CHECKPOINT)), run, siblings)
    return None


def _writer_of(step: int, run: Run, siblings: Path) -> Run | None:
    """The latest run begun before `run` that came as far as `step`."""
    begun = started_at(run)
    others = (read_run(file) for file in run_files(siblings) if file.parent.parent == siblings and file.name == LOGS)
    able = [
        (at, other.run_id, other)
        for other in others
        if begun is not None and (at := started_at(other) or _NEVER) < begun and (other.last_step or 0) >= step
    ]
    return max(able, key=lambda found: found[:2])[2] if able else None
