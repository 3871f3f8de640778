"""The waiting jobs as this dispatcher knows them, in start order.

Order and number come from file names alone. What a job asks for is read when
its turn may have come, once, and a bounded number at a time: 100,000 files
cost seconds to read and a twentieth of a second to list. Jobs that ask alike
share what was read, so that they cost little memory, and little time when the
policy has given up on one of them. What inotify says is used as a hint and the
directory looked at again from time to time: a stale entry costs one failed
claim.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from forgather_spool.dispatcher.specs import Specs
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, ForgatherError, StorageFailed, UnreadableFile
from forgather_spool.job import Result, parse_at
from forgather_spool.policy import MET, After, AfterState, Asks, GivenUp, Shapes, Unmet, Waiting
from forgather_spool.spool import files
from forgather_spool.spool.names import FIRST_ATTEMPT, Entry, family_of, parse_entry, start_order
from forgather_spool.spool.queue import Spool

READS_PER_PASS = 2000


class Waitlist:
    """Entries of queue/, and of those read so far what the policy needs to know."""

    def __init__(
        self,
        spool: Spool,
        on_bad: Callable[[Entry, ForgatherError], None],
        on_trouble: Callable[[Entry, ForgatherError], None],
    ) -> None:
        """`on_bad` gets an entry whose spec is none, and should set it aside; `on_trouble` one to try again later."""
        self.specs = Specs(spool)
        self._spool = spool
        self._on_bad = on_bad
        self._on_trouble = on_trouble
        self._entries: list[Entry] = []
        self._known: dict[str, Asks] = {}
        self._not_before: dict[str, tuple[datetime, float]] = {}  # and on the monotonic clock, which nobody sets back
        self._shapes = Shapes()
        self._asking_for_cards = 0
        self._unfinished = False
        self._awaits: dict[str, tuple[str, ...]] = {}  # job id to those it comes after that have not ended
        self._may_have_ended: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry: Entry) -> bool:
        return self._is_at(self._place(entry), entry)

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    @property
    def has_unread(self) -> bool:
        """Whether the last look stopped at its limit of reads: look again at once."""
        return self._unfinished

    @property
    def knows_all(self) -> bool:
        """Whether every job has been read."""
        return len(self._known) >= len(self._entries)

    @property
    def wants_cards(self) -> bool:
        """Whether any job read so far asks for a card."""
        return self._asking_for_cards > 0

    def load(self) -> None:
        """Look at the directory itself."""
        self._entries = self._spool.waiting()
        if self._known:
            here = {job_id for _, job_id in self._entries}
            for job_id in self._known.keys() - here:
                self._forget(job_id)
        if len(self._shapes) > 2 * len(self._known) + 100:
            self._shapes = Shapes()  # most are of jobs long gone; what is alike from here on still meets

    def add(self, name: str) -> bool:
        """A name appeared in queue/. False: it is no spec's name."""
        entry = parse_entry(name)
        if entry is None:
            return False
        self._forget(entry[1])  # it may have been edited while it was away
        if entry not in self:
            insort(self._entries, entry, key=start_order)
        return True

    def remove(self, entry: Entry) -> None:
        """A name went; unknown ones are fine."""
        at = self._place(entry)
        if self._is_at(at, entry):
            del self._entries[at]
            self._forget(entry[1])

    def ahead_of(self, entry: Entry) -> int:
        """How many start before one that waits."""
        return self._place(entry)

    def asks(self, entry: Entry) -> Asks | None:
        """What one that waits asks, read now if it was not; None for one that is gone, or cannot be read."""
        return self._known.get(entry[1]) or self._read(entry)

    def _place(self, entry: Entry) -> int:
        return bisect_left(self._entries, start_order(entry), key=start_order)

    def _is_at(self, at: int, entry: Entry) -> bool:
        return at < len(self._entries) and self._entries[at] == entry

    def _forget(self, job_id: str) -> None:
        asks = self._known.pop(job_id, None)
        self._asking_for_cards -= asks is not None and asks.gpus > 0
        self._not_before.pop(job_id, None)
        self._awaits.pop(job_id, None)

    def may_have_ended(self, *job_ids: str) -> None:
        """Those that come after these are to be looked at again."""
        self._may_have_ended.update(job_ids)

    def awaited(self) -> set[str]:
        """Ids of jobs and arrays for whose ends others are left out."""
        return {job_id for awaited in self._awaits.values() for job_id in awaited}

    def candidates(
        self,
        skip: Callable[[str], bool],
        given_up: GivenUp | None = None,
        after: Callable[[tuple[After, ...]], AfterState] | None = None,
    ) -> Iterator[Waiting]:
        """What waits, in start order, read as it is asked for.

        `skip` leaves out job ids; what `given_up` covers is left out too. `after` says how dependencies stand. Who
        awaits another's end is left out, and not asked about again, until one of those `may_have_ended`: a decision
        costs no more for 100,000 of them.
        """
        self._look_again_at_those_after_ended()
        reads = 0
        self._unfinished = False
        known = self._known
        awaits = self._awaits
        entries = [entry for entry in self._entries if entry[1] not in awaits] if awaits else self._entries.copy()
        no_longer = given_up or GivenUp()
        for entry in no_longer.left(entries, known):
            job_id = entry[1]
            asks = known.get(job_id)
            if asks is None:
                if skip(job_id):
                    continue
                if reads >= READS_PER_PASS:
                    self._unfinished = True
                    return
                reads += 1
                asks = self._read(entry)
                if asks is None or no_longer.covers(asks, -entry[0]):
                    continue
            if skip(job_id):
                continue
            waiting = self._waiting(entry, asks, after)
            if isinstance(waiting.after, Unmet):
                self._awaits[job_id] = waiting.after.job_ids
            else:
                yield waiting

    def _look_again_at_those_after_ended(self) -> None:
        if self._may_have_ended:
            ended, self._may_have_ended = self._may_have_ended, set()
            self._awaits = {job: awaited for job, awaited in self._awaits.items() if ended.isdisjoint(awaited)}

    def first(self, most: int, after: Callable[[tuple[After, ...]], AfterState]) -> list[Waiting]:
        """The first `most` in start order, whatever they wait for; `after` as for `candidates`."""
        for entry in self._entries[:most]:
            if entry[1] not in self._known:
                self._read(entry)
        return self.waiting(self._entries[:most], after)

    def coming_after(self) -> dict[str, list[Entry]]:
        """By job id, those read so far that come after it."""
        found: dict[str, list[Entry]] = {}
        for entry in self._entries:
            asks = self._known.get(entry[1])
            for wish in asks.after if asks is not None else ():
                found.setdefault(wish.job_id, []).append(entry)
        return found

    def waiting(self, entries: Iterable[Entry], after: Callable[[tuple[After, ...]], AfterState]) -> list[Waiting]:
        """Those of `entries` that still wait and were read, in start order; `after` as for `candidates`."""
        here = sorted((entry for entry in entries if entry[1] in self._known and entry in self), key=start_order)
        return [self._waiting(entry, self._known[entry[1]], after) for entry in here]

    def _waiting(self, entry: Entry, asks: Asks, after: Callable[[tuple[After, ...]], AfterState] | None) -> Waiting:
        state = MET if after is None or not asks.after else after(asks.after)
        not_before_at, deadline = self._not_before.get(entry[1], (None, 0.0))
        is_over = not_before_at is not None and time.monotonic() >= deadline
        return Waiting(entry[1], -entry[0], asks, state, None if is_over else not_before_at)

    def _read(self, entry: Entry) -> Asks | None:
        try:
            spec = self.specs.queued(entry)
            asks, not_before_at = asks_of(self._spool, entry[1], spec, self._shapes)
        except FileNotFoundError:
            self.remove(entry)
            return None
        except (BadDocument, UnreadableFile) as error:
            self.remove(entry)
            self._on_bad(entry, error)
            return None
        except StorageFailed as error:
            self._on_trouble(entry, error)
            return None
        self._known[entry[1]] = asks
        if not_before_at is not None:
            left_s = (not_before_at - datetime.now(UTC)).total_seconds()
            self._not_before[entry[1]] = (not_before_at, time.monotonic() + left_s)
        self._asking_for_cards += asks.gpus > 0
        return asks


def asks_of(spool: Spool, job_id: str, spec: Document, shapes: Shapes) -> tuple[Asks, datetime | None]:
    """What a job asks, and when it may be run again at the earliest. Raises BadDocument, UnreadableFile."""
    attempt = spool.attempt(job_id)
    if attempt > FIRST_ATTEMPT:
        spec = {**spec, "after": []}  # it has started once, so these were met; they may be removed by now
    again_at = spool.not_before_at(job_id, attempt)
    not_before_at = None if again_at is None else _by_this_clock(spool, job_id, attempt, parse_at(again_at))
    return shapes.of(spec, family_of(job_id)), not_before_at


def _by_this_clock(spool: Spool, job_id: str, attempt: int, not_before_at: datetime) -> datetime:
    """A pause after an attempt whose end lies in the future, since the clock was set back, begins now."""
    now = datetime.now(UTC)
    if not_before_at <= now:
        return not_before_at
    try:
        ended_at = Result.from_document(files.read_document(spool.paths.result(job_id, attempt - 1))).ended_at
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return not_before_at
    return not_before_at - max(timedelta(0), ended_at - now)
