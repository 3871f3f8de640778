"""What waits on one host, and the decision over it: asked of the policy anew in each pass.

Brings together what a decision rests on (the waiting jobs, how their
dependencies stand, the cards as NVML shows them, who holds what) and remembers
until when a job whose launch failed is left out. Starts nothing: carrying out
what is decided is the loop's, ending what can never start is `unmet.py`'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from forgather_spool import policy
from forgather_spool.dispatcher.dependencies import Dependencies
from forgather_spool.dispatcher.view import view_of
from forgather_spool.dispatcher.waitlist import Waitlist
from forgather_spool.errors import ForgatherError, StorageFailed
from forgather_spool.gpu import Gpu
from forgather_spool.job import Claim
from forgather_spool.spool.names import Entry, family_of
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject

BELT_S = 60.0  # look at everything this often, whatever was or was not heard
CARDS_POLL_S = 5.0  # while a job waits for a card that is not ours to free
RETRY_S = 1.0  # until a launch that failed is tried again; doubles up to RETRY_MAX_S
RETRY_MAX_S = 60.0


class Deciding:
    """The waiting jobs of `spool` and the last `decision`, None while nothing waits.

    `on_trouble` as for `view_of`.
    """

    def __init__(self, spool: Spool, say: Callable[[str], None], on_trouble: Callable[[StorageFailed], None]) -> None:
        self._spool = spool
        self._say = say
        self._on_trouble = on_trouble
        self.waitlist = Waitlist(spool, self._reject, lambda entry, error: self.try_later(entry[1], str(error)))
        self.dependencies = Dependencies(spool)
        self.gpus: tuple[Gpu, ...] = ()
        self.nvml_problem: str | None = None
        self.decision: policy.Decision | None = None
        self._close_nvml: Callable[[], None] = lambda: None
        self._no_card_until = 0.0
        self._card_holders: set[str] = set()
        self._not_before: dict[str, tuple[float, float]] = {}  # job id: when to try again, the pause after that

    def look(self) -> None:
        """Look at the directories themselves; what was heard before does not count."""
        self.waitlist.load()
        self.dependencies.forget_unended()
        awaited = self.waitlist.awaited()
        self.waitlist.may_have_ended(*(job_id for job_id in awaited if not self.dependencies.is_awaited(job_id)))

    def may_have_ended(self, job_id: str) -> None:
        """Its spec has left a folder."""
        self.dependencies.may_have_ended(job_id)
        self.waitlist.may_have_ended(job_id, family_of(job_id) or job_id)

    def decide(self, claims: Mapping[str, Claim], lingering: Mapping[str, Claim]) -> policy.Decision | None:
        """As of now; the arguments are those of `view_of`. None: nothing waits."""
        if not len(self.waitlist):
            self.decision = None
            return None
        knew = self.waitlist.wants_cards
        self.decision = self._ask(claims, lingering)
        if self.waitlist.wants_cards and not knew:
            self.decision = self._ask(claims, lingering)  # the first job that wants a card was only now read
        elif not (knew or self.waitlist.knows_all or self.waitlist.has_unread or self.decision.after.paused):
            self._look_for_room(claims, lingering)
        return self.decision

    def _look_for_room(self, claims: Mapping[str, Claim], lingering: Mapping[str, Claim]) -> None:
        """No room without a card, and no card looked at: that left jobs unread that may want one.

        Where they are left unread with the cards looked at there is no room on those either, until one of our jobs
        leaves its cards or `CARDS_POLL_S` is over: to open NVML costs milliseconds, in each pass.
        """
        holders = {job_id for some in (claims, lingering) for job_id, claim in some.items() if claim.gpus}
        now = time.monotonic()
        if now >= self._no_card_until or holders != self._card_holders:
            self.decision = self._ask(claims, lingering, look_at_cards=True)
            some_were_read = self.waitlist.knows_all or self.waitlist.has_unread
            self._no_card_until = now if some_were_read else now + CARDS_POLL_S
            self._card_holders = holders

    def _ask(
        self, claims: Mapping[str, Claim], lingering: Mapping[str, Claim], *, look_at_cards: bool = False
    ) -> policy.Decision:
        if look_at_cards or self.waitlist.wants_cards:
            from forgather_spool.host import nvml  # most jobs want none: their start does not wait for this to load

            self._close_nvml = nvml.close
            reading = nvml.read_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
            self.gpus, self.nvml_problem = reading.gpus, reading.problem
        else:
            self._close_nvml()  # an open NVML keeps the driver from being unloaded and cards from being reset
        now, given_up = time.monotonic(), policy.GivenUp()
        is_not_due = lambda job_id: self._not_before.get(job_id, (0.0, 0.0))[0] > now  # noqa: E731
        due = self.waitlist.candidates(is_not_due, given_up, self.dependencies.state)
        view = view_of(self._spool, claims, lingering, self.gpus, self.nvml_problem, self._on_trouble)
        return policy.decide(due, view, given_up)

    def waiting(self, entries: Iterable[Entry]) -> list[policy.Waiting]:
        """Those of `entries` that still wait, as the policy sees them now."""
        return self.waitlist.waiting(entries, self.dependencies.state)

    def reasons(self, most: int) -> dict[str, str]:
        """Why the first `most` jobs wait, by job id, as of the last decision."""
        if self.decision is None:
            return {}
        first = self.waitlist.first(most, self.dependencies.state)
        return {job_id: reason.text for job_id, reason in self.decision.reasons(first).items()}

    def try_later(self, job_id: str, reason: str) -> None:
        """It was not to be started: leave it out for a while, longer each time."""
        _, pause_s = self._not_before.get(job_id, (0.0, RETRY_S))
        self._not_before[job_id] = (time.monotonic() + pause_s, min(2 * pause_s, RETRY_MAX_S))
        self._say(f"{job_id}: not started: {reason}; again in {pause_s:g} s")

    def started(self, job_id: str) -> None:
        """What failed before is forgotten."""
        self._not_before.pop(job_id, None)

    def patience_s(self) -> float:
        """How long no decision becomes due by the clock alone."""
        if self.waitlist.has_unread:
            return 0.0
        patience_s = BELT_S
        if self._not_before and len(self.waitlist):
            patience_s = min(patience_s, min(at for at, _ in self._not_before.values()) - time.monotonic())
        if self.decision is not None:
            patience_s = min(patience_s, self._due_s(self.decision))
        return patience_s

    def _due_s(self, decision: policy.Decision) -> float:
        """Until a job's time has come, or cards are looked at for a change nobody tells us of."""
        due_s = CARDS_POLL_S if decision.watch_cards and self.waitlist.wants_cards else BELT_S
        if decision.look_again_at is not None:
            due_s = min(due_s, (decision.look_again_at - datetime.now(UTC)).total_seconds())
        return due_s

    def _reject(self, entry: Entry, error: ForgatherError) -> None:
        reject(self._spool, self._spool.paths.queued(entry[1], -entry[0]), str(error), error.hint)
        self._say(f"{entry[1]}: rejected: {error}")
