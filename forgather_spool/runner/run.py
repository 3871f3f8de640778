"""One attempt of one job, from its go to its result.

    (make ready)  ->  our claim?  ->  take the start  ->  prepare  ->  run, watch over it  ->  result  ->  done/

Taking the start is a rename that succeeds once: whoever fails it runs nothing.
From there on there is a result, unless this process is killed: then the empty
scope and the missing result say `lost`.
"""

from __future__ import annotations

import os
import sys

from forgather_spool import schema
from forgather_spool.again import may_follow
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, ForgatherError, StorageFailed, UnreadableFile
from forgather_spool.host import proc
from forgather_spool.runner import signals
from forgather_spool.runner.command import Command, find_cwd, find_program, write_script
from forgather_spool.runner.environment import job_environment
from forgather_spool.runner.family import Family
from forgather_spool.runner.journal_copy import JournalCopy
from forgather_spool.runner.output import OutputLog
from forgather_spool.runner.request import Request, over
from forgather_spool.runner.requests import StopRequests
from forgather_spool.runner.result import describe, leave_result, outcome_of
from forgather_spool.runner.spawn import Spawned, spawn
from forgather_spool.runner.supervise import Supervision
from forgather_spool.spool import files
from forgather_spool.spool import notices as notices  # the last step needs it: once in the nursery, not once a job
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def make_ready(request: Request, home: str) -> str | None:
    """Have what leads to the start on disk for good, while the scope comes up. A sentence: nothing may be run."""
    try:
        Spool(home).make_claim_durable(request.job_id, request.attempt)
        request.is_claim_durable = True
    except FileNotFoundError:
        return "its claim was withdrawn"
    except (StorageFailed, UnreadableFile) as error:
        return str(error)
    return None


def run_job(request: Request, problem: str | None, home: str, watch: Watch, over_fd: int = -1) -> bool:
    """Run it and leave its result; or, when the start is not ours to take, leave everything as it is.

    `problem` is what `make_ready` said, None if it was not asked. `over_fd` is told once nobody of the job is left.
    True: it lies in done/, nothing of it is left, and this process may run another.
    """
    caught = signals.Caught(signals.SIGCHLD, signals.SIGTERM)
    signals.ignore(*signals.IGNORED)
    spool = Spool(home)
    journal = JournalCopy(request.job_id)
    refusal = problem or _take_start(spool, request)
    if refusal is not None:
        journal.say(f"attempt {request.attempt} was not started: {refusal}")
        return False
    attempt = Attempt(spool, request, caught, watch, journal)
    result = attempt.run()
    _say_over(over_fd, request)
    watch.remove(spool.paths.attempt(request.job_id, request.attempt))  # to close it would take milliseconds
    is_over = leave_result(spool, request.entry, request.host, result, journal, is_last=lambda: attempt.is_last(result))
    journal.close()
    return is_over and signals.SIGTERM not in caught.close()


def _say_over(fd: int, request: Request) -> None:
    """The dispatcher may go on with the next job. Of the end it learns from done/, whether or not it hears this."""
    try:
        os.write(fd, over(request.job_id, request.attempt))
    except OSError:
        pass  # it has gone, or is far behind: the pipe is full


def _take_start(spool: Spool, request: Request) -> str | None:
    """None: the start is ours, durably. Otherwise why nothing may be run."""
    job_id = request.job_id
    if not os.path.lexists(spool.paths.taken(request.host, job_id, request.priority)):
        return f"it is not in running/{request.host}/"
    try:
        claim: dict[str, Any] = schema.check(
            files.read_document(spool.paths.claim(job_id, request.attempt)), schema.CLAIM
        )
    except (FileNotFoundError, BadDocument, UnreadableFile) as error:
        return f"its claim cannot be read: {error}"
    me = os.getpid()
    if claim["runner"] != {"pid": me, "start_ticks": proc.start_ticks(me)} or claim["attempt"] != request.attempt:
        return "its claim names another runner"
    try:
        is_ours = spool.start(job_id, request.attempt, is_claim_durable=request.is_claim_durable)
        return None if is_ours else "its claim was withdrawn"
    except (FileNotFoundError, StorageFailed, UnreadableFile) as error:
        # Perhaps renamed and not durable: a power cut could undo it, so nothing may run. Settled as lost.
        return str(error)


ISOLATED = ("-E", "-s", "-S")  # the job's PYTHONPATH is not for us
SNAPSHOT_MAIN = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/snapshot/__main__.py"


class Attempt:
    """A start that has been taken. `run` gives its result document."""

    def __init__(
        self, spool: Spool, request: Request, caught: signals.Caught, watch: Watch, journal: JournalCopy
    ) -> None:
        self._spool = spool
        self._request = request
        self._caught = caught
        self._watch = watch
        self._journal = journal
        self._started_at = utc_now()
        self._spec: dict[str, Any] | None = None  # None: it cannot be read

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
        try:
            spec: dict[str, Any] = self._spool.taken_spec(self._request.host, self._request.entry)
            self._spec = spec
            command = self._prepare(spec)
            family = Family(self._request.scope)
            output_path = self._spool.paths.output(self._request.job_id, self._request.attempt)
            log = OutputLog(output_path, spec["output_limit_bytes"])
            self._announce(command)
            spawned = spawn(command)
        except (ForgatherError, OSError) as error:
            return self._refused(str(error))
        self._note_process(spawned)
        requests = StopRequests(self._spool, self._request.job_id, self._request.attempt, self._watch)
        supervision = Supervision(spawned, spec, family, requests, self._caught, log, self._journal)
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

    def _prepare(self, spec: dict[str, Any]) -> Command:
        if spec["snapshot"] is not None:
            return self._prepare_snapshot(spec)
        env = job_environment(self._request, spec, self._spool.paths.home)
        cwd = find_cwd(spec["cwd"], env)
        argv = list(spec["argv"])
        if spec["script"] is not None:
            program = self._spool.paths.script(self._request.job_id, self._request.attempt)
            write_script(program, spec["script"])
        else:
            program = find_program(argv[0], cwd, env)
        return Command(program, argv, cwd, env, spec["tty"])

    def _prepare_snapshot(self, spec: dict[str, Any]) -> Command:
        """What makes its worktree and becomes the command there; that its own directory stands is no matter."""
        request, paths = self._request, self._spool.paths
        env = job_environment(request, spec, paths.home)
        script = ""
        if spec["script"] is not None:
            script = paths.script(request.job_id, request.attempt)
            write_script(script, spec["script"])
        spec_path = paths.taken(request.host, request.job_id, request.priority)
        words = ["enter", paths.home, request.job_id, spec_path, script]
        return Command(sys.executable, [sys.executable, *ISOLATED, SNAPSHOT_MAIN, *words], paths.home, env, spec["tty"])

    def _announce(self, command: Command) -> None:
        """Only the program's name: arguments may hold secrets, and the journal is read by others."""
        cards = ", ".join(str(gpu["index"]) for gpu in self._request.gpus)
        name = os.path.basename(command.argv[0])
        on = f"on {self._request.host}" + (f", GPUs {cards}" if cards else "")
        self._journal.say(f"attempt {self._request.attempt}: starting {name} in {command.cwd} {on}")

    def _note_process(self, spawned: Spawned) -> None:
        """Of interest only while it runs; whatever goes wrong here, the command is there and is to be watched over."""
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
