"""What one row of `sched list` says of a whole array: how many members wait, run, are done, have failed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.job import Cancelled, Outcome, Result, words_for
from forgather_spool.spool import files
from forgather_spool.spool.families import Counts, count
from forgather_spool.spool.queue import Spool

READ_AT_MOST = 2_000  # results of one array; reading 100,000 takes seconds


@dataclass(frozen=True, slots=True)
class ArrayRow:
    """`failed` and `cancelled` of those whose result was read, which is `looked_at` of all that ended."""

    counts: Counts
    failed: int
    cancelled: int
    looked_at: int

    @property
    def text(self) -> str:
        """E.g. "90 waiting, 4 running, 5 done, 1 failed"; "3+ failed" where not all results were read."""
        more = "+" if self.looked_at < len(self.counts.ended) else ""
        parts = (
            (self.counts.held, "held"),
            (self.counts.waiting, "waiting"),
            (self.counts.active, "running"),
            (len(self.counts.ended) - self.failed - self.cancelled, "done"),
        )
        said = [f"{number:,} {word}" for number, word in parts if number]
        others = ((self.cancelled, "cancelled"), (self.failed, "failed"))
        return ", ".join([*said, *(f"{number:,}{more} {word}" for number, word in others if number)])


def array_rows(spool: Spool, families: Collection[str]) -> dict[str, ArrayRow]:
    """One for each of these arrays."""
    rows = {}
    for family, counts in count(spool, families).items():
        outcomes = [_outcome(spool, place.job_id) for place in counts.ended[:READ_AT_MOST]]
        failed = sum(outcome is None or "failed" in words_for(outcome) for outcome in outcomes)
        cancelled = sum(isinstance(outcome, Cancelled) for outcome in outcomes)
        rows[family] = ArrayRow(counts, failed, cancelled, len(outcomes))
    return rows


def _outcome(spool: Spool, job_id: str) -> Outcome | None:
    path = spool.paths.result(job_id, spool.attempt(job_id))
    try:
        return Result.from_document(files.read_document(path)).outcome
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return None
