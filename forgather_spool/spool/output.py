"""Reading a job's output while it grows. Every byte, as the job wrote it; making it fit to be seen is the reader's.

``output.log`` only ever grows, and has one writer: the runner.
"""

from __future__ import annotations

import os

from forgather_spool.errors import UnreadableFile

BLOCK_BYTES = 1 << 16
LOOK_BACK_BYTES = 16 << 20  # a progress bar may have written megabytes without one line end


class Output:
    """A place in the output of a job. Opens the file when it appears; close it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self.offset = 0

    def read(self) -> bytes:
        """What comes next, at most `BLOCK_BYTES`; empty when there is no more for now."""
        if not self._open():
            return b""
        data = os.pread(self._fd, BLOCK_BYTES, self.offset)
        self.offset += len(data)
        return data

    def go_to_last_lines(self, lines: int) -> None:
        """Go to where the last `lines` lines begin; an unfinished one counts. No file yet: stay at the start."""
        if not self._open():
            return
        end = os.fstat(self._fd).st_size
        if lines <= 0:
            self.offset = end
            return
        start, missing = end, lines
        if end and os.pread(self._fd, 1, end - 1) == b"\n":
            missing += 1
        while start > max(0, end - LOOK_BACK_BYTES):
            size = min(BLOCK_BYTES, start)
            block = os.pread(self._fd, size, start - size)
            found = block.count(b"\n")
            if found >= missing:
                self.offset = start - size + _after_nth_last(block, missing)
                return
            missing -= found
            start -= size
        self.offset = start

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _open(self) -> bool:
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise UnreadableFile(f"{self._path}: {error.strerror}") from None
        return True


class LineFolder:
    """Progress bars as a file should have them: of a line that was overwritten with ``\\r``, its last state.

    An unfinished line is held back until it ends, since a ``\\r`` may follow.
    """

    MAX_HELD_BYTES = 1 << 16

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The lines that are now complete."""
        *lines, rest = (self._held + data).split(b"\n")
        ready = b"".join(_last_state(line) + b"\n" for line in lines)
        if b"\r" in rest:
            rest = _last_state(rest) + (b"\r" if rest.endswith(b"\r") else b"")
        if len(rest) > self.MAX_HELD_BYTES:
            ready, rest = ready + rest, b""
        self._held = rest
        return ready

    def rest(self) -> bytes:
        """What was held back; call it at the end."""
        held, self._held = self._held, b""
        return _last_state(held)


def _last_state(line: bytes) -> bytes:
    return next((state for state in reversed(line.split(b"\r")) if state), b"")


def _after_nth_last(block: bytes, n: int) -> int:
    at = len(block)
    for _ in range(n):
        at = block.rindex(b"\n", 0, at)
    return at + 1
