"""Being woken when anything a list of jobs shows may have changed.

What wakes is names that come and go in the folders specs lie in, and the
settings. A runner's start and a job's output wake nobody here: they are no
move of a spec, and looking again after a moment finds them. As with every
inotify, whoever uses this also looks by itself from time to time.
"""

from __future__ import annotations

import os
import select
import time

from forgather_spool.spool import files
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.watch import CREATED, GONE, Watch


class Changes:
    """One inotify instance over a whole spool. A context manager; close it."""

    def __init__(self, spool: Spool) -> None:
        self._paths = spool.paths
        self._watch = Watch()
        self._listen()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable once something has changed; `take` then."""
        return self._watch.fileno()

    def take(self) -> bool:
        """Whether anything was heard since the last call; from here on it is listened for anew."""
        heard = [name for _, name, _ in self._watch.read() if not name.startswith(".")]
        if heard:
            self._listen()
        return bool(heard)

    def wait(self, limit_s: float, more_fds: tuple[int, ...] = ()) -> bool:
        """Until something may have changed or one of `more_fds` is readable; False: `limit_s` passed."""
        deadline = time.monotonic() + limit_s
        while (left_s := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self.fileno(), *more_fds], [], [], left_s)
            if any(fd in more_fds for fd in ready) or (ready and self.take()):
                return True
        return False

    def close(self) -> None:
        self._watch.close()

    def _listen(self) -> None:
        """Also to the folders that were made since: a host's, a day's."""
        paths = self._paths
        wanted = [paths.queue, paths.held, paths.running, paths.running_on(CANCEL), paths.done, paths.rejected]
        wanted += [paths.running_on(host) for host in files.names(paths.running)]
        wanted += [paths.done_on(day) for day in sorted(files.names(paths.done))[-1:]]
        wanted += [paths.server]
        for folder in set(wanted) - self._watch.paths():
            if os.path.isdir(folder):
                self._watch.add(folder, CREATED | GONE)
