"""What one row of `sched list` says of a whole array: how many members wait, run, are done, have failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.job import Result
from forgather_spool.outcome import Cancelled, Outcome, words_for
from forgather_spool.spool import files
from forgather_spool.spool.families import Counts, count
from forgather_spool.spool.names import Entry
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
        """E.g. "90 waiting, 4 running, 5 done, 1 failed". Where not all results were read, it says of how many."""
        counts = self.counts
        ended = len(counts.ended)
        standing = [(counts.held, "held"), (counts.waiting, "waiting"), (counts.active, "running")]
        how = [(self.cancelled, "cancelled"), (self.failed, "failed")]
        if self.looked_at == ended:
            return _listed([*standing, (ended - self.failed - self.cancelled, "done"), *how])
        looked_at = _listed(how) or "none failed"
        return f"{_listed([*standing, (ended, 'ended')])} (of the {self.looked_at:,} looked at {looked_at})"


def _listed(numbers: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{number:,} {word}" for number, word in numbers if number)


def array_rows(spool: Spool, families: Collection[str], waiting: Sequence[Entry] | None = None) -> dict[str, ArrayRow]:
    """One for each of these arrays; `waiting` is what waited a moment ago."""
    rows = {}
    for family, counts in count(spool, families, waiting).items():
        outcomes = [_outcome(spool, job_id) for job_id in counts.ended[:READ_AT_MOST]]
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
