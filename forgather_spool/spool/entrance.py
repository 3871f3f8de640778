"""The way into the queue, all that a submit needs of a spool. The rest of a job's life is `queue.py`'s.

Light, and a file of its own for that: each submit of a script's thousand comes through here.
"""

from __future__ import annotations

import os

from forgather_spool.document import Document
from forgather_spool.errors import SpoolUnsafe
from forgather_spool.spool import files
from forgather_spool.spool.names import new_job_id
from forgather_spool.spool.paths import Paths, default_home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Entrance:
    """A spool that jobs are put into. `create` makes what is missing of it and checks that nobody else may write."""

    __slots__ = ("paths",)

    def __init__(self, home: str | None = None) -> None:
        self.paths = Paths(home or default_home())

    def create(self) -> Self:
        """Make the skeleton, durable, and check it. Cheap when it stands.

        Raises:
            SpoolUnsafe: others may write to it, or it belongs to somebody else.
            StorageFailed: it cannot be made.
        """
        if not os.path.isdir(self.paths.skeleton()[-1]):
            _make_parents(os.path.dirname(self.paths.home))
            for path in self.paths.skeleton():
                files.make_directory(path)
        self.check()
        return self

    def check(self) -> None:
        """Raise SpoolUnsafe when somebody else may put a file where we would run it."""
        for path in (self.paths.home, self.paths.spool, self.paths.queue, self.paths.incoming, self.paths.running):
            try:
                files.check_private(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SpoolUnsafe(f"{path}: {error.strerror}", hint="forgather doctor") from None

    def submit(self, spec: Document) -> str:
        """Put a checked spec into the queue; durable, and therefore acknowledged, on return. The job's id.

        `priority` moves from the document into the name; with `hold` it enters held/.
        One with a `unique` key goes by `submit.submit`.

        Raises StorageFailed: nothing was submitted.
        """
        assert not spec.get("unique")
        priority = spec.get("priority", 0)
        assert isinstance(priority, int)
        while True:
            job_id = new_job_id()
            path = self.paths.waiting_at(job_id, priority, held=bool(spec.get("hold")))
            try:
                files.write_once(path, spec, self.paths.tmp)
            except FileExistsError:
                continue
            return job_id


def _make_parents(path: str) -> None:
    if not os.path.isdir(path):
        _make_parents(os.path.dirname(path))
        files.make_directory(path)
