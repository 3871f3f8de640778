"""One attempt of one job, from its go to its result.

    make ready (`ready.py`)  ->  take the start  ->  spawn, then say so  ->  watch over it  ->  result  ->  done/

Taking the start is a rename that succeeds once: whoever fails it runs nothing.
Between it and the command stands only what needs it. From there on there is a
result, unless this process is killed: then the empty scope and the missing
result say `lost`.
"""

from __future__ import annotations

import os

from forgather_spool import schema
from forgather_spool.again import may_follow
from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError, StorageFailed
from forgather_spool.host import proc
from forgather_spool.runner import signals
from forgather_spool.runner.command import Command
from forgather_spool.runner.family import Family
from forgather_spool.runner.output import OutputLog
from forgather_spool.runner.ready import Ready
from forgather_spool.runner.request import Request, over
from forgather_spool.runner.requests import StopRequests
from forgather_spool.runner.result import describe, leave_result, outcome_of
from forgather_spool.runner.spawn import Spawned, spawn
from forgather_spool.runner.supervise import Supervision
from forgather_spool.spool import files
from forgather_spool.spool import notices as notices  # the last step needs it: once in the nursery, not once a job
from forgather_spool.spool.queue import utc_now
from forgather_spool.spool.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run_job(ready: Ready, watch: Watch, over_fd: int = -1) -> bool:
    """Run it and leave its result; or, when the start is not ours to take, leave everything as it is.

    `over_fd` is told once nobody of the job is left.
    True: it lies in done/, nothing of it is left, and this process may run another.
    """
    request, spool, journal = ready.request, ready.spool, ready.journal
    caught = signals.Caught(signals.SIGCHLD, signals.SIGTERM)
    signals.ignore(*signals.IGNORED)
    refusal = ready.take_start()
    if refusal is not None:
        journal.say(f"attempt {request.attempt} was not started: {refusal}")
        return False
    attempt = Attempt(ready, caught, watch)
    result = attempt.run()
    _say_over(over_fd, request)
    watch.remove(spool.paths.attempt(request.job_id, request.attempt))  # closing it takes milliseconds
    is_over = leave_result(
        spool, request.entry, request.host, result, journal, spec=ready.spec, is_last=lambda: attempt.is_last(result)
    )
    journal.close()
    return is_over and signals.SIGTERM not in caught.close()


def _say_over(fd: int, request: Request) -> None:
    """The dispatcher may go on with the next job. Of the end it learns from done/, whether or not it hears this."""
    try:
        os.write(fd, over(request.job_id, request.attempt))
    except OSError:
        pass  # it has gone, or is far behind: the pipe is full


class Attempt:
    """A start that has been taken. `run` gives its result document."""

    def __init__(self, ready: Ready, caught: signals.Caught, watch: Watch) -> None:
        self._ready = ready
        self._spool = ready.spool
        self._request = ready.request
        self._spec = ready.spec
        self._caught = caught
        self._watch = watch
        self._journal = ready.journal
        self._started_at = utc_now()

    def is_last(self, result: dict[str, Any]) -> bool:
        """Whether no attempt may follow one that ended with `result`, which stands on disk. In doubt one may."""
        if self._spec is None:
            return True
        try:
            preempted = self._spool.is_asked_to_give_way(self._request.job_id, self._request.attempt)
        except StorageFailed:
            return False
        return not may_follow(self._spec, result["outcome"], preempted=preempted)

    def run(self) -> dict[str, Any]:
        command, spec = self._ready.command, self._spec
        if command is None or spec is None:
            return self._refused(self._ready.refusal)
        try:
            self._ready.write_script()
            family = Family(self._request.scope if self._ready.has_scope else None)
            output_path = self._spool.paths.output(self._request.job_id, self._request.attempt)
            log = OutputLog(output_path, spec["output_limit_bytes"])
            spawned = spawn(command)
        except (ForgatherError, OSError) as error:
            return self._refused(str(error))
        self._announce(command)
        requests = StopRequests(self._spool, self._request.job_id, self._request.attempt, self._watch)
        supervision = Supervision(
            spawned, spec, family, requests, self._caught, log, self._journal, lambda: self._note_process(spawned)
        )
        wait_status = supervision.run()
        log.close()
        outcome = outcome_of(wait_status, supervision.stopping.asked, family.was_hit_by_oom())
        self._journal.say(f"ended: {describe(outcome)}")
        if log.bytes_lost:
            self._journal.say(f"{log.bytes_lost} bytes of output are lost: output.log: {log.trouble}", priority=3)
        return self._result(
            outcome,
            cpu_s=round(family.cpu_s(), 3),
            peak_memory_bytes=family.peak_memory_bytes(),
            output_bytes=log.bytes_seen,
            output_lost_bytes=log.bytes_lost,
            output_omitted_bytes=log.bytes_omitted,
            journal_dropped_lines=self._journal.dropped_lines,
            steps=supervision.stopping.steps,
        )

    def _announce(self, command: Command) -> None:
        """Only the program's name: arguments may hold secrets, and the journal is read by others."""
        cards = ", ".join(str(gpu["index"]) for gpu in self._request.gpus)
        name = os.path.basename(command.argv[0])
        on = f"on {self._request.host}" + (f", GPUs {cards}" if cards else "")
        self._journal.say(f"attempt {self._request.attempt}: starting {name} in {command.cwd} {on}")

    def _note_process(self, spawned: Spawned) -> None:
        """Of interest only while it runs; whatever goes wrong here, it is to be watched over."""
        try:
            process: Document = {
                "version": schema.VERSION,
                "pid": spawned.pid,
                "start_ticks": proc.start_ticks(spawned.pid) or 0,
                "started_at": self._started_at,
            }
            path = self._spool.paths.process(self._request.job_id, self._request.attempt)
            files.note(path, process, self._spool.paths.tmp)
        except (StorageFailed, OSError) as error:
            self._journal.say(str(error), priority=4)

    def _refused(self, reason: str) -> dict[str, Any]:
        self._journal.say(f"refused: {reason}", priority=3)
        return self._result({"kind": "refused", "reason": reason})

    def _result(self, outcome: Document, **facts: object) -> dict[str, Any]:
        return {
            "version": schema.VERSION,
            "attempt": self._request.attempt,
            "outcome": outcome,
            "started_at": self._started_at,
            "ended_at": utc_now(),
            **facts,
        }
