"""Waiting for a command's acknowledgement: the one place that does.

Whoever waits is woken by inotify and also looks by itself, since another
host's writes are not heard. Between looks it asks `look_after`, which may
answer for a trainer that has died; so a wait ends also when nobody is left to
answer.

Knows only files; whether a trainer lives is its caller's to say.
"""

from __future__ import annotations

import select
import time

from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.watch import CREATED, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from forgather_spool.document import Document

LOOK_S = 0.25


def wait_for_answer(
    mailbox: Mailbox, command_id: str, deadline: float, look_after: Callable[[], None]
) -> Document | None:
    """The acknowledgement of `command_id`; None: there was none until `deadline` (monotonic).

    Raises:
        BadDocument, UnreadableFile: something else lies where the answer belongs.
    """
    watch = Watch()
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    watch.add(mailbox.folder, CREATED)
    try:
        while (answer := mailbox.acknowledgement(command_id)) is None:
            look_after()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return mailbox.acknowledgement(command_id)
            poll.poll(max(1.0, min(LOOK_S, left_s) * 1000))
            watch.read()
        return answer
    finally:
        watch.close()
