"""Jobs whose dependencies can never be met: each is refused, or put on hold, as its spec says.

A refused job is itself one that did not end well, so those after it may be
next: they are asked about at once, with the same policy, until the chain ends
or the pass has done enough. Refusing costs a few files; finding out that the
whole queue has to be looked at again after each would cost a pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from forgather_spool import policy, schema
from forgather_spool.dispatcher.deciding import Deciding
from forgather_spool.errors import AlreadyClaimed
from forgather_spool.spool import order
from forgather_spool.spool.names import Entry, family_of
from forgather_spool.spool.queue import Spool, utc_now

MOST_PER_PASS = 200  # each costs a few files; then others have their turn


class Unmet:
    """Ends them on one host. `despite_trouble` takes a step that the file system may refuse."""

    def __init__(
        self,
        spool: Spool,
        host_name: str,
        say: Callable[[str], None],
        despite_trouble: Callable[[Callable[[], None]], None],
    ) -> None:
        self._spool = spool
        self._host_name = host_name
        self._say = say
        self._despite_trouble = despite_trouble

    def end(self, deciding: Deciding) -> None:
        """Those of the last decision and all that can never start since, `MOST_PER_PASS` of them.

        The next decision finds the rest.
        """
        decision = deciding.decision
        if decision is None or not decision.never_met:
            return
        coming_after = deciding.waitlist.coming_after()
        found = deque(decision.never_met)
        for _ in range(MOST_PER_PASS):
            if not found:
                return
            job = found.popleft()
            self._despite_trouble(partial(self._end_one, deciding, job))
            names = (job.job_id, family_of(job.job_id) or "")
            after = deciding.waiting(entry for name in names for entry in coming_after.get(name, ()))
            if after:
                found += policy.decide(after, decision.after).never_met

    def _end_one(self, deciding: Deciding, job: policy.NeverMet) -> None:
        entry = (-job.priority, job.job_id)
        deciding.waitlist.remove(entry)
        if job.then == "hold":
            order.hold(self._spool, [entry])
            self._say(f"{job.job_id}: on hold: {job.reason}")
        elif refuse(self._spool, entry, self._host_name, f"can never start: {job.reason}"):
            deciding.may_have_ended(job.job_id)
            self._say(f"{job.job_id}: refused: {job.reason}")


def refuse(spool: Spool, entry: Entry, host_name: str, reason: str) -> bool:
    """End a waiting job that can never start. False: it waits no longer.

    Killed after the claim: there is no claim.json, so it is put back and refused again. Killed after the result: it
    is finished by whoever sees it.
    """
    try:
        spool.claim(entry, host_name)
    except AlreadyClaimed:
        return False
    now, attempt = utc_now(), spool.attempt(entry[1])
    outcome = {"kind": "refused", "reason": reason}
    document = {"version": schema.VERSION, "attempt": attempt, "outcome": outcome, "started_at": None, "ended_at": now}
    spool.write_result(entry[1], document, attempt)
    spool.finish(entry, host_name, now)
    return True
