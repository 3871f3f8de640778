"""A listing as lines for a person: a row a job or array, narrow where the terminal is."""

from __future__ import annotations

from datetime import UTC, datetime

from forgather_spool.cli.job.document import command_line, died_with_its_boot, state_now, submitted_at
from forgather_spool.cli.sched.array_rows import ArrayRow
from forgather_spool.cli.sched.listing import Listing
from forgather_spool.cli.show import shown
from forgather_spool.cli.spans import ago
from forgather_spool.cli.table import natural_width, render
from forgather_spool.job import State
from forgather_spool.outcome import describe
from forgather_spool.pending import PendingReason
from forgather_spool.spool.look import Job
from forgather_spool.spool.names import family_of, short_id

HEADERS = ("Status", "ID", "Type", "Pri", "GPUs", "Name/Command", "Time", "Reason/Outcome")
NAME_COLUMN = 5
Line = tuple[str, ...]


def as_table(listing: Listing, *, width: int | None, now: datetime | None = None) -> list[str]:
    """Lines for a person; every text from a file is escaped."""
    now = now or datetime.now(UTC)
    with_groups = any(job.spec and job.spec.group for section in listing.sections for job in section.jobs)
    rows: list[Line | str] = []
    for section in listing.sections:
        rows += [_row(job, listing, now, with_groups) for job in section.jobs]
        if section.more != 0:
            number = "" if section.more is None else f"{section.more:,} "
            rows.append(f"… and {number}more {section.title} (--all, or --limit N)")
    headers = _with_group(HEADERS, "Group") if with_groups else HEADERS
    if width is not None and natural_width(headers, rows) > width:
        headers, rows = _narrow(headers, rows)
    return render(headers, rows, width=width, name_column=headers.index("Name/Command"))


def _narrow(headers: Line, rows: list[Line | str]) -> tuple[Line, list[Line | str]]:
    """The same with ids short and without the type; without priorities where none has any."""
    at = {name: headers.index(name) for name in ("ID", "Type", "Pri")}
    full = [row for row in rows if not isinstance(row, str)]
    left_out = {at["Type"]} | ({at["Pri"]} if all(row[at["Pri"]] in ("0", "-") for row in full) else set())

    def narrow(row: Line) -> Line:
        cells = (short_id(cell) if i == at["ID"] else cell for i, cell in enumerate(row))
        return tuple(cell for i, cell in enumerate(cells) if i not in left_out)

    return narrow(headers), [row if isinstance(row, str) else narrow(row) for row in rows]


def _with_group(row: Line, group: str) -> Line:
    """The column is there when a job listed has a group."""
    return (*row[:NAME_COLUMN], group, *row[NAME_COLUMN:])


def _row(job: Job, listing: Listing, now: datetime, with_groups: bool) -> Line:
    reason = listing.reasons.get(job.job_id)
    array = listing.arrays.get(family_of(job.job_id) or "")
    row = _job_row(job, reason, now) if array is None else _array_row(job, array, reason, now)
    return _with_group(row, shown(job.spec.group or "-") if job.spec else "-") if with_groups else row


def _job_row(job: Job, reason: PendingReason | None, now: datetime) -> Line:
    spec, claim = job.spec, job.claim
    cards = "" if claim is None or not claim.gpus else f" [{','.join(str(ref.index) for ref in claim.gpus)}]"
    return (
        state_now(job).value,
        shown(job.job_id),
        shown(spec.type) if spec else "-",
        "-" if job.priority is None else str(job.priority),
        f"{spec.gpus}{cards}" if spec else "-",
        shown(spec.name or command_line(spec)) if spec else "-",
        _time(job, now),
        shown(_remark(job, reason)),
    )


def _array_row(job: Job, array: ArrayRow, reason: PendingReason | None, now: datetime) -> Line:
    """`job` is the member that stands for it; the reason is that of the next one to start."""
    why = f"; {reason.text}" if reason is not None and not array.counts.active else ""
    spec = job.spec
    return (
        "array",
        shown(f"{family_of(job.job_id)}[*]"),
        shown(spec.type) if spec else "-",
        "-" if job.priority is None else str(job.priority),
        str(spec.gpus) if spec else "-",
        shown(spec.name or command_line(spec)) if spec else "-",
        _time(job, now),
        shown(array.text + why),
    )


def _time(job: Job, now: datetime) -> str:
    """Since the latest thing that happened to it."""
    if job.result is not None:
        return ago(job.result.ended_at, now)
    claimed_at = None if job.claim is None else job.claim.claimed_at
    return ago(job.started_at or claimed_at or submitted_at(job), now)


def _remark(job: Job, reason: PendingReason | None) -> str:
    if job.problem is not None:
        return job.problem
    if job.result is not None:
        return describe(job.result.outcome)
    if died_with_its_boot(job):
        return "this machine was restarted while it ran"
    why = "" if reason is None else reason.text
    return f"attempt {job.attempt}, {job.again.text}: {why}" if job.again and job.state is State.WAITING else why
