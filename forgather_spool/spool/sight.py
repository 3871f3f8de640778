"""What can be seen of jobs that wait or run: names of the directories, specs, and how far an attempt has come.

What the places mean is `queue.py`'s to say. Changes nothing.
"""

from __future__ import annotations

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.spool import attempts, files
from forgather_spool.spool.entrance import Entrance
from forgather_spool.spool.names import Entry, Ordered, in_start_order, parse_entries
from forgather_spool.spool.paths import CANCEL


class Sight(Entrance):
    """A spool that can be looked at."""

    __slots__ = ()

    def waiting(self) -> Ordered:
        """Entries in start order, from names alone: 100,000 take a twentieth of a second."""
        return in_start_order(parse_entries(files.names(self.paths.queue)))

    def count_waiting(self) -> int:
        return len(parse_entries(files.names(self.paths.queue)))

    def held(self) -> list[Entry]:
        """Entries on hold, in the order they would start."""
        return in_start_order(parse_entries(files.names(self.paths.held)))

    def taken(self, host: str) -> list[Entry]:
        """Entries in running/<host>/, `CANCEL` for those being cancelled."""
        return in_start_order(parse_entries(files.names(self.paths.running_on(host))))

    def hosts_with_jobs(self) -> list[str]:
        return sorted(name for name in files.names(self.paths.running) if name != CANCEL)

    def queued_spec(self, entry: Entry) -> Document:
        """The spec of a waiting job, checked.

        Raises FileNotFoundError once it has moved on, BadDocument, UnreadableFile.
        """
        return self.spec_at(self.paths.queued(entry[1], -entry[0]))

    def taken_spec(self, host: str, entry: Entry) -> Document:
        """The same for a job in running/<host>/."""
        return self.spec_at(self.paths.taken(host, entry[1], -entry[0]))

    def spec_at(self, path: str) -> Document:
        """The checked spec at `path`. Raises as `queued_spec`."""
        try:
            return schema.check(files.read_document(path), schema.SPEC)
        except BadDocument as error:
            where = error.where if error.where.startswith(path) else f"{path}: {error.where}"
            raise BadDocument(where, error.problem, hint=error.hint) from None

    # Where an attempt is not named the current one is meant: one listing of the job's folder each time.

    def attempt(self, job_id: str) -> int:
        """The number of the current attempt; 1 also for a job that nobody has claimed yet."""
        return attempts.current(self.paths, job_id)

    def not_before_at(self, job_id: str, attempt: int | None = None) -> str | None:
        """When the back-off of a job that is run again is over, RFC 3339. None: it may start as any other.

        Raises BadDocument, UnreadableFile.
        """
        again = attempts.again(self.paths, job_id, attempt or self.attempt(job_id))
        at = None if again is None else again["not_before_at"]
        return at if isinstance(at, str) else None

    def has_started(self, job_id: str, attempt: int | None = None) -> bool:
        """Whether a runner has taken the start: then this attempt never starts again, whatever else is there."""
        return files.exists(self.paths.started(job_id, attempt or self.attempt(job_id)))

    def has_result(self, job_id: str, attempt: int | None = None) -> bool:
        """Whether somebody said how it ended. Not so one that cannot be read: `write_result` was cut off, by the power.

        Raises StorageFailed: nobody can say now.
        """
        try:
            files.read_document(self.paths.result(job_id, attempt or self.attempt(job_id)))
        except (FileNotFoundError, BadDocument):
            return False
        except UnreadableFile:
            return True  # no file of ours, and nothing that can be replaced
        return True
