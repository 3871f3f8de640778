"""Streaming a job's output while it runs; ends with the job.

To a terminal the job's own bytes go as they are: it is the user's job, and its
colours and progress bars are meant for it. Elsewhere a progress bar becomes
one line in its last state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from forgather_spool.cli.reader import is_gone
from forgather_spool.job import State
from forgather_spool.spool.follow import ENDED, UNCLAIMED, Follower
from forgather_spool.spool.look import Job, look
from forgather_spool.spool.output import LineFolder, Output
from forgather_spool.spool.queue import Spool


class Tail:
    """One job's output onto `out`, from `attempt` on (None: the current one). `raw`: `out` is a terminal."""

    def __init__(self, spool: Spool, job_id: str, attempt: int | None, out: BinaryIO, *, raw: bool) -> None:
        self._spool = spool
        self._job_id = job_id
        self._out = out
        self._raw = raw
        self._folder = LineFolder()
        self._attempt = attempt
        self._output = Output("")

    def run(
        self,
        *,
        lines: int | None,
        follow: bool,
        on_waiting: Callable[[Job], None],
        on_again: Callable[[int], None],
    ) -> Job:
        """Print the last `lines` (None: all) and then, with `follow`, what comes until the job ends. How it ended.

        A job that has not started is printed whole; `on_waiting` is called once
        with it. `on_again` is called with the number of each attempt that follows.
        """
        try:
            with Follower(self._spool, self._job_id, with_output=True) as follower:
                state = follower.look()
                self._open(follower.attempt if self._attempt is None else self._attempt)
                has_begun = state not in (*UNCLAIMED, State.LAUNCHING) or self._attempt != follower.attempt
                if not has_begun:
                    if state in UNCLAIMED:
                        on_waiting(look(self._spool, self._job_id))
                elif lines is not None:
                    self._output.go_to_last_lines(lines)
                self._backlog()
                while follow and state not in ENDED:
                    follower.wait()
                    if is_gone(self._out.fileno()):  # a job that says nothing has no write to notice it by
                        raise BrokenPipeError
                    state = follower.look()  # before reading: what an ended job wrote is all there
                    self._copy()
                    self._catch_up(follower.attempt, on_again)
        finally:
            self._output.close()
        self._write(self._folder.rest())
        return look(self._spool, self._job_id)

    def _open(self, attempt: int) -> None:
        self._output.close()
        self._attempt, self._output = attempt, Output(self._spool.paths.output(self._job_id, attempt))

    def _catch_up(self, attempt: int, on_again: Callable[[int], None]) -> None:
        """Go on with the attempts up to `attempt`; all before it are over and whole."""
        assert self._attempt is not None
        while self._attempt < attempt:
            self._write(self._folder.rest())
            self._open(self._attempt + 1)
            on_again(self._attempt)
            self._copy()

    def _backlog(self) -> None:
        """What is there already. Of a progress bar only its last state, on a terminal too: it may be megabytes."""
        while data := self._output.read():
            self._write(self._folder.feed(data))
        if self._raw:
            self._write(self._folder.rest())

    def _copy(self) -> None:
        while data := self._output.read():
            self._write(data if self._raw else self._folder.feed(data))

    def _write(self, data: bytes) -> None:
        if data:
            self._out.write(data)
            self._out.flush()
