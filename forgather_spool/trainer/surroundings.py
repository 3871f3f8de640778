"""What the process that trains finds around it: the queue's names for the run, and signals."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from forgather_spool.trainer.signals import Sigterm


def take_signals(on_sigterm: Callable[[], None] | None) -> Sigterm | None:
    from forgather_spool.trainer.signals import Sigterm, dump_stacks_on_usr1

    dump_stacks_on_usr1()
    return None if on_sigterm is None else Sigterm(on_sigterm)


def queued_attempt() -> int:
    """The queue's number of this run of the job; 1 where somebody's own script set the id alone."""
    text = os.environ.get("FORGATHER_ATTEMPT", "")
    return int(text) if text.isascii() and text.isdigit() and int(text) else 1


def own_job_id() -> str:
    return f"job_{int(time.time())}_{os.uname().nodename.partition('.')[0]}_{os.getpid()}"
