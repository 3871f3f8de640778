"""The lock that tells `submit` whether a dispatcher of this host is awake. Nothing rests on it for correctness."""

from __future__ import annotations

import fcntl
import os
import time

from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths

TRIES = 5
PAUSE_S = 0.02


class HostLock:
    """hosts/<host>.lock, held from `take` to `release`, or to the end of this process."""

    def __init__(self, paths: Paths, host_name: str) -> None:
        self.host_name = host_name
        self._path = paths.host_lock(host_name)
        self._fd = -1

    def take(self) -> bool:
        """True when this process is the host's dispatcher now. Raises StorageFailed."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, files.FILE_MODE)
        except OSError as error:
            raise files.failed("open", self._path, error) from None
        for _ in range(TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(PAUSE_S)  # a submit that looks whether we are awake holds it for microseconds
            else:
                self._fd = fd
                return True
        os.close(fd)
        return False

    def release(self) -> None:
        os.close(self._fd)
        self._fd = -1
