"""The waiting jobs as this dispatcher knows them, in start order.

Order and number come from file names alone. What a job asks for is read when
its turn may have come, once, and a bounded number at a time: 100,000 files
cost seconds to read and a twentieth of a second to list. What inotify says is
used as a hint and the directory looked at again from time to time: a stale
entry costs one failed claim.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from forgather_spool.errors import BadDocument, ForgatherError, StorageFailed, UnreadableFile
from forgather_spool.policy import Waiting
from forgather_spool.spool.paths import parse_entry
from forgather_spool.spool.queue import Entry, Spool

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
        self._spool = spool
        self._on_bad = on_bad
        self._on_trouble = on_trouble
        self._entries: list[Entry] = []
        self._known: dict[str, Waiting] = {}
        self._unfinished = False

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry: Entry) -> bool:
        at = bisect_left(self._entries, entry)
        return at < len(self._entries) and self._entries[at] == entry

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    @property
    def has_unread(self) -> bool:
        """Whether the last look stopped at its limit of reads: look again at once."""
        return self._unfinished

    @property
    def wants_cards(self) -> bool:
        """Whether any job read so far asks for a card."""
        return any(waiting.gpus for waiting in self._known.values())

    def load(self) -> None:
        """Look at the directory itself."""
        self._entries = self._spool.waiting()
        here = {job_id for _, job_id in self._entries}
        self._known = {job_id: waiting for job_id, waiting in self._known.items() if job_id in here}

    def add(self, name: str) -> bool:
        """A name appeared in queue/. False: it is no spec's name."""
        entry = parse_entry(name)
        if entry is None:
            return False
        if entry not in self:
            insort(self._entries, entry)
        return True

    def remove(self, entry: Entry | None) -> None:
        """A name went; unknown ones are fine."""
        if entry is None or entry not in self:
            return
        del self._entries[bisect_left(self._entries, entry)]
        self._known.pop(entry[1], None)

    def candidates(self, skip: Callable[[str], bool]) -> Iterator[Waiting]:
        """What waits, in start order, read as it is asked for; `skip` leaves out job ids."""
        reads = 0
        self._unfinished = False
        for entry in list(self._entries):
            if skip(entry[1]):
                continue
            waiting = self._known.get(entry[1])
            if waiting is None:
                if reads >= READS_PER_PASS:
                    self._unfinished = True
                    return
                reads += 1
                waiting = self._read(entry)
            if waiting is not None:
                yield waiting

    def _read(self, entry: Entry) -> Waiting | None:
        try:
            spec = self._spool.queued_spec(entry)
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
        gpus, memory = spec["gpus"], spec["gpu_memory_bytes"]
        assert isinstance(gpus, int)
        waiting = Waiting(entry[1], -entry[0], gpus, memory if isinstance(memory, int) else None)
        self._known[entry[1]] = waiting
        return waiting
