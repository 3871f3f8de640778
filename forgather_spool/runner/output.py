"""`output.log`: every byte the job wrote, as it wrote it. The truth; the journal is a copy.

The job must never wait for a disk: when the file cannot take a byte, that byte
is counted and dropped, and the file is tried again a second later.
"""

from __future__ import annotations

import os
import time

from forgather_spool.spool import files

TRY_AGAIN_S = 1.0


class OutputLog:
    """Appends. Never raises."""

    def __init__(self, path: str) -> None:
        self.bytes_seen = 0
        self.bytes_lost = 0
        self.trouble = ""  # the last refusal, in the system's words
        self._path = path
        self._fd = -1
        self._closed_until = 0.0
        self._ready()

    def write(self, data: bytes) -> None:
        self.bytes_seen += len(data)
        rest = memoryview(data)
        try:
            while rest and self._ready():
                rest = rest[os.write(self._fd, rest) :]  # short on a disk that is just filling up
        except OSError as error:
            self._refuse(error)
        self.bytes_lost += len(rest)

    def close(self) -> None:
        """Durable on return, as far as the disk allows: the result that is written next speaks for these bytes."""
        if self._fd >= 0:
            try:
                if self.bytes_seen:
                    files.sync(self._fd)
            except OSError as error:
                self._refuse(error)
            os.close(self._fd)
        self._fd = -1

    def _ready(self) -> bool:
        if self._closed_until and time.monotonic() < self._closed_until:
            return False
        self._closed_until = 0.0
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                self._fd = os.open(self._path, flags, files.FILE_MODE)
                os.fchmod(self._fd, files.FILE_MODE)
            except OSError as error:
                self._refuse(error)
                return False
        return True

    def _refuse(self, error: OSError) -> None:
        self.trouble = error.strerror or str(error)
        self._closed_until = time.monotonic() + TRY_AGAIN_S
