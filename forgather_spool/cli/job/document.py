"""A job as the JSON that `sched list --json` and `job status --json` print.

These keys are a promise to scripts; all are always there, null where there is
no such fact:

    job_id, state, problem                      problem: which file cannot be read and why
    name, type, group, argv, cwd, priority, gpus       as submitted
    reason {code, text}                         why it waits; of jobs on hold, what can never be met
    attempt                                     its current one, from 1; the keys below are of that
    host, host_kind, scope, cards [{index, uuid}]
    submitted_at, claimed_at, started_at, ended_at
    outcome {kind, ...}, exit_status            as in result.json, and what a shell would show for it
    cpu_s, peak_memory_bytes, output_bytes, steps [{at, did}]
    output_path
    again {reason, gave_way_to, text}           why there is an attempt after the first: retry, requeue, preempted
    attempts [{attempt, host, scope, outcome, started_at, ended_at, output_path}]   all of them, first to last
    notified [{target, problem, tries, ended_at}]   who was told of its end; problem: why that failed
    training                                    its trainer's status.json: global_step, max_steps, epoch, metrics ...
"""

from __future__ import annotations

import json
import shlex
from datetime import datetime

from forgather_spool.cli.spans import from_unix
from forgather_spool.document import Document
from forgather_spool.host import proc
from forgather_spool.job import JobSpec, State, format_at
from forgather_spool.outcome import exit_status_of, outcome_as_document
from forgather_spool.pending import PendingReason
from forgather_spool.spool.look import AttemptSeen, Job, attempts_of
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.names import FIRST_ATTEMPT, is_job_id, submitted_unix_s
from forgather_spool.spool.notices import told
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import Spool


def job_document(spool: Spool, job: Job, reason: PendingReason | None = None) -> Document:
    """The keys above. A rejected file has its name for an id."""
    paths = spool.paths
    spec, claim, result = job.spec, job.claim, job.result
    return {
        "job_id": job.job_id,
        "state": state_now(job).value,
        "problem": job.problem,
        "name": spec and spec.name,
        "type": spec and spec.type,
        "group": spec and spec.group,
        "argv": spec and list(spec.argv),
        "cwd": spec and spec.cwd,
        "priority": job.priority,
        "gpus": spec and spec.gpus,
        "reason": reason and {"code": reason.code, "text": reason.text},
        "host": job.host,
        "host_kind": claim and claim.host_kind,
        "scope": claim and claim.scope,
        "attempt": job.attempt,
        "cards": [ref.as_document() for ref in claim.gpus] if claim else [],
        "submitted_at": _at(submitted_at(job)),
        "claimed_at": _at(claim.claimed_at if claim else None),
        "started_at": _at(job.started_at),
        "ended_at": _at(result.ended_at if result else None),
        "outcome": result and outcome_as_document(result.outcome),
        "exit_status": result and exit_status_of(result.outcome),
        **{
            key: result and result.document.get(key)
            for key in ("cpu_s", "peak_memory_bytes", "output_bytes", "output_omitted_bytes")
        },
        "steps": (result.document.get("steps") if result else None) or [],
        "output_path": paths.output(job.job_id, job.attempt) if is_job_id(job.job_id) else None,
        "again": job.again
        and {"reason": job.again.reason, "gave_way_to": job.again.gave_way_to, "text": job.again.text},
        "attempts": _attempts(spool, job),
        "notified": _notified(paths, job),
        "training": training_status(paths, job.job_id),
    }


def _attempts(spool: Spool, job: Job) -> list[Document]:
    """One object for a job that ran once; nothing more is read for it."""
    if not is_job_id(job.job_id):
        return []
    if job.attempt == FIRST_ATTEMPT:
        path = spool.paths.output(job.job_id, FIRST_ATTEMPT)
        once = AttemptSeen(attempt=FIRST_ATTEMPT, claim=job.claim, result=job.result, output_path=path, problem=None)
        return [_attempt(once, job.started_at)]
    return [_attempt(seen, None) for seen in attempts_of(spool, job.job_id)]


def _attempt(seen: AttemptSeen, started_at: datetime | None) -> Document:
    claim, result = seen.claim, seen.result
    return {
        "attempt": seen.attempt,
        "host": claim and claim.host,
        "scope": claim and claim.scope,
        "outcome": result and outcome_as_document(result.outcome),
        "started_at": _at(result.started_at if result else started_at),
        "ended_at": _at(result.ended_at if result else None),
        "output_path": seen.output_path,
    }


def _notified(paths: Paths, job: Job) -> list[Document]:
    if job.result is None or not is_job_id(job.job_id):
        return []
    return [{key: one[key] for key in ("target", "problem", "tries", "ended_at")} for one in told(paths, job.job_id)]


def training_status(paths: Paths, job_id: str) -> Document | None:
    """What the job's trainer last said of itself; None: it has none, or it is a rejected file."""
    return Mailbox(paths, job_id).status() if is_job_id(job_id) else None


def died_with_its_boot(job: Job) -> bool:
    """Whether this machine was restarted while it ran: nothing of it is left, and the next dispatcher settles it."""
    claim = job.claim
    if claim is None or job.state not in (State.LAUNCHING, State.RUNNING) or claim.host != proc.host_name():
        return False
    return claim.boot_id != proc.boot_id()


def state_now(job: Job) -> State:
    """What its files say; of one that died with its boot they say it runs, until a dispatcher has come by."""
    return State.ENDING if died_with_its_boot(job) else job.state


def command_line(spec: JobSpec) -> str:
    """The command as one would type it; a script's text is not shown. Not escaped for a terminal."""
    if spec.script is None:
        return shlex.join(spec.argv)
    return " ".join(["(script)", shlex.join(spec.argv[1:])]).rstrip()


def submitted_at(job: Job) -> datetime | None:
    """When its id was made; None for a file that never got one."""
    return from_unix(submitted_unix_s(job.job_id)) if is_job_id(job.job_id) else None


def as_json(value: object) -> str:
    """Indented, and plain ASCII: nothing in it can move a cursor."""
    return json.dumps(value, indent=2, ensure_ascii=True)


def _at(at: datetime | None) -> str | None:
    return None if at is None else format_at(at)
