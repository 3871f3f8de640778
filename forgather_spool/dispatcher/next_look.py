"""When all is looked at again: each minute, at once where what was heard is unclear, soon after a refused step.

Knows nothing of what a look is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from forgather_spool.dispatcher.deciding import BELT_S
from forgather_spool.errors import StorageFailed

RETRY_S = 1.0  # after the file system refused a step


class NextLook:
    """Due at first. `say` hears of trouble, of the same once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._at = 0.0
        self.trouble = ""  # since the last look

    @property
    def patience_s(self) -> float:
        """How long until it is due; not positive: it is."""
        return self._at - time.monotonic()

    def begins(self) -> None:
        self._at = time.monotonic() + BELT_S
        self.trouble = ""

    def make_due(self) -> None:
        self._at = 0.0

    def despite_trouble(self, step: Callable[[], None]) -> None:
        """Take a step that the file system may refuse: then the others go on, and all is looked at again soon."""
        try:
            step()
        except StorageFailed as error:
            self.note_trouble(error)

    def note_trouble(self, error: StorageFailed) -> None:
        if str(error) != self.trouble:
            self._say(f"not now: {error}")
        self.trouble = str(error)
        self._at = min(self._at, time.monotonic() + RETRY_S)
