"""The blocks of `job status`: one for each job, and one for a whole array, not for each of its members.

Which members run and which did not end well is said by number. Of members that
are named by brackets each has its own block, as any job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from forgather_spool import array
from forgather_spool.cli.job.document import submitted_at
from forgather_spool.cli.job.facts import as_lines, facts, what, when
from forgather_spool.job import State
from forgather_spool.outcome import Exited, describe
from forgather_spool.pending import PendingReason
from forgather_spool.spool.look import Job
from forgather_spool.spool.names import family_of, index_of
from forgather_spool.spool.queue import Spool

WAYS_SHOWN = 8  # of ending otherwise than well; the others are counted
RANGES_SHOWN = 200  # characters of them
_COUNTED = {State.LAUNCHING: State.RUNNING, State.ENDING: State.RUNNING}


def blocks(
    spool: Spool, found: Sequence[Job], reasons: Mapping[str, PendingReason], *, in_full: bool
) -> Iterator[list[str]]:
    """Lines for each job; unless `in_full`, for all members of an array together."""
    for family, jobs in groupby(found, lambda job: None if in_full else family_of(job.job_id)):
        if family is None:
            yield from (facts(spool, job, reasons.get(job.job_id)) for job in jobs)
        else:
            yield array_facts(list(jobs), reasons)


def array_facts(members: Sequence[Job], reasons: Mapping[str, PendingReason]) -> list[str]:
    """``key: value`` lines for `members`, all there are of one array, by their number."""
    first = members[0]
    family, spec = family_of(first.job_id), first.spec
    asked = spec.document.get("array") if spec else None
    limit = asked.get("limit") if isinstance(asked, dict) else None
    waits = next((reasons[job.job_id].text for job in members if job.job_id in reasons), None)
    return as_lines(
        [
            ("array", f"{family}[*]"),
            *what(first)[1:],
            ("gpus", spec and (f"{spec.gpus} each" if spec.gpus else 0)),
            ("submitted", when(submitted_at(first))),
            ("at once", limit and f"at most {limit}"),
            ("members", _counts(members)),
            ("waits", waits),
            *_who(members),
            ("one of them", f"forgather job status '{family}[{index_of(first.job_id)}]'"),
        ]
    )


def _counts(members: Iterable[Job]) -> str:
    numbers: dict[str, int] = {}
    for job in members:
        state = _COUNTED.get(job.state, job.state).value
        numbers[state] = numbers.get(state, 0) + 1
    return ", ".join(f"{number:,} {state}" for state, number in numbers.items())


def _who(members: Iterable[Job]) -> Iterator[tuple[str, object]]:
    running: list[Job] = []
    ways: dict[str, list[Job]] = {}
    for job in members:
        if job.problem is not None:
            ways.setdefault(job.problem, []).append(job)
        elif job.result is not None and job.result.outcome != Exited(0):
            ways.setdefault(describe(job.result.outcome), []).append(job)
        elif job.state in (State.LAUNCHING, State.RUNNING, State.ENDING):
            running.append(job)
    if running:
        yield "running", _spelled(running)
    for way, jobs in list(ways.items())[:WAYS_SHOWN]:
        yield "not well", f"{_spelled(jobs)}: {way}"
    if len(ways) > WAYS_SHOWN:
        yield "not well", f"{sum(map(len, list(ways.values())[WAYS_SHOWN:])):,} more, otherwise"


def _spelled(jobs: Sequence[Job]) -> str:
    text = array.spell(sorted(index_of(job.job_id) or 0 for job in jobs))
    return f"[{text}]" if len(text) <= RANGES_SHOWN else f"{len(jobs):,} of them"
