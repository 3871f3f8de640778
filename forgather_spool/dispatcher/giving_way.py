"""Preemption carried out: from the policy's word to a victim that has let go of its cards.

    preempt.json  ->  a trainer that lives: save_and_stop  ->  its answer, its end
                  ->  anything else, or no end in time: give_way.json (TERM, grace, KILL by its runner)

Every step looks at what stands on disk, so a dispatcher that is killed in
between is followed by one that goes on from there; asking twice asks once. That
the victim then comes back is `again.py`'s; that its cards are free, the scope's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.job import Claim, format_at, parse_at
from forgather_spool.policy import Preempt
from forgather_spool.spool import preempt
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.queue import Spool
from forgather_spool.trainers import look_after

SAVE_PATIENCE_S = 600.0  # for a trainer to save and to end: large checkpoints take minutes
LOOK_S = 1.0  # how often a victim that was asked is looked at


class GivingWay:
    """The running jobs of this host that were asked for their cards. `say` gets a line for each step."""

    def __init__(self, spool: Spool, say: Callable[[str], None]) -> None:
        self._spool = spool
        self._say = say
        self._asked: dict[str, int] = {}  # job id to the attempt that was asked
        self._since: dict[tuple[str, int], float] = {}  # monotonic: when we first saw that; the clock may be set back

    def __len__(self) -> int:
        return len(self._asked)

    def resume(self, claims: Mapping[str, Claim]) -> None:
        """Take over what an earlier dispatcher had begun."""
        for job_id, claim in claims.items():
            if self._spool.is_asked_to_give_way(job_id, claim.attempt):
                self._asked[job_id] = claim.attempt

    def ask_each(self, wishes: Sequence[Preempt], claims: Mapping[str, Claim]) -> None:
        """Want the victims' cards. Nothing new where they are wanted already; who no longer runs is passed over."""
        for wish in wishes:
            victim, claim = wish.victim_job_id, claims.get(wish.victim_job_id)
            if claim is None:
                continue
            if preempt.want(self._spool.paths, victim, claim.attempt, wish.for_job_id):
                self._say(f"{victim}: asked to give its cards to {wish.for_job_id}")
            self._asked[victim] = claim.attempt

    def go_on(self, claims: Mapping[str, Claim], now: datetime | None = None) -> None:
        """The next step of each victim; those that no longer run are forgotten. Call it every `LOOK_S`."""
        for job_id, attempt in list(self._asked.items()):
            claim = claims.get(job_id)
            if claim is None or claim.attempt != attempt:
                del self._asked[job_id]
                self._since.pop((job_id, attempt), None)
            else:
                self._go_on_with(job_id, attempt, now or datetime.now(UTC))

    def _go_on_with(self, job_id: str, attempt: int, now: datetime) -> None:
        try:
            wanted = preempt.wanted_by(self._spool.paths, job_id, attempt)
            asked_at = now if wanted is None else parse_at(str(wanted["at"]))
        except (BadDocument, UnreadableFile) as error:
            self._say(f"{job_id}: {error}; it is not asked for its cards")
            del self._asked[job_id]
            return
        if wanted is None or preempt.is_told_to_end(self._spool.paths, job_id, attempt):
            return
        until = asked_at + timedelta(seconds=SAVE_PATIENCE_S)
        waited_s = time.monotonic() - self._since.setdefault((job_id, attempt), time.monotonic())
        if (
            now < until
            and waited_s < SAVE_PATIENCE_S
            and self._trainer_is_at_it(Mailbox(self._spool.paths, job_id, attempt), str(wanted["by"]), until)
        ):
            return
        preempt.tell_to_end(self._spool.paths, job_id, attempt, by=str(wanted["by"]))

    def _trainer_is_at_it(self, mailbox: Mailbox, by: str, until: datetime) -> bool:
        """Whether a trainer lives that was sent `save_and_stop` and has not said no."""
        try:
            lives = look_after(mailbox).alive
        except (FileNotFoundError, BadDocument, UnreadableFile):
            return bool(preempt.sent(mailbox, by)) and not preempt.was_declined(mailbox, by)
        if not lives:
            return False
        if not preempt.sent(mailbox, by):
            mailbox.post(preempt.SAVE_AND_STOP, by=by, deadline_at=format_at(until))
            self._say(f"{mailbox.job_id}: its trainer was asked to save and stop")
        return not preempt.was_declined(mailbox, by)
