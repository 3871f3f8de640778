"""What `sched list` shows: queued jobs in the order they start, then active ones, then those that ended last.

Numbers come from names. Only the rows shown are read, unless jobs are looked
for by name or by a state that a name does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice

from forgather_spool.cli.job.document import (
    job_document,
)
from forgather_spool.cli.sched.array_rows import ArrayRow, array_rows
from forgather_spool.cli.sched.reasons import pending_reasons, unmet_on_hold
from forgather_spool.document import Document
from forgather_spool.job import State
from forgather_spool.pending import PendingReason
from forgather_spool.spool.batch import help_along
from forgather_spool.spool.ended import ended_count, ended_places
from forgather_spool.spool.look import Job, read_all
from forgather_spool.spool.names import Entry, Ordered, any_member, end_of_family, family_of
from forgather_spool.spool.place import (
    Place,
    active_places,
    held_places,
    rejected_places,
    waiting_place,
)
from forgather_spool.spool.queue import Spool

ACTIVE = frozenset({State.LAUNCHING, State.RUNNING, State.ENDING})
COUNTED_AT_MOST = 20_000  # ended jobs; of a million the names alone take a second
BY_DEFAULT = frozenset(State) - {State.REJECTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs to list. `limit` is per section; None lists all. `name` is a glob, `group` exact, `only` ids.

    Unless `members`, an array is one row, where its first member would stand.
    """

    states: frozenset[State] = BY_DEFAULT
    name: str | None = None
    group: str | None = None
    limit: int | None = 20
    reasons: bool = True
    members: bool = True
    only: frozenset[str] | None = None

    @property
    def by_content(self) -> bool:
        """Whether the job itself must be read to tell."""
        return self.name is not None or self.group is not None


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of one kind, and how many more there are; None: some, not counted."""

    title: str
    jobs: tuple[Job, ...]
    more: int | None = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """`reasons` by job id, for the waiting jobs listed. `rejected_files` counts all that was set aside.

    `arrays` by id: each stands for all its members in the row of the one that is listed.
    """

    sections: tuple[Section, ...]
    rejected_files: int
    reasons: dict[str, PendingReason] = field(default_factory=dict)
    arrays: dict[str, ArrayRow] = field(default_factory=dict)


def take_listing(spool: Spool, wanted: Wanted) -> Listing:
    """Look once, in the order jobs move: one that moves on meanwhile is listed where it was, not twice."""
    help_along(spool)
    reader = _Reader(spool, wanted)
    sections = []
    reasons: dict[str, PendingReason] = {}
    held = waiting = None
    if State.HELD in wanted.states:  # read first: one that is released meanwhile is found in the queue
        places_held = held_places(spool)
        held = reader.section("held", places_held, lambda: reader.rows([place.job_id for place in places_held]))
    if State.WAITING in wanted.states:
        entries = waiting = spool.waiting()
        places = (waiting_place(spool, entry) for entry in reader.one_of_each(entries))
        sections.append(reader.section("waiting", places, lambda: reader.waiting_rows(entries)))
        if wanted.reasons:
            found = pending_reasons(spool, [job for job in reader.read if job.state is State.WAITING])
            reasons = {job.job_id: found[job.job_id] for job in sections[0].jobs if job.job_id in found}
    if held is not None:
        sections.append(held)
        if wanted.reasons:
            reasons |= unmet_on_hold(spool, held.jobs)
    if wanted.states & ACTIVE:
        active = active_places(spool)
        every = wanted.states >= ACTIVE
        sections.append(
            reader.section(
                "active", active, (lambda: reader.rows([place.job_id for place in active])) if every else None
            )
        )
    if State.DONE in wanted.states:
        sections.append(
            reader.section("ended", ended_places(spool, exact=wanted.limit is None), lambda: reader.ended_rows())
        )
    rejected = rejected_places(spool)
    if State.REJECTED in wanted.states:
        sections.append(reader.section("rejected", rejected, lambda: len(rejected)))
    arrays = {} if wanted.members else array_rows(spool, reader.families, waiting)
    return Listing(tuple(sections), len(rejected), reasons, arrays)


class _Reader:
    """Reads jobs until there are enough of those wanted. `read` is every job it has read, wanted or not."""

    def __init__(self, spool: Spool, wanted: Wanted) -> None:
        self.read: list[Job] = []
        self.families: set[str] = set()
        self._spool = spool
        self._wanted = wanted
        self._listed: set[str] = set()

    def section(self, title: str, places: Iterable[Place], count: Callable[[], int | None] | None) -> Section:
        """`count` tells how many there are in all; None where names do not tell."""
        limit = self._wanted.limit
        fitting = self._fitting(places)
        found = tuple(fitting if limit is None else islice(fitting, limit + 1))
        jobs = found[:limit]
        self._listed.update(job.job_id for job in jobs)
        if len(found) == len(jobs):
            return Section(title, jobs)
        total = None if count is None or self._wanted.by_content else count()
        return Section(title, jobs, None if total is None else total - len(jobs))

    def rows(self, job_ids: list[str]) -> int:
        """How many rows these would be, an array being one."""
        if self._wanted.only is not None:
            job_ids = list(self._wanted.only.intersection(job_ids))
        if self._wanted.members or not any_member(job_ids):
            return len(job_ids)
        return len({job_id.partition("[")[0] for job_id in job_ids})

    def waiting_rows(self, entries: Ordered) -> int:
        """The same for the queue; without arrays a hundred thousand are not looked at again."""
        if self._wanted.only is None and (self._wanted.members or not entries.any_member):
            return len(entries)
        return self.rows([job_id for _, job_id in entries])

    def ended_rows(self) -> int | None:
        """The same for ended jobs; None: they are not counted."""
        some = self.families or self._wanted.only is not None
        return None if some else ended_count(self._spool, COUNTED_AT_MOST)

    def _is_asked_for(self, job_id: str) -> bool:
        return self._wanted.only is None or job_id in self._wanted.only

    def _fitting(self, places: Iterable[Place]) -> Iterator[Job]:
        for job in read_all(self._spool, self._first_of_each(places)):
            self.read.append(job)
            fits = job.state in self._wanted.states and _fits(job, self._wanted)
            if fits and job.job_id not in self._listed:
                self._note_family(job)
                yield job

    def _first_of_each(self, places: Iterable[Place]) -> Iterator[Place]:
        """The places asked for; of an array that has a row already, none."""
        return (place for place in places if self.has_no_row(place.job_id))

    def one_of_each(self, entries: list[Entry]) -> Iterator[Entry]:
        """Those whose array has no row yet by the time they are asked for; quick, for 100,000 members."""
        at = 0
        while at < len(entries):
            family = entries[at][1].partition("[")[0]  # a job of its own is in none: its id is no array's
            if family not in self.families:
                yield entries[at]
            at = end_of_family(entries, at) if family in self.families else at + 1

    def has_no_row(self, job_id: str) -> bool:
        """Whether it is asked for, and its array has no row yet."""
        return self._is_asked_for(job_id) and (self._wanted.members or family_of(job_id) not in self.families)

    def _note_family(self, job: Job) -> None:
        family = family_of(job.job_id)
        if family is not None and not self._wanted.members:
            self.families.add(family)


def _fits(job: Job, wanted: Wanted) -> bool:
    if job.spec is None:
        return not wanted.by_content
    by_name = wanted.name is None or fnmatchcase(job.spec.name or "", wanted.name)
    return by_name and wanted.group in (None, job.spec.group)


def as_document(spool: Spool, listing: Listing) -> Document:
    """What `sched list --json` prints: version, jobs, more {section: how many were left out}, rejected_files."""
    jobs = [
        job_document(spool, job, listing.reasons.get(job.job_id))
        for section in listing.sections
        for job in section.jobs
    ]
    more = {section.title: section.more for section in listing.sections}
    return {"version": 1, "jobs": jobs, "more": more, "rejected_files": listing.rejected_files}
