"""Reading a job's output while it grows. Every byte, as the job wrote it; making it fit to be seen is the reader's.

``output.log`` only ever grows, and has one writer: the runner. Where the job's
output has a limit, what follows ``output.log`` lies in parts named by the byte
they begin with, and the oldest of these goes when a third has begun
(`runner/output.py`). A reader sees one output, with a line in place of what is
not there any more; one that is slow enough to lose a part is told in the same way.
"""

from __future__ import annotations

import os

from forgather_spool.errors import UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.names import output_tail, output_tail_start
from forgather_spool.spool.paths import OUTPUT

BLOCK_BYTES = 1 << 16
LOOK_BACK_BYTES = 16 << 20  # a progress bar may have written megabytes without one line end


class Output:
    """A place in the output of a job. Opens the file when it appears; close it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._start = 0  # the byte of the output that the open part begins with
        self._at = 0  # in that part
        self._ends_line = True

    def read(self) -> bytes:
        """What comes next, at most `BLOCK_BYTES`; empty when there is no more for now."""
        if self._fd < 0 and not self._enter(0):
            return b""
        while True:
            if data := self._read_part():
                return data
            following = min((start for start in self._starts() if start > self._start), default=None)
            if following is None:
                return b""
            if data := self._read_part():  # written after our look and before the next part was begun
                return data
            left_out_bytes = following - self._start - self._at
            if self._enter(following) and left_out_bytes > 0:
                return _marker(left_out_bytes, self._ends_line)

    def go_to_last_lines(self, lines: int) -> None:
        """Go to where the last `lines` lines begin; an unfinished one counts. No file yet: stay at the start."""
        missing, budget_bytes, is_end = lines, LOOK_BACK_BYTES, True
        for start in sorted(self._starts(), reverse=True):
            if not self._enter(start):
                continue
            size = os.fstat(self._fd).st_size
            if lines <= 0:
                self._at = size
                return
            if is_end and size:
                missing += os.pread(self._fd, 1, size - 1) == b"\n"
                is_end = False
            missing, self._at = self._lines_back(missing, size, budget_bytes)
            budget_bytes -= size - self._at
            if missing <= 0 or budget_bytes <= 0:
                return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _read_part(self) -> bytes:
        data = os.pread(self._fd, BLOCK_BYTES, self._at)
        self._at += len(data)
        if data:
            self._ends_line = data.endswith(b"\n")
        return data

    def _lines_back(self, missing: int, end: int, budget_bytes: int) -> tuple[int, int]:
        """How many line ends are still missing, and the place found: the part's start unless none are."""
        start = end
        while start > max(0, end - budget_bytes):
            size = min(BLOCK_BYTES, start)
            block = os.pread(self._fd, size, start - size)
            found = block.count(b"\n")
            if found >= missing:
                return 0, start - size + _after_nth_last(block, missing)
            missing -= found
            start -= size
        return missing, start

    def _starts(self) -> list[int]:
        return [0, *tail_starts(self._path)]

    def _enter(self, start: int) -> bool:
        """Open the part that begins with this byte. False: it is not there, or not any more; nothing changed."""
        path = output_tail(self._path, start) if start else self._path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UnreadableFile(f"{path}: {error.strerror}") from None
        self.close()
        self._fd, self._start, self._at = fd, start, 0
        return True


def output_names(names: list[str]) -> list[str]:
    """Those of a folder's names that hold output."""
    return [name for name in names if name == OUTPUT or output_tail_start(name) is not None]


def tail_starts(path: str) -> list[int]:
    """The bytes with which the parts after ``output.log`` begin, in no order; none for an output without a limit."""
    folder, _, own = path.rpartition("/")
    names = (name for name in files.names(folder) if name.startswith(own))
    return [start for name in names if (start := output_tail_start(name)) is not None]


def written_bytes(path: str) -> int | None:
    """How much the job has written, left out or not; None: there is no file."""
    start = max(tail_starts(path), default=0)
    try:
        return start + os.lstat(output_tail(path, start) if start else path).st_size
    except OSError:
        return None


def _marker(left_out_bytes: int, ends_line: bool) -> bytes:
    line = f"[forgather: {left_out_bytes:,} bytes left out here; the job's output limit keeps head and tail]\n"
    return (b"" if ends_line else b"\n") + line.encode()


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
