"""Having worktrees of ended jobs removed: by a process of its own, since git on a dead file server hangs.

Nothing rests on it: the next sweep, or `sched cleanup`, finds what this one left.
"""

from __future__ import annotations

import os
import sys
import time

from forgather_spool.dispatcher.launch import host_environment
from forgather_spool.spool.queue import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

EVERY_S = 60.0
_MAIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "snapshot", "__main__.py")


class Worktrees:
    """Keeps at most one sweeper alive."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = time.monotonic() + EVERY_S  # first of all there are jobs to start

    def look(self, *, is_idle: bool) -> None:
        """Start one, if a worktree has outlived its job; once in a while, and whenever there is nothing else to do."""
        if self._process is not None and self._process.poll() is None:
            return
        if not is_idle and time.monotonic() < self._not_before:
            return
        self._not_before = time.monotonic() + EVERY_S
        from forgather_spool.snapshot.sweep import has_outlived

        if has_outlived(self._spool):
            import subprocess

            self._process = subprocess.Popen(
                [sys.executable, "-E", "-s", "-S", _MAIN, "sweep", self._spool.paths.home],
                env=host_environment(os.environ),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
