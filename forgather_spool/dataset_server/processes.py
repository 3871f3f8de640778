"""Several processes that do the same, forked from one that watches over them. Knows nothing of data sets."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable

log = logging.getLogger("forgather_spool.dataset_server")
ENDS = (signal.SIGTERM, signal.SIGINT)
RESTART_S = 1.0


class Processes:
    """`count` of them. One that dies is started again; all end with this one."""

    def __init__(self, count: int, main: Callable[[int], int]) -> None:
        """`main` is what each does, given its place; it returns the exit code."""
        self._count = count
        self._main = main
        self._pids: dict[int, int] = {}  # process id: its place
        self._stopping = False

    def run(self) -> int:
        for number in ENDS:
            signal.signal(number, self._stop)
        for place in range(self._count):
            self._start(place)
        while self._pids:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            place = self._pids.pop(pid)
            if not self._stopping:
                log.error("process %d ended with %d: started again", place, os.waitstatus_to_exitcode(status))
                time.sleep(RESTART_S)
                self._start(place)
        return 0

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start(self, place: int) -> None:
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # none is heard by a child that still has our handlers
        pid = -1 if self._stopping else os.fork()
        if pid:
            if pid > 0:
                self._pids[pid] = place
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
            return
        code = 70
        try:
            for number in ENDS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
            _die_with(parent)
            code = self._main(place)
        except Exception:  # past the fork there is no caller: a traceback in the log, and the parent starts another
            log.exception("process %d failed", place)
        finally:
            os._exit(code)


def _die_with(parent: int) -> None:
    """Let the kernel end this process when `parent` does, by whatever means (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)
