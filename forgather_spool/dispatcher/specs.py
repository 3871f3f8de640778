"""Specs that are read twice within a moment: when it is decided that a job starts, and once it is claimed.

The last few that were looked at are kept, checked, and given again while the
very same file lies where it was moved to: one that was edited in between is
another file, or has changed. Decides nothing.
"""

from __future__ import annotations

from forgather_spool.document import Document
from forgather_spool.spool import files
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool

KEPT = 8  # a spec is up to 1 MiB


class Specs:
    """Those of `spool`; raises as `Spool.queued_spec`. Nobody changes what is given."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._kept: dict[str, tuple[object, Document]] = {}  # by job id, the oldest first

    def queued(self, entry: Entry) -> Document:
        """Of a waiting job, read now."""
        which = files.content_identity(self._spool.paths.queued(entry[1], -entry[0]))  # before what it is of is read
        spec = self._spool.queued_spec(entry)
        self._kept.pop(entry[1], None)
        self._kept[entry[1]] = which, spec
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return spec

    def taken(self, host: str, entry: Entry) -> Document:
        """Of a job in running/<host>/, as it is there."""
        which, spec = self._kept.pop(entry[1], (None, {}))
        if which is not None and which == files.content_identity(self._spool.paths.taken(host, entry[1], -entry[0])):
            return spec
        return self._spool.taken_spec(host, entry)
