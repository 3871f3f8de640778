"""How it ended: the outcome, decided from facts, and the result, written whatever the disk says."""

from __future__ import annotations

import os
import time

from forgather_spool.document import Document
from forgather_spool.errors import StorageFailed
from forgather_spool.runner import signals
from forgather_spool.runner.journal_copy import JournalCopy
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TRY_AGAIN_S = 1.0  # doubled each time
TRY_AGAIN_AT_MOST_S = 30.0


def outcome_of(wait_status: int, asked: Document | None, oom: bool) -> Document:
    """The outcome of a command that ended with `wait_status`; see waitpid(2).

    `asked` is our reason to end it, when there was one: a trainer that saves and
    exits 0 after a stop was still stopped. `oom` says that the kernel killed a
    process of the job for memory; a command that survived that and exited 0 did well.
    """
    signal = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else None
    ending: Document = {"exit_code": os.WEXITSTATUS(wait_status)} if signal is None else {"signal": signal}
    if asked is not None:
        return {**asked, **ending}
    if oom and wait_status != 0 and signal in (None, signals.SIGKILL):
        return {"kind": "out_of_memory", **ending}
    return {"kind": "exited" if signal is None else "killed", **ending}


def describe(outcome: Document) -> str:
    """One phrase for the journal."""
    detail = ", ".join(f"{key} {value}" for key, value in outcome.items() if key != "kind")
    return f"{outcome['kind']} ({detail})" if detail else str(outcome["kind"])


def leave_result(
    spool: Spool,
    entry: Entry,
    host: str,
    result: dict[str, Any],
    journal: JournalCopy,
    *,
    spec: Document | None,
    is_last: Callable[[], bool],
) -> bool:
    """Write the result and, if this attempt `is_last`, move the spec to done/. Stays until the file system takes both.

    False: it was not, and the spec stays in running/: the dispatcher decides whether the job is run again.
    A disk that is full for a minute must not cost a result: it tries again, up
    to every `TRY_AGAIN_AT_MOST_S`, for as long as the process lives.
    """
    _patiently(lambda: spool.write_result(entry[1], result, result["attempt"]), journal)
    if not is_last():
        return False
    _patiently(lambda: spool.finish(entry, host, result["ended_at"], spec), journal)
    return True


def _patiently(step: Callable[[], object], journal: JournalCopy) -> None:
    wait_s = TRY_AGAIN_S
    while True:
        try:
            step()
            return
        except StorageFailed as error:
            journal.say(f"the result cannot be written yet, trying again in {wait_s:g} s: {error}", priority=3)
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, TRY_AGAIN_AT_MOST_S)
