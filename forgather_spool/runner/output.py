"""`output.log`: every byte the job wrote, as it wrote it. The truth; the journal is a copy.

The job must never wait for a disk: when the file cannot take a byte, that byte
is counted and dropped, and the file is tried again a second later.

With a limit, `output.log` takes half of it and is then left alone. What follows
goes to parts of a quarter each, of which the last two stay; each is named by
the byte of the output it begins with (`paths.output_tail`):

    output.log          the first half of the limit
    output.log.from-a   a full part, until there are two after it
    output.log.from-b   the part that is being written

So nothing is moved or written twice, and a kill at any point leaves parts that
`spool/output.py` puts in order. What lies between them was left out.
"""

from __future__ import annotations

import os
import time

from forgather_spool.spool import files
from forgather_spool.spool.names import output_tail

TRY_AGAIN_S = 1.0
TAILS = 2
HEAD_SHARE, TAIL_SHARE = 2, 4  # of the limit: one half, and a quarter for each part of the tail
assert 1 / HEAD_SHARE + TAILS / TAIL_SHARE <= 1


class _Part:
    """One file, and how much was written to it."""

    __slots__ = ("path", "share_bytes", "written_bytes")

    def __init__(self, path: str, share_bytes: int | None) -> None:
        self.path = path
        self.share_bytes = share_bytes  # None: no limit
        self.written_bytes = 0

    @property
    def room_bytes(self) -> int | None:
        return None if self.share_bytes is None else self.share_bytes - self.written_bytes


class OutputLog:
    """Appends. Never raises."""

    def __init__(self, path: str, limit_bytes: int | None = None) -> None:
        self.bytes_seen = 0
        self.bytes_lost = 0
        self.bytes_omitted = 0  # to stay within the limit
        self.trouble = ""  # the last refusal, in the system's words
        self._head = _Part(path, None if limit_bytes is None else limit_bytes // HEAD_SHARE)
        self._tails: list[_Part] = []
        self._tail_bytes = 0 if limit_bytes is None else limit_bytes // TAIL_SHARE
        self._fd = -1
        self._closed_until = 0.0
        self._ready()

    def write(self, data: bytes) -> None:
        self.bytes_seen += len(data)
        rest = memoryview(data)
        try:
            while rest and self._ready():
                part = self._part
                if part.room_bytes == 0:
                    rest = self._begin_part(rest)
                    continue
                written = os.write(self._fd, rest[: part.room_bytes])  # short on a disk that is just filling up
                part.written_bytes += written
                rest = rest[written:]
        except OSError as error:
            self._refuse(error)
        self.bytes_lost += len(rest)

    def close(self) -> None:
        """Durable on return, as far as the disk allows: the result that is written next speaks for these bytes."""
        for part in [self._head, *self._tails][:-1]:
            self._sync_whole(part)
        if self._fd >= 0:
            try:
                if self.bytes_seen:
                    files.sync(self._fd)
            except OSError as error:
                self._refuse(error)
            os.close(self._fd)
        self._fd = -1

    @property
    def _part(self) -> _Part:
        return self._tails[-1] if self._tails else self._head

    def _begin_part(self, rest: memoryview) -> memoryview:
        """Go on in a new part, whose beginning is what is returned of `rest`: what would not stay is not written."""
        kept = rest[max(0, len(rest) - TAILS * self._tail_bytes) :]
        part = _Part(output_tail(self._head.path, self.bytes_seen - len(kept)), self._tail_bytes)
        fd = _open(part.path)
        os.close(self._fd)
        self._fd = fd
        self._tails.append(part)
        self.bytes_omitted += len(rest) - len(kept)
        if len(self._tails) > TAILS:
            self._drop(self._tails.pop(0))
        return kept

    def _drop(self, part: _Part) -> None:
        try:
            os.unlink(part.path)
            self.bytes_omitted += part.written_bytes
        except OSError as error:
            self.trouble = error.strerror or str(error)  # it stays; better too much than nothing written any more

    def _sync_whole(self, part: _Part) -> None:
        try:
            fd = os.open(part.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                files.sync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            self._refuse(error)

    def _ready(self) -> bool:
        if self._closed_until and time.monotonic() < self._closed_until:
            return False
        self._closed_until = 0.0
        if self._fd < 0:
            try:
                self._fd = _open(self._part.path)
            except OSError as error:
                self._refuse(error)
                return False
        return True

    def _refuse(self, error: OSError) -> None:
        self.trouble = error.strerror or str(error)
        self._closed_until = time.monotonic() + TRY_AGAIN_S


def _open(path: str) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, files.FILE_MODE)
    try:
        os.fchmod(fd, files.FILE_MODE)
    except OSError:
        os.close(fd)
        raise
    return fd
