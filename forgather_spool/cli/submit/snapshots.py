"""`--snapshot`: the files a job runs are those that lie there now. Said once for every command that submits.

Imported only where it is asked for: it runs git.
"""

from __future__ import annotations

from forgather_spool.cli import warn
from forgather_spool.document import Document
from forgather_spool.snapshot.take import take
from forgather_spool.spool.queue import Spool


class Snapshots:
    """Adds to specs what their directories hold now; jobs of one directory share one snapshot.

    What is taken for a job that is then not submitted is found and removed by `sched cleanup`.
    """

    def __init__(self, spool: Spool, *, keep: bool, quiet: bool) -> None:
        self._spool = spool.create()
        self._keep = keep
        self._quiet = quiet
        self._taken: dict[str, Document] = {}

    def add_to(self, spec: Document) -> None:
        """From here on the job of `spec` runs what lies in its `cwd`. Raises UsageError, Missing, StorageFailed."""
        cwd = str(spec["cwd"])
        remarks: list[str] = []
        if cwd not in self._taken:
            self._taken[cwd], remarks = take(self._spool, cwd, keep=self._keep)
        snapshot = spec["snapshot"] = self._taken[cwd]
        argv = spec["argv"]
        assert isinstance(argv, list)
        outside = [word for word in argv[1:] if word.startswith(f"{snapshot['top']}/")]
        if outside:
            remarks.append(f"{outside[0]} is the file itself, not the snapshot's; a relative path is")
        if not self._quiet:
            for remark in remarks:
                warn(remark)
