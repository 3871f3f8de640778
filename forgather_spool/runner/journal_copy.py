"""The job's output in the journal: lines, as far as the budget goes.

A journal is read by line, and output is bytes. So a progress bar, which is one
line redrawn with \\r, goes in as it last looked; a line without an end is cut;
and while the budget is used up lines are only counted, which costs next to nothing.
"""

from __future__ import annotations

import time

from forgather_spool.host.journal import INFO, MAX_LINE_BYTES, JournalSender

PROGRESS_EVERY_S = 30.0


class JournalCopy:
    """Feed it the output as it comes; `close` it at the end."""

    def __init__(self, job_id: str, sender: JournalSender | None = None) -> None:
        self._sender = sender or JournalSender(job_id)
        self._begun = b""  # of a line whose end has not come
        self._cut_bytes = 0  # of that line, what is not kept
        self._is_bar = False  # that line has been drawn over
        self._next_progress = 0.0  # monotonic

    @property
    def dropped_lines(self) -> int:
        return self._sender.dropped_lines

    def say(self, text: str, priority: int = INFO) -> None:
        """A line of our own, whatever the budget."""
        self._sender.say(text, priority)

    def feed(self, data: bytes) -> None:
        allowance = self._sender.allowance()
        end = data.rfind(b"\n")
        if end >= 0 and not allowance:
            self._sender.skip(data.count(b"\n"))
            self._begin_line()
        elif end >= 0:
            lines = data[:end].split(b"\n", allowance)
            self._keep(lines[0])
            lines[0] = self._end_line()
            if len(lines) > allowance:
                self._sender.skip(lines.pop().count(b"\n") + 1)
            self._sender.send_lines([_as_it_last_looked(line) for line in lines])
        self._keep(data[end + 1 :])
        self._show_progress()

    def end(self) -> None:
        """The output is over: send what has no newline yet."""
        if self._begun:
            self._sender.send_lines([self._end_line()])

    def close(self) -> None:
        """Have the sender say what is missing."""
        self._sender.close()

    def _keep(self, data: bytes) -> None:
        """Add to the line that has begun: of a bar its last look, of an endless line its first part."""
        redrawn_at = data.rstrip(b"\r").rfind(b"\r")
        if redrawn_at >= 0 or (data.strip(b"\r") and self._begun.endswith(b"\r")):
            self._begin_line()
            self._is_bar = True
            data = data[redrawn_at + 1 :]
        room = MAX_LINE_BYTES - len(self._begun)
        self._begun += data[:room]
        self._cut_bytes += max(0, len(data) - room)

    def _begin_line(self) -> None:
        self._begun, self._cut_bytes, self._is_bar = b"", 0, False

    def _end_line(self) -> bytes:
        line, cut_bytes = _as_it_last_looked(self._begun), self._cut_bytes
        self._begin_line()
        return line + f" ... and {cut_bytes} bytes more, in output.log".encode() if cut_bytes else line

    def _show_progress(self) -> None:
        """An unfinished bar goes in as it looks now, once in `PROGRESS_EVERY_S`."""
        if self._is_bar and self._begun and (now := time.monotonic()) >= self._next_progress:
            self._next_progress = now + PROGRESS_EVERY_S
            self._sender.send_lines([_as_it_last_looked(self._begun)])


def _as_it_last_looked(line: bytes) -> bytes:
    return line.rstrip(b"\r").rpartition(b"\r")[2]
