"""What comes in other than by submit: files dropped into incoming/, and what a submitter that died left undone.

Inotify says when there is something; looked at is then, while something is
left there, and otherwise once a second at most, for what it does not tell.
Decides nothing: `admit.py`, `batch.py` and `unique.py` say what becomes of a file.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from forgather_spool.spool import admit, batch, unique
from forgather_spool.spool.queue import Spool

LOOK_S = 1.0
SPREAD_PER_PASS = 10_000  # files of batches moved before others have their turn; a tenth of a second


class Intake:
    """`say` gets a line for each file; `is_pending` tells whether some were left at the last look."""

    def __init__(self, spool: Spool, say: Callable[[str], None]) -> None:
        self.is_pending = True
        self._spool = spool
        self._say = say
        self._look_at = 0.0

    @property
    def folders(self) -> tuple[str, str]:
        """Those to listen at, for `heard`."""
        return self._spool.paths.incoming, self._spool.paths.batches

    def take_on_keys(self) -> None:
        """Finish what submits with a key that died left between two steps. Raises StorageFailed."""
        for job_id in unique.go_on(self._spool):
            self._say(f"{job_id}: rejected; see its .why")
        unique.forget_ended(self._spool)

    def promote(self) -> None:
        """What is acknowledged already goes to where it is looked for. Raises StorageFailed."""
        batch.promote_decided(self._spool)
        admit.move_on(self._spool)

    def heard(self) -> None:
        """Something came to one of the folders, or may have."""
        self.is_pending = True

    def is_due(self) -> bool:
        """Whether there may be something to take in. Call the rest if so, and then `note`."""
        return self.is_pending or time.monotonic() >= self._look_at

    def admit(self) -> None:
        """What was dropped. Raises StorageFailed."""
        for name, job_id in admit.admit(self._spool):
            admitted, rejected = f"{job_id}: admitted from incoming/{name}", f"rejected incoming/{name}; see its .why"
            self._say(admitted if job_id else rejected)

    def spread(self) -> bool:
        """Move what batches hold to the queue; whether there was anything. Raises StorageFailed."""
        return bool(batch.spread(self._spool, SPREAD_PER_PASS))

    def note(self) -> None:
        """See what was left. Raises StorageFailed."""
        self.is_pending = True  # also when it cannot be seen
        self.is_pending = admit.pending(self._spool)
        self._look_at = time.monotonic() + LOOK_S
