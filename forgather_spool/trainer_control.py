"""Control of running trainers, for scripts: who trains, where they are, and what they are asked.

    from forgather_spool.trainer_control import get_job_status, list_jobs, save_checkpoint

    for job in list_jobs():
        print(job.job_id, get_job_status(job.job_id)["global_step"])
    print(save_checkpoint("my_experiment").message)

Works by files, on this host and over a shared home, with or without the HTTP
endpoint.

Light, without click and dataclasses: `forgather control status` is this.
"""

from __future__ import annotations

import time

from forgather_spool.command import flat_status
from forgather_spool.errors import BadDocument, JobFailed, UnreadableFile
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths, default_home
from forgather_spool.trainers import JobInfo, asker, look_after, look_at_all, no_trainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from forgather_spool.document import Document

__all__ = [
    "ControlResponse", "JobInfo", "abort", "get_job_status", "graceful_stop", "list_jobs", "save_and_stop",
    "save_checkpoint", "send",
]  # fmt: skip

TIMEOUT_S = 600.0  # saving a large model takes minutes


class ControlResponse:
    """What came of a command.

    outcome: done, refused, failed; posted (nobody waited); unanswered (waited
    long enough: it is still in the mailbox, and refused there once it is late).
    `success`: done, or posted. `message` is a sentence, `acknowledgement` the
    trainer's whole answer, `data` what its handler returned.
    """

    __slots__ = (
        "acknowledgement", "command", "command_id", "data", "job_id", "message", "outcome", "success", "timestamp",
    )  # fmt: skip

    def __init__(self, job_id: str, command: str, command_id: str, outcome: str, answer: Document | None) -> None:
        facts: Any = answer or {}
        self.job_id = job_id
        self.command = command
        self.command_id = command_id
        self.outcome = outcome
        self.success = outcome in ("done", "posted")
        self.acknowledgement = answer
        self.data: dict[str, Any] = facts.get("data", {})
        self.message = facts.get("reason") or _MESSAGES.get(outcome, outcome)
        self.timestamp = time.time()

    def __repr__(self) -> str:
        return f"ControlResponse({self.job_id!r}, {self.command_id!r}, {self.outcome}: {self.message!r})"


_MESSAGES = {"posted": "left for the trainer", "unanswered": "the trainer has not answered in time"}


def list_jobs(*, include_dead: bool = False, home: str | None = None) -> list[JobInfo]:
    """Trainers that run, newest first; those of other hosts too. An endpoint file that cannot be read is left out."""
    jobs, _ = look_at_all(Paths(home or default_home()))
    return [job for job in jobs if include_dead or job.alive is not False]


def get_job_status(job_id: str, *, home: str | None = None) -> dict[str, Any]:
    """Where a run is: job_id, status, timestamp (Unix, when it said so), global_step, max_steps, epoch, each metric.

    `status` is "training", "stopping", "ended", "dead" when the process is gone without an end, or
    "starting" before it has said anything.

    Raises:
        NoSuchJob: no trainer of this id has ever been here.
        JobFailed: a job of this id has no trainer; the message says why.
    """
    paths = Paths(home or default_home())
    mailbox = Mailbox(paths, job_id)
    status = mailbox.status()
    try:
        is_dead = look_after(mailbox).alive is False
    except FileNotFoundError:
        if status is None:
            raise no_trainer(paths, job_id) from None
        is_dead = True  # unless its last word was that it ended
    if status is None:
        nothing: Document = {"global_step": None, "epoch": None, "max_steps": None, "timestamp": None}
        return {"job_id": job_id, "status": "dead" if is_dead else "starting", **nothing}
    flat = flat_status(status)
    return flat | {"status": "dead"} if is_dead and flat["status"] != "ended" else flat


def save_checkpoint(
    job_id: str, *, timeout_s: float = TIMEOUT_S, wait: bool = True, home: str | None = None
) -> ControlResponse:
    """Have a checkpoint saved; training goes on. `acknowledgement["checkpoint"]` is its path."""
    return send(job_id, "save_checkpoint", timeout_s=timeout_s, wait=wait, home=home)


def graceful_stop(
    job_id: str, *, timeout_s: float = TIMEOUT_S, wait: bool = True, home: str | None = None
) -> ControlResponse:
    """Have it finish its step and end, with a final checkpoint unless its save strategy is "no"."""
    return send(job_id, "graceful_stop", timeout_s=timeout_s, wait=wait, home=home)


def save_and_stop(
    job_id: str, *, timeout_s: float = TIMEOUT_S, wait: bool = True, home: str | None = None
) -> ControlResponse:
    """Have it save a checkpoint, whatever its strategy, and end."""
    return send(job_id, "save_and_stop", timeout_s=timeout_s, wait=wait, home=home)


def abort(job_id: str, *, timeout_s: float = TIMEOUT_S, wait: bool = True, home: str | None = None) -> ControlResponse:
    """Have it end at once without saving."""
    return send(job_id, "abort", timeout_s=timeout_s, wait=wait, home=home)


def send(
    job_id: str,
    command: str,
    *,
    args: Document | None = None,
    timeout_s: float | None = TIMEOUT_S,
    wait: bool = True,
    home: str | None = None,
) -> ControlResponse:
    """Post any command, also one of `TrainerControl.on`, and wait up to `timeout_s` for its acknowledgement.

    A trainer that comes to it later than `timeout_s` refuses it; None: it waits as long as it takes.

    Raises:
        NoSuchJob, JobFailed: there is no trainer to ask; nothing was posted.
        StorageFailed: it could not be left; try again.
    """
    from forgather_spool.spool.answer import wait_for_answer

    paths = Paths(home or default_home())
    mailbox = Mailbox(paths, job_id)
    _require_trainer(paths, mailbox)
    late_at = None if timeout_s is None else _utc_in(timeout_s)
    command_id = mailbox.post(command, by=asker(), args=args, deadline_at=late_at)
    if not wait:
        return ControlResponse(job_id, command, command_id, "posted", None)
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    answer = wait_for_answer(mailbox, command_id, deadline, lambda: _look_after_the_gone(mailbox))
    outcome = "unanswered" if answer is None else str(answer["outcome"])
    return ControlResponse(job_id, command, command_id, outcome, answer)


def _require_trainer(paths: Paths, mailbox: Mailbox) -> None:
    try:
        job = look_after(mailbox)
    except FileNotFoundError:
        raise no_trainer(paths, mailbox.job_id) from None
    if job.alive is False:
        raise JobFailed(f"{job.job_id}: its trainer (pid {job.pid}) is dead", hint="forgather control cleanup")


def _look_after_the_gone(mailbox: Mailbox) -> None:
    """While waiting: answer for a trainer that has died, or has ended before it saw the command."""
    pending = mailbox.pending()
    try:
        look_after(mailbox)
    except FileNotFoundError:
        mailbox.answer_for_the_dead(pending, "the training has ended", by=asker())
    except (BadDocument, UnreadableFile):
        return  # damaged meanwhile: the answer may come all the same


def _utc_in(seconds: float) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
