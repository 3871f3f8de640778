"""Cancelling and killing from the command line: says what is done, and waits where that was asked."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Sequence

import click

from forgather_spool.cli.nudge import nudge, nudge_to_tell
from forgather_spool.errors import Missing, StorageFailed, UsageError, WaitedLongEnough
from forgather_spool.host import proc
from forgather_spool.job import Claim
from forgather_spool.spool.batch import help_along
from forgather_spool.spool.cancel import FEW, cancel_many
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.families import find_all, where
from forgather_spool.spool.follow import ENDED, UNCLAIMED, Follower
from forgather_spool.spool.look import Job, look
from forgather_spool.spool.place import Held, Place, Queued, Rejected
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.stop import Stopped, stop

Say = Callable[[str], object]

RUNNER_REACTS_S = 3.0  # to a forced kill; after this its scope gets the signal from here
LINES = 20  # of more jobs only the numbers are told
SCOPE_EMPTIES_S = 30.0  # after KILL to all; longer only for a process stuck in the kernel


def cancel_each(spool: Spool, texts: Sequence[str], by: str) -> dict[str, Stopped]:
    """Cancel or stop each; what came of it, in the order they are named.

    Raises:
        NoSuchJob: one of them is none; then nothing was done.
    """
    job_ids = find_all(spool, texts)
    came: dict[str, Stopped] = {}
    if len(job_ids) > FEW:
        at = where(spool, job_ids)
        came |= dict.fromkeys(_cancel_waiting_of(spool, at.values(), by), Stopped.CANCELLED)
        came |= {job_id: Stopped.HAD_ENDED for job_id, place in at.items() if isinstance(place, (Ended, Rejected))}
    for job_id in job_ids:
        if job_id not in came:
            came[job_id] = stop(spool, job_id, by)
    return {job_id: came[job_id] for job_id in job_ids}


def some_run(came: dict[str, Stopped]) -> bool:
    """Whether a dispatcher should look: its runner may be gone."""
    return not {Stopped.ASKED, Stopped.ASKED_BEFORE}.isdisjoint(came.values())


def _cancel_waiting_of(spool: Spool, places: Collection[Place], by: str) -> list[str]:
    """Cancel those that wait or are on hold, the last to start first."""
    waiting = [(-place.priority, place.job_id) for place in places if isinstance(place, Queued)]
    held = [(-place.priority, place.job_id) for place in places if isinstance(place, Held)]
    return cancel_many(spool, waiting[::-1], by) + cancel_many(spool, held, by, held=True)


def cancelled(came: dict[str, Stopped]) -> int:
    """How many were cancelled while they waited."""
    return sum(what is Stopped.CANCELLED for what in came.values())


def say_what_came(came: dict[str, Stopped]) -> None:
    """A line for each, or for each kind where they are many."""
    if len(came) <= LINES:
        for job_id, what in came.items():
            click.echo(f"{job_id}: {_SAID[what]}")
        return
    for what, said in _SAID.items():
        number = sum(one is what for one in came.values())
        if number:
            click.echo(f"{number:,} jobs: {said}")


def cancel_all_queued(spool: Spool, by: str) -> int:
    """Cancel what waits now, the last to start first; how many. What is claimed meanwhile runs on."""
    help_along(spool)
    return len(cancel_many(spool, spool.waiting()[::-1], by))


_SAID = {
    Stopped.CANCELLED: "cancelled while it waited",
    Stopped.ASKED: "asked to stop: TERM, then KILL after its grace",
    Stopped.ASKED_BEFORE: "had been asked to stop already",
    Stopped.HAD_ENDED: "had ended already",
}


def kill(spool: Spool, job_id: str, by: str, *, wait: bool, say: Say = click.echo) -> Job | None:
    """Stop it, and with `wait` return once it has ended. `say` gets a line on the way."""
    try:
        came_of_it = stop(spool, job_id, by)
    except StorageFailed as error:
        hint = f"{error.hint}; without any space: forgather job force-kill --yes {job_id}"
        raise StorageFailed(str(error), hint=hint) from None
    if came_of_it in (Stopped.ASKED, Stopped.ASKED_BEFORE):
        nudge(spool)
    else:
        nudge_to_tell(spool)
    say(f"{job_id}: {_SAID[came_of_it]}")
    if not wait:
        return None
    with Follower(spool, job_id) as follower:
        while (state := follower.look()) not in ENDED:
            if state in UNCLAIMED:
                stop(spool, job_id, by)  # its launch was put back after we asked
            follower.wait()
    return look(spool, job_id)


def force_kill(spool: Spool, job_id: str, by: str, *, say: Say = click.echo) -> Job:
    """KILL to everything of the job, through its runner or, when that does not react, from here. Returns once it ended.

    Raises:
        Missing: it runs on another host, whose dispatcher has to do it.
        StorageFailed: a full disk takes no request. What of it runs on this host was killed all the same.
        WaitedLongEnough: something of it cannot be killed, as a process stuck in a driver.
    """
    try:
        came_of_it = stop(spool, job_id, by, force=True)
    except StorageFailed as error:
        if _signal_scope(spool, look(spool, job_id)):
            message = f"job {job_id} was killed, which cannot be written down: {error}"
            raise StorageFailed(message, hint="free some space (df -h); it is listed as lost then") from None
        raise
    say(f"{job_id}: {_SAID_OF_FORCE.get(came_of_it, _SAID[came_of_it])}")
    with Follower(spool, job_id) as follower:
        try:
            follower.wait_until_ended(time.monotonic() + RUNNER_REACTS_S)
        except WaitedLongEnough:
            told = _signal_scope(spool, look(spool, job_id))
            nudge(spool)
            say(f"{job_id}: its runner does not react: KILL to the {told} processes of its scope")
            follower.wait_until_ended(time.monotonic() + SCOPE_EMPTIES_S)
    return look(spool, job_id)


_SAID_OF_FORCE = {Stopped.ASKED: "KILL to all its processes", Stopped.ASKED_BEFORE: "KILL was asked for already"}


def _signal_scope(spool: Spool, job: Job) -> int:
    """KILL to every process in the job's scope; how many there were."""
    claim = job.claim
    if claim is None:
        return 0
    if claim.host != proc.host_name():
        raise Missing(
            f"the runner of {job.job_id} does not react, and it is on {claim.host}", hint="do it on that host"
        )
    if claim.boot_id != proc.boot_id():
        return 0  # the machine was restarted: nothing of it lives
    if not _is_held_at(spool, job.job_id, claim):
        return 0
    return _signal_all(claim)


def _is_held_at(spool: Spool, job_id: str, claim: Claim) -> bool:
    """Stop the runner, and see whether it is at this job: without cards it may go on to another after its own."""
    from forgather_spool.host.process import send_signal

    pid, is_at_it = claim.runner_pid, False
    if not proc.is_alive(pid, claim.runner_start_ticks) or not send_signal(pid, signal.SIGSTOP):
        return True  # it ended here, and perhaps not all that it started
    try:
        while not proc.stands_still(pid):
            time.sleep(0.001)
        is_at_it = not spool.has_result(job_id, claim.attempt)
    finally:
        if not is_at_it:
            send_signal(pid, signal.SIGCONT)
    return is_at_it


def _signal_all(claim: Claim) -> int:
    from forgather_spool.host.detect import KIND_VARIABLE, detect

    host = detect({**os.environ, KIND_VARIABLE: claim.host_kind})
    try:
        host.adopt(claim.scope, claim.runner_pid, claim.runner_start_ticks)
        return host.signal(claim.scope, signal.SIGKILL)
    finally:
        host.close()


def require_yes(yes: bool) -> None:
    if not yes:
        raise UsageError("a job that is force-killed cannot save anything", hint="add --yes, or: forgather job kill")
