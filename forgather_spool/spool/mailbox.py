"""A job's mailbox: commands to its trainer, each with one acknowledgement.

    jobs/<job_id>/control/<seq>-<command>.json        whoever asks, create-once
    jobs/<job_id>/control/<seq>-<command>.ack.json    the trainer, create-once; or whoever finds it dead

Each attempt has its own (jobs/<job_id>/attempt-<n>/control/): what was asked of
a trainer is not asked of the one that comes after it.

A command's id is ``<seq>-<command>``. Ids sort in the order they were posted;
two posted in the same moment may share a number and are told apart by name.

Standard library only and few imports: training scripts pay for it.
"""

from __future__ import annotations

import os

from forgather_spool import command, schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UnreadableFile, UsageError
from forgather_spool.spool import attempts, files
from forgather_spool.spool.names import FIRST_ATTEMPT, is_job_id
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import utc_now

ACK = ".ack.json"
MAX_ID_CHARACTERS = command.MAX_NAME_CHARACTERS + 16  # a longer name is no command: its answer could not be named
MAX_NUMBERED = 10**9  # a larger number is read but not counted on from, so that no file uses the numbers up
MAX_REASON_CHARACTERS = 4000


def is_mailbox_name(text: str) -> bool:
    """Whether `text` can name a job's folder: a job of ours, also a member of an array, or one a script chose."""
    if is_job_id(text):
        return True
    allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    return 0 < len(text) <= 128 and not text.strip(allowed) and text[0] not in ".-"


class Mailbox:
    """The control folder of one attempt of a job. Made where it is missing, by whoever comes first.

    `attempt` None is the current one now: a trainer names its own.
    """

    def __init__(self, paths: Paths, job_id: str, attempt: int | None = None) -> None:
        if not is_mailbox_name(job_id):
            allowed = "letters, digits, dot, dash and underscore, at most 128"
            raise UsageError(f"{job_id!r} cannot be a job id", hint=allowed)
        self.paths = paths
        self.job_id = job_id
        self.attempt = attempt or attempts.current(paths, job_id)
        self.folder = paths.control(job_id, self.attempt)

    def create(self) -> None:
        """Make the folder, durable."""
        files.make_directory(self.paths.job(self.job_id))
        files.make_directory(self.folder)

    def post(self, name: str, *, by: str, args: Document | None = None, deadline_at: str | None = None) -> str:
        """Leave a command; durable on return. Its id, to wait for the acknowledgement with."""
        if not name.replace("_", "a").isalnum() or len(name) > command.MAX_NAME_CHARACTERS or not name.isascii():
            raise UsageError(f"{name!r} cannot be a command", hint="letters, digits and underscore")
        document: Document = {
            "version": schema.VERSION,
            "command": name,
            "args": args or {},
            "by": by,
            "posted_at": utc_now(),
            "deadline_at": deadline_at,
        }
        self.create()
        numbers = (_number(known) for known in files.names(self.folder))
        number = max((known for known in numbers if known < MAX_NUMBERED), default=0)
        while True:
            number += 1
            command_id = f"{number:06d}-{name}"
            try:
                files.write_once(f"{self.folder}/{command_id}.json", document, self.paths.tmp)
            except FileExistsError:
                continue
            return command_id

    def pending(self) -> list[str]:
        """Ids of commands without an acknowledgement, oldest first. One listing, no file is opened."""
        here = files.names(self.folder)
        answered = {name.removesuffix(ACK) for name in here if name.endswith(ACK)}
        posted = {name.removesuffix(".json") for name in here if name.endswith(".json") and not name.endswith(ACK)}
        waiting = (one for one in posted - answered if _number(one) and len(os.fsencode(one)) <= MAX_ID_CHARACTERS)
        return sorted(waiting, key=lambda one: (_number(one), one))

    def read(self, command_id: str) -> Document:
        """The command, checked. Raises FileNotFoundError, BadDocument, UnreadableFile."""
        return schema.check(files.read_document(f"{self.folder}/{command_id}.json"), command.COMMAND)

    def acknowledge(
        self,
        command_id: str,
        outcome: str,
        *,
        by: str,
        step: int | None = None,
        checkpoint: str | None = None,
        reason: str | None = None,
        data: Document | None = None,
    ) -> bool:
        """Answer a command, once; the first answer stands. False: it was answered already.

        Raises:
            BadDocument: `data` cannot be written as JSON; nothing was answered.
            StorageFailed: the file system refused; try again later.
        """
        document: Document = {
            "version": schema.VERSION,
            "outcome": outcome,
            "step": step,
            "checkpoint": checkpoint,
            "reason": None if reason is None else _sayable(reason),
            "answered_at": utc_now(),
            "answered_by": by,
            "data": data or {},
        }
        try:
            files.write_once(f"{self.folder}/{command_id}{ACK}", document, self.paths.tmp)
        except FileExistsError:
            return False
        return True

    def acknowledgement(self, command_id: str) -> Document | None:
        """The answer, checked; None: not yet. By listing, since NFS shows a new name there first."""
        name = f"{command_id}{ACK}"
        if name not in files.names(self.folder):
            return None
        try:
            return schema.check(files.read_document(f"{self.folder}/{name}"), command.ACKNOWLEDGEMENT)
        except FileNotFoundError:
            return None

    def answer_for_the_dead(self, command_ids: list[str], reason: str, *, by: str) -> None:
        """Answer these `failed`: their trainer is gone.

        List `command_ids` before finding it gone, so that what is posted to a
        trainer that takes its place is not among them.
        """
        for command_id in command_ids:
            self.acknowledge(command_id, "failed", by=by, reason=reason)

    def status(self) -> Document | None:
        """What the trainer last said of itself; None: nothing yet, or unreadable."""
        try:
            return schema.check(files.read_document(self.paths.status(self.job_id, self.attempt)), command.STATUS)
        except (FileNotFoundError, BadDocument, UnreadableFile):
            return None


def _number(name: str) -> int:
    digits = name.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 12 else 0


def _sayable(reason: str) -> str:
    """An exception's text may hold what no document may: NUL, bytes that are no UTF-8, a whole tensor."""
    return reason[:MAX_REASON_CHARACTERS].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def endpoints(paths: Paths) -> list[str]:
    """Ids of jobs whose trainer has left an endpoint file, in no order."""
    names = (name for name in files.names(paths.jobs) if paths.being_removed(name) is None)
    return [name for name in names if has_endpoint(paths, name)]


def has_endpoint(paths: Paths, job_id: str) -> bool:
    """Whether the trainer of its current attempt has left an endpoint file. Two looks for most jobs, no listing."""
    if not os.path.lexists(paths.attempt(job_id, FIRST_ATTEMPT + 1)):
        return os.path.lexists(paths.endpoint(job_id, FIRST_ATTEMPT))
    return os.path.lexists(paths.endpoint(job_id, attempts.current(paths, job_id)))


def read_endpoint(mailbox: Mailbox) -> Document:
    """``endpoint.json``, checked. Raises FileNotFoundError, BadDocument, UnreadableFile."""
    path = mailbox.paths.endpoint(mailbox.job_id, mailbox.attempt)
    return schema.check(files.read_document(path), command.ENDPOINT)
