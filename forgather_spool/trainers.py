"""Which trainers there are: their endpoint files, and whether somebody lives behind them.

A trainer on this host lives when its very process does, by pid, start time and
boot; one on another host cannot be seen, so `alive` is None and the age of its
status is all there is. Whoever looks here and finds a trainer dead answers the
commands it left.

Changes nothing else. Light, without dataclasses: `forgather control status`
comes through here.
"""

from __future__ import annotations

import os

from forgather_spool.errors import BadDocument, ForgatherError, JobFailed, NoSuchJob, UnreadableFile
from forgather_spool.host import proc
from forgather_spool.spool import files
from forgather_spool.spool.mailbox import Mailbox, endpoints, has_endpoint, is_mailbox_name, read_endpoint
from forgather_spool.spool.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from forgather_spool.document import Document

MIN_PREFIX = 3


class JobInfo:
    """A trainer, as its endpoint file has it. `alive` None: it is on another host.

    `host` and `port` are its HTTP endpoint's; `port` None: it has none.
    """

    __slots__ = (
        "alive", "boot_id", "host", "hostname", "job_id", "logging_dir", "output_dir", "pid", "port", "start_ticks",
        "started_at_text",
    )  # fmt: skip

    def __init__(self, endpoint: Document) -> None:
        facts: Any = endpoint
        self.job_id: str = facts["job_id"]
        self.host: str = facts["host"]
        self.port: int | None = facts["port"]
        self.pid: int = facts["pid"]
        self.start_ticks: int = facts["start_ticks"]
        self.boot_id: str = facts["boot_id"]
        self.hostname: str = facts["hostname"]
        self.started_at_text: str = facts["started_at"]
        self.output_dir: str | None = facts["output_dir"]
        self.logging_dir: str | None = facts["logging_dir"]
        self.alive = _is_alive(self)

    def __repr__(self) -> str:
        return f"JobInfo(job_id={self.job_id!r}, pid={self.pid}, hostname={self.hostname!r}, alive={self.alive})"

    @property
    def started_at(self) -> datetime:
        """Aware, UTC. Raises BadDocument when the endpoint file holds no time."""
        from forgather_spool.job import parse_at

        return parse_at(self.started_at_text, "endpoint.json: $.started_at")

    @property
    def endpoint_url(self) -> str | None:
        """Where its HTTP endpoint is, as seen from its own host; None: it has none."""
        if self.port is None:
            return None
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def look_at_all(paths: Paths) -> tuple[list[JobInfo], list[ForgatherError]]:
    """Every trainer with an endpoint file, newest first, and the files that cannot be read."""
    found: list[JobInfo] = []
    problems: list[ForgatherError] = []
    for job_id in endpoints(paths):
        if not is_mailbox_name(job_id):
            continue
        try:
            found.append(look_after(Mailbox(paths, job_id)))
        except FileNotFoundError:
            continue  # it ended while we looked
        except (BadDocument, UnreadableFile) as error:
            problems.append(error)
    found.sort(key=lambda job: (job.started_at_text, job.job_id), reverse=True)
    return found, problems


def look_after(mailbox: Mailbox) -> JobInfo:
    """The trainer of this mailbox; if it is dead, what it left is answered.

    Raises:
        FileNotFoundError: it has no endpoint file: it ended cleanly, or never began.
        BadDocument, UnreadableFile: the endpoint file is damaged.
    """
    pending = mailbox.pending()
    job = JobInfo(read_endpoint(mailbox) | {"job_id": mailbox.job_id})
    if job.alive is False and pending:
        reason = f"the trainer (pid {job.pid} on {job.hostname}) died before it answered"
        mailbox.answer_for_the_dead(pending, reason, by=asker())
    return job


def find_trainer(paths: Paths, text: str) -> str:
    """The id meant by `text`: a trainer's, the beginning of just one trainer's, or a queued job's id or name.

    Raises:
        NoSuchJob: nothing fits, or several do.
    """
    if is_mailbox_name(text) and has_endpoint(paths, text):
        return text
    fits = sorted(job_id for job_id in endpoints(paths) if len(text) >= MIN_PREFIX and job_id.startswith(text))
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise NoSuchJob(f"{len(fits)} trainers begin with {text}: {', '.join(fits[:5])}", hint="give more of the id")
    if is_mailbox_name(text) and os.path.isdir(paths.job(text)):
        return text
    from forgather_spool.spool.look import find
    from forgather_spool.spool.queue import Spool

    try:
        return find(Spool(paths.home), text)
    except NoSuchJob as error:
        if str(error).startswith("no job"):
            raise NoSuchJob(f"no trainer or job: {text!r}", hint="forgather control list") from None
        raise


def no_trainer(paths: Paths, job_id: str) -> ForgatherError:
    """Why nobody answers for `job_id`, which has no endpoint file."""
    from forgather_spool.job import State
    from forgather_spool.outcome import describe
    from forgather_spool.spool.look import look
    from forgather_spool.spool.queue import Spool

    try:
        job = look(Spool(paths.home), job_id)
    except NoSuchJob:
        if os.path.isdir(paths.job(job_id)):
            return JobFailed(f"{job_id}: its training has ended", hint="forgather control list")
        return NoSuchJob(f"no trainer {job_id}", hint="forgather control list")
    hint = f"forgather job status {job_id}"
    if job.state is State.WAITING:
        return JobFailed(f"{job_id} waits in the queue: there is no trainer yet", hint=hint)
    if job.state is State.HELD:
        return JobFailed(f"{job_id} is on hold: there is no trainer yet", hint=f"forgather sched release {job_id}")
    if job.state in (State.LAUNCHING, State.RUNNING):
        why = "it is still starting, or its program does not use TrainerControl"
        return JobFailed(f"{job_id} runs, but no trainer answers: {why}", hint=f"forgather job tail {job_id}")
    ended = job.state.value if job.result is None else describe(job.result.outcome)
    return JobFailed(f"{job_id} has ended: {ended}", hint=hint)


def forget(paths: Paths, job: JobInfo) -> bool:
    """Remove what a dead trainer left to be found by. False: another has taken its place meanwhile."""
    mailbox = Mailbox(paths, job.job_id)
    try:
        now = JobInfo(read_endpoint(mailbox))
    except FileNotFoundError:
        return True
    if (now.pid, now.start_ticks, now.boot_id) != (job.pid, job.start_ticks, job.boot_id):
        return False
    files.discard(paths.endpoint(job.job_id, mailbox.attempt))
    files.discard(paths.auth_token(job.job_id, mailbox.attempt))
    return True


def asker() -> str:
    """Who posts and answers here, as documents name it."""
    return f"user id {os.geteuid()} on {proc.host_name()}"


def _is_alive(job: JobInfo) -> bool | None:
    here = job.hostname == proc.host_name()
    if job.boot_id != proc.boot_id():
        return False if here else None
    if proc.is_alive(job.pid, job.start_ticks):
        return True
    return False if here else None  # a container on this kernel: its pids are not ours
