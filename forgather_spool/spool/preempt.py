"""preempt.json: this attempt's cards are wanted for a job of higher priority.

    preempt.json          the decision, create-once, before anybody is asked
    control/..            a trainer that lives is sent save_and_stop, and answers when it has saved
    give_way.json         everything else, and a trainer that did not end in time: its runner sends TERM, grace, KILL

All name the same `by`. An attempt gave way when it ended because it was asked
to: its runner says so, or its trainer answered that it saved. One that ended by
itself in that moment is done, and is not repeated; so is a training whose last
step that was.
"""

from __future__ import annotations

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import utc_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SAVE_AND_STOP = "save_and_stop"


def want(paths: Paths, job_id: str, attempt: int, for_job: str) -> bool:
    """Decide that this attempt is to give its cards to `for_job`. False: that was decided before."""
    document: Document = {
        "version": schema.VERSION,
        "for_job": for_job,
        "by": f"preemption for {for_job}",
        "at": utc_now(),
    }
    try:
        files.write_once(paths.preempt_request(job_id, attempt), document, paths.tmp)
    except FileExistsError:
        return False
    return True


def wanted_by(paths: Paths, job_id: str, attempt: int) -> dict[str, Any] | None:
    """Who wants this attempt's cards: ``preempt.json``, checked. None: nobody does.

    Raises BadDocument, UnreadableFile.
    """
    try:
        return schema.check(files.read_document(paths.preempt_request(job_id, attempt)), schema.PREEMPT)
    except FileNotFoundError:
        return None


def tell_to_end(paths: Paths, job_id: str, attempt: int, *, by: str) -> None:
    """Have its runner stop it: TERM, the spec's grace, KILL. Told before is fine."""
    request: Document = {
        "version": schema.VERSION,
        "force": False,
        "grace_s": None,
        "by": by,
        "requested_at": utc_now(),
    }
    try:
        files.write_once(paths.give_way(job_id, attempt), request, paths.tmp)
    except FileExistsError:
        return


def is_told_to_end(paths: Paths, job_id: str, attempt: int) -> bool:
    return files.exists(paths.give_way(job_id, attempt))


def forget(paths: Paths, job_id: str, attempt: int) -> None:
    """Before an attempt is launched: what was wanted of an earlier launch that was put back is void."""
    files.discard(paths.give_way(job_id, attempt))
    files.discard(paths.preempt_request(job_id, attempt))


def gave_way(paths: Paths, job_id: str, attempt: int, outcome: Mapping[str, Any]) -> str | None:
    """For whom this attempt, which ended with `outcome`, gave up its cards. None: it ended for another reason.

    Raises BadDocument, UnreadableFile: ``preempt.json`` is damaged.
    """
    wanted = wanted_by(paths, job_id, attempt)
    if wanted is None:
        return None
    if outcome["kind"] == "cancelled":
        gave = outcome.get("by") == wanted["by"]
    else:
        mailbox = Mailbox(paths, job_id, attempt)
        gave = any(_saved_on_its_way(mailbox, command_id) for command_id in sent(mailbox, wanted["by"]))
    return str(wanted["for_job"]) if gave else None


def sent(mailbox: Mailbox, by: str) -> list[str]:
    """Ids of the commands its trainer was sent for this; none, or one."""
    ending = f"-{SAVE_AND_STOP}.json"
    ids = [name.removesuffix(".json") for name in files.names(mailbox.folder) if name.endswith(ending)]
    return [command_id for command_id in ids if _by(mailbox, command_id) == by]


def was_declined(mailbox: Mailbox, by: str) -> bool:
    """Whether its trainer has answered, and not that it saved."""
    answers = [_answer(mailbox, command_id) for command_id in sent(mailbox, by)]
    return any(answer is not None and answer["outcome"] != "done" for answer in answers)


def _by(mailbox: Mailbox, command_id: str) -> object:
    try:
        return mailbox.read(command_id)["by"]
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return None


def _saved_on_its_way(mailbox: Mailbox, command_id: str) -> bool:
    """Whether its trainer saved because it was asked, before its last step: after that it has done its work."""
    answer, status = _answer(mailbox, command_id), mailbox.status()
    if answer is None or answer["outcome"] != "done":
        return False
    last_step, step = None if status is None else status["max_steps"], answer["step"]
    return not (isinstance(step, int) and isinstance(last_step, int) and 0 < last_step <= step)


def _answer(mailbox: Mailbox, command_id: str) -> dict[str, Any] | None:
    """None: not yet. One that cannot be read is no success."""
    try:
        return mailbox.acknowledgement(command_id)
    except (BadDocument, UnreadableFile):
        return {"outcome": "failed", "step": None}
