"""While the job runs: its output, its end, the clock, and whoever asks it to stop.

One poll over all of them. An idle job wakes its runner once a minute. Over is
when the command has ended *and* nobody of its family is left: only then are its
GPUs free. Who holds the pipe beyond that, from outside the family, is not waited for.
"""

from __future__ import annotations

import os
import select
import time

from forgather_spool.again import SERVICE_MANAGER
from forgather_spool.document import Document
from forgather_spool.runner import signals
from forgather_spool.runner.family import Family
from forgather_spool.runner.journal_copy import JournalCopy
from forgather_spool.runner.output import OutputLog
from forgather_spool.runner.requests import StopRequests
from forgather_spool.runner.spawn import Spawned
from forgather_spool.runner.stopping import Stopping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES = 256 * 1024
READ_EVERY_S = 0.005  # lets a torrent of small writes gather: 200 reads a second, not 100,000
SHORT_S = 0.02  # a command that is over before is not noted, and nobody can have it stopped
LEFT_LOOK_EVERY_S = 0.5  # who left the family without being our child is not told to us


class Supervision:
    """One running command. `run` returns its wait status once the family is gone."""

    def __init__(
        self,
        spawned: Spawned,
        spec: Document,
        family: Family,
        requests: StopRequests,
        caught: signals.Caught,
        log: OutputLog,
        journal: JournalCopy,
        note: Callable[[], None],
    ) -> None:
        """`note` is called once, when it has run for `SHORT_S`; from then on, `requests` are heeded."""
        self.stopping = Stopping(family)
        self._pid = spawned.pid
        self._output_fd = spawned.output_fd
        self._capacity_bytes = spawned.capacity_bytes
        self._read_on_bytes = min(READ_BYTES, spawned.capacity_bytes) // 2  # with so much, do not wait for more
        self._family = family
        self._requests = requests
        self._caught = caught
        self._log = log
        self._journal = journal
        self._note: Callable[[], None] | None = note
        self._grace_s = _number(spec["grace_s"])
        self._limit_s = None if spec["time_limit_s"] is None else _number(spec["time_limit_s"])
        self._began = time.monotonic()
        self._last_read = self._began - READ_EVERY_S
        self._next_look = self._began + SHORT_S
        self._status: int | None = None
        self._has_children = True

    def run(self) -> int:
        poll = select.poll()
        for fd in (self._output_fd, self._caught.fileno(), self._requests.fileno()):
            poll.register(fd, select.POLLIN)
        while not self._is_over():
            ready = {fd for fd, _ in poll.poll(self._patience_ms())}
            self._hear_signals()
            if self._requests.fileno() in ready and self._requests.heard():
                self._next_look = 0.0
            if self._output_fd in ready and not self._take_output():
                poll.unregister(self._output_fd)
            self._heed_clock()
        self._drain()
        assert self._status is not None
        return self._status

    def _is_over(self) -> bool:
        if self._status is None:
            return False
        if self._family.is_gone(self._has_children):
            return True
        self.stopping.clear_out("left by the command that has ended", self._grace_s, time.monotonic())
        return False

    def _patience_ms(self) -> float:
        """Until something is to be done although nothing happens."""
        deadlines = [self._next_look]
        if self.stopping.deadline is not None:
            deadlines.append(self.stopping.deadline)
        elif self._limit_s is not None:
            deadlines.append(self._began + self._limit_s)
        now = time.monotonic()
        if self._status is not None:
            deadlines.append(now + LEFT_LOOK_EVERY_S)
        return max(0.0, min(deadlines) - now) * 1000 + 1

    def _hear_signals(self) -> None:
        """`systemctl stop` sends TERM to the job as well: one that has ended of it by now was stopped, too."""
        had_ended = self._status is not None
        heard = self._caught.read()  # before the reaping, or the end of a child that comes in between goes unheard
        self._reap()
        if self._status is not None and not had_ended:
            heard |= self._caught.read()  # from here on nobody sleeps for long
        if signals.SIGTERM in heard and not had_ended:
            outcome: Document = {"kind": "cancelled", "by": SERVICE_MANAGER}
            self.stopping.stop(outcome, f"asked by {SERVICE_MANAGER}", self._grace_s, time.monotonic())

    def _reap(self) -> None:
        """Wait for whoever has ended: the command, and orphans that have become ours."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                return
            if pid == 0:
                return
            self._family.note_reaped(usage)
            if pid == self._pid:
                self._status = status

    def _heed_clock(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            if self._note is not None:
                self._requests.listen()
                note, self._note = self._note, None
                if self._status is None:
                    note()
            for force, request in self._requests.look():
                self._heed_request(force, request, now)
            self._next_look = now + self._requests.look_again_s
        if self._limit_s is not None and now >= self._began + self._limit_s and self.stopping.deadline is None:
            self._stop({"kind": "timed_out", "limit_s": self._limit_s}, f"its limit of {self._limit_s:g} s is over")
        self.stopping.act(now)

    def _heed_request(self, force: bool, request: Document, now: float) -> None:
        outcome: Document = {"kind": "cancelled", "by": request["by"]}
        if force and self._status is None:
            self.stopping.kill(outcome, f"asked by {request['by']}", now)
        elif force:
            self.stopping.hasten(f"asked by {request['by']}", now)
        else:
            self._stop(outcome, f"asked by {request['by']}", request["grace_s"])

    def _stop(self, outcome: Document, why: str, grace_s: object = None) -> None:
        """End the command, if it has not ended by itself: then it is being cleared out already."""
        if self._status is None:
            grace = self._grace_s if grace_s is None else _number(grace_s)
            self.stopping.stop(outcome, why, grace, time.monotonic())

    def _take_output(self) -> bool:
        """One read to the log and the journal. False: the output is over."""
        early_s = self._last_read + READ_EVERY_S - time.monotonic()
        if early_s > 0 and self._status is None:
            time.sleep(early_s)
        self._last_read = time.monotonic()
        data = self._read()
        if len(data or b"") >= self._read_on_bytes:
            self._last_read -= READ_EVERY_S
        return data != b""

    def _read(self) -> bytes | None:
        """What is there, now in the log and the journal; None: nothing yet; empty: the end."""
        try:
            data = os.read(self._output_fd, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:  # EIO: a terminal whose other side nobody holds any more
            return b""
        if data:
            self._log.write(data)
            self._journal.feed(data)
        return data

    def _drain(self) -> None:
        """What the family left in the pipe; at most what fits, for others may go on writing."""
        left_bytes = self._capacity_bytes
        while left_bytes > 0 and (data := self._read()):
            left_bytes -= len(data)
        os.close(self._output_fd)
        self._journal.end()


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return float(value)
