"""Settling what lies in running/: each job's next step, taken until it is done or runs.

The facts come from the machine (is its runner alive, does its scope hold a
process) and from the job's folder; `steps.next_step` names the step. Running
this twice, or in two processes at once, does no harm: every step is a rename
or a create-once.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from forgather_spool import schema
from forgather_spool.dispatcher.steps import Facts, Step, next_step
from forgather_spool.dispatcher.view import claim_of_attempt
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, StorageFailed, UnreadableFile
from forgather_spool.host import proc
from forgather_spool.host.base import Host, scope_name
from forgather_spool.job import Claim, format_at, parse_at
from forgather_spool.spool import attempts, files
from forgather_spool.spool.names import Entry
from forgather_spool.spool.next_attempt import next_attempt
from forgather_spool.spool.output import written_bytes
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.reject import reject

REMAINS_GRACE_S = 10.0  # between TERM and KILL for what a dead runner left behind


class Settler:
    """Takes the next step of taken jobs. `say` gets one line for each step a person may want to know of."""

    def __init__(self, spool: Spool, host: Host, host_name: str, boot_id: str, say: Callable[[str], None]) -> None:
        self._spool = spool
        self._host = host
        self._host_name = host_name
        self._boot_id = boot_id
        self._say = say
        self._kill_at: dict[str, float] = {}  # job id to the monotonic deadline for its remains

    def settle(self, entry: Entry) -> Claim | None:
        """Take what steps there are. The claim of a job that still runs or launches; None once it has moved on.

        Raises:
            StorageFailed: the step could not be taken now; come again.
        """
        while files.exists(self._spool.paths.taken(self._host_name, entry[1], -entry[0])):
            attempt = self._spool.attempt(entry[1])
            claim = claim_of_attempt(self._spool, entry[1], attempt)
            had_ended = self._spool.has_result(entry[1], attempt)
            coming = self._another(entry, attempt) if had_ended else None
            facts = self._facts(entry, attempt, claim, had_ended=had_ended, again=coming is not None)
            if facts.result and not had_ended:
                continue  # its runner wrote it in this moment: whether another attempt follows is not decided yet
            step = next_step(facts)
            if step is Step.WAIT:
                return claim
            if step is Step.END_REMAINS:
                self._end_remains(entry, attempt)
                return claim
            if step is Step.PUT_BACK and not self._put_back(entry, attempt):
                continue  # a runner took the start in this moment
            if step is Step.LOSE:
                self._lose(entry, attempt, claim)
                continue  # and then it has a result as every other
            if step is Step.AGAIN and coming is not None and not self._run_again(entry, attempt, coming):
                continue  # somebody else did, and it may run by now
            if step is Step.FINISH:
                self._finish(entry, attempt)
            break
        self._kill_at.pop(entry[1], None)
        return None

    def settle_cancelled(self) -> None:
        """Finish cancels whose author died in between. Raises StorageFailed: some could not be."""
        for entry in self._spool.taken(CANCEL):
            self._spool.end_unstarted(entry, CANCEL, "a cancel that was interrupted")

    def _another(self, entry: Entry, attempt: int) -> Document | None:
        """The ``again.json`` of the attempt that is to follow this one, which has ended; None: none is."""
        path = self._spool.paths.taken(self._host_name, entry[1], -entry[0])
        try:
            return next_attempt(self._spool, entry[1], attempt, path)
        except FileNotFoundError:
            return None  # somebody else has put it away
        except (BadDocument, UnreadableFile) as error:
            self._say(f"{entry[1]}: {error}; it is not run again")
            return None

    def _run_again(self, entry: Entry, attempt: int, document: Document) -> bool:
        """False: the next attempt was there already.

        Killed after `make`, the job lies in running/ with an attempt that has no
        claim: put back on the next pass. A stop that was asked for between the
        decision and `make` counts: whoever asked looks for a new attempt after that.
        """
        if not attempts.make(self._spool.paths, entry[1], attempt + 1, document):
            return False
        asked_by = self._spool.asked_to_stop_by(entry[1], attempt)
        if asked_by is not None:
            self._spool.end_unstarted(entry, self._host_name, asked_by)
            return True
        self._spool.put_back(entry, self._host_name)
        when = "" if document["not_before_at"] is None else f", not before {document['not_before_at']}"
        self._say(f"{entry[1]}: attempt {attempt + 1} waits ({document['reason']}){when}")
        return True

    def _facts(self, entry: Entry, attempt: int, claim: Claim | None, *, had_ended: bool, again: bool) -> Facts:
        if had_ended and not again:
            # What a runner leaves: no need to search the machine for its scope.
            return Facts(started=True, result=True, runner_alive=False, scope_populated=False)
        same_boot = claim is None or claim.boot_id == self._boot_id
        alive = claim is not None and same_boot and proc.is_alive(claim.runner_pid, claim.runner_start_ticks)
        populated = same_boot and not alive and not again and self._is_populated(scope_name(entry[1], attempt))
        started = self._spool.has_started(entry[1], attempt)
        result = self._spool.has_result(entry[1], attempt)
        return Facts(started=started, result=result, runner_alive=alive, scope_populated=populated, again=again)

    def _is_populated(self, scope: str) -> bool:
        # The claim may be of the other kind of host: the user manager can have come or gone since. The runner
        # gives every process FORGATHER_SCOPE on either.
        return bool(self._host.members(scope) or proc.pids_with_env("FORGATHER_SCOPE", scope))

    def _put_back(self, entry: Entry, attempt: int) -> bool:
        """False: the claim was there a moment ago and is now a start."""
        self._spool.withdraw_claim(entry[1], attempt)
        if self._spool.has_started(entry[1], attempt):
            return False
        self._spool.put_back(entry, self._host_name)
        self._say(f"{entry[1]}: put back; its launch was interrupted before anything ran")
        return True

    def _end_remains(self, entry: Entry, attempt: int) -> None:
        now = time.monotonic()
        scope = scope_name(entry[1], attempt)
        if entry[1] not in self._kill_at:
            self._kill_at[entry[1]] = now + REMAINS_GRACE_S
            self._say(f"{entry[1]}: its runner is gone; TERM to the {self._host.signal(scope, signal.SIGTERM)} left")
        elif now >= self._kill_at[entry[1]]:
            self._host.signal(scope, signal.SIGKILL)

    def _lose(self, entry: Entry, attempt: int, claim: Claim | None) -> None:
        rebooted = claim is not None and claim.boot_id != self._boot_id
        reason = "the machine was restarted while it ran" if rebooted else "its runner ended without leaving a result"
        asked_by = self._spool.asked_to_stop_by(entry[1], attempt)
        outcome: Document = {"kind": "lost", "reason": reason}
        if asked_by is not None:
            outcome = {"kind": "cancelled", "by": asked_by}
        document: Document = {
            "version": schema.VERSION,
            "attempt": attempt,
            "outcome": outcome,
            "started_at": self._started_at(entry, attempt),
            "ended_at": utc_now(),
            "output_bytes": self._output_bytes(entry, attempt),
        }
        if self._spool.write_result(entry[1], document, attempt):
            self._say(f"{entry[1]}: {outcome['kind']}: {reason}")

    def _finish(self, entry: Entry, attempt: int) -> None:
        path = self._spool.paths.result(entry[1], attempt)
        try:
            ended_at = format_at(parse_at(str(files.read_document(path)["ended_at"])))
        except (BadDocument, UnreadableFile, KeyError) as error:
            # A damaged result must not keep the job in running/ for ever: the day is today's, the file stays as it is.
            self._say(f"{entry[1]}: {error}")
            ended_at = utc_now()
        self._spool.finish(entry, self._host_name, ended_at)

    def _started_at(self, entry: Entry, attempt: int) -> str | None:
        try:
            started_at = files.read_document(self._spool.paths.process(entry[1], attempt)).get("started_at")
        except (FileNotFoundError, BadDocument, UnreadableFile):
            return None
        return started_at if isinstance(started_at, str) else None

    def _output_bytes(self, entry: Entry, attempt: int) -> int | None:
        return written_bytes(self._spool.paths.output(entry[1], attempt))

    def set_aside_bad_specs(self) -> None:
        """A spec in running/ that nobody can read, of a job that has not started, goes to rejected/."""
        for entry in self._spool.taken(self._host_name):
            attempt = self._spool.attempt(entry[1])
            if self._spool.has_started(entry[1], attempt) or self._spool.has_result(entry[1], attempt):
                continue
            try:
                self._spool.taken_spec(self._host_name, entry)
            except (FileNotFoundError, StorageFailed):
                continue
            except (BadDocument, UnreadableFile) as error:
                path = self._spool.paths.taken(self._host_name, entry[1], -entry[0])
                self._say(f"{entry[1]}: rejected: {error}")
                reject(self._spool, path, str(error), error.hint)
