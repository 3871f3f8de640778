"""One training run under control: flags for the loop, answers for whoever asked.

The loop calls `poll` at each step boundary and looks at the flags; everything
slow (files, HTTP) happens in a thread of rank 0, so a poll with nothing to do
reads two attributes. What is asked is carried out at the next boundary, by all
ranks at the same one (see `ranks`), and answered when it is done.

A run never fails because control failed: what cannot be had is one warning,
and training goes on without it.
"""

from __future__ import annotations

import atexit
import os
import sys
import time

from forgather_spool.command import COMMANDS
from forgather_spool.trainer import ranks
from forgather_spool.trainer.metrics import floats, in_json
from forgather_spool.trainer.surroundings import own_job_id, queued_attempt, take_signals
from forgather_spool.trainer.warn import warn_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from forgather_spool.trainer.listener import Listener

    Handler = Callable[[dict[str, Any]], dict[str, Any] | None]


class TrainerControl:
    """Polled once a step. In every rank; only rank 0 reads commands and answers.

    Args:
        job_id: names the run for `forgather control`; default the queue's id
            (``FORGATHER_JOB_ID``), else ``job_<time>_<host>_<pid>``.
        max_steps, output_dir, logging_dir: shown to whoever asks.
        save_on_stop: whether `graceful_stop` saves: True unless the save strategy is "no".
        on_sigterm: a command to carry out when the process gets SIGTERM (`job kill`,
            a time limit), e.g. "save_and_stop". None leaves the signal alone.
            Take care that the job's `--grace` is long enough for a save.
        enable_http, port, host: the optional HTTP endpoint; None starts it where
            aiohttp is installed; the files work in any case.
        home: another ``$FORGATHER_HOME``.
    """

    should_save: bool
    should_stop: bool
    should_abort: bool
    should_evaluate: bool

    def __init__(
        self,
        job_id: str | None = None,
        *,
        max_steps: int | None = None,
        output_dir: str | None = None,
        logging_dir: str | None = None,
        save_on_stop: bool = True,
        on_sigterm: str | None = None,
        enable_http: bool | None = False,
        port: int | None = None,
        host: str = "127.0.0.1",
        home: str | None = None,
    ) -> None:
        queued_id = os.environ.get("FORGATHER_JOB_ID")
        self.job_id = job_id or queued_id or own_job_id()
        self.attempt = queued_attempt() if self.job_id == queued_id else 1
        self.rank, self.world_size = ranks.rank_and_world_size()
        self.save_on_stop = save_on_stop
        self._clear()
        self.step = -1
        self.epoch: float | None = None
        self.max_steps = max_steps
        self.metrics: dict[str, float] = {}
        self._raised = False
        self._unsaved: list[dict[str, Any]] = []
        self._handlers: dict[str, Handler] = {}
        self._listener: Listener | None = None
        self._agreement: ranks.Alone | ranks.Together = ranks.Alone()
        self._passing: Callable[[int], None] | None = None
        self._closed = False
        able = self._join_ranks()
        if able and self.rank == 0:
            self._listen(home, output_dir, logging_dir, (enable_http, host, port))
        self._sigterm = take_signals(None if on_sigterm is None else lambda: self._on_sigterm(on_sigterm))
        atexit.register(self._end_unclosed)

    def __enter__(self) -> TrainerControl:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- for the training loop --------------------------------------------------------------------------------------

    def poll(self, step: int) -> bool:
        """At the boundary after `step`: whether a flag is raised now. Flags hold until the next poll.

        `step` counts alike in all ranks and never goes back.
        """
        self.step = step
        if self._passing is not None:
            self._passing(step)
        if self._raised or self._agreement.hold:
            return self._boundary(step)
        return False

    def report(
        self,
        metrics: Mapping[str, float] | None = None,
        *,
        epoch: float | None = None,
        max_steps: int | None = None,
        **more: float,
    ) -> None:
        """Tell what `status` shows: the latest loss and the like, as a mapping or by name: ``report(loss=2.5)``.

        A number that is still on a GPU costs a synchronisation here: report what you log anyway.
        """
        if epoch is not None:
            self.epoch = epoch
        if max_steps is not None:
            self.max_steps = max_steps
        for numbers in (metrics, more):
            if numbers:
                self.metrics = self.metrics | floats(numbers)

    def saved(self, path: str | None = None) -> None:
        """The checkpoint asked for is on disk, at `path`. Answers whoever asked."""
        self._answer_saves("done", checkpoint=None if path is None else os.path.abspath(path))

    def save_failed(self, error: object) -> None:
        """The checkpoint could not be written. Answers whoever asked; a stop still stops."""
        self._answer_saves("failed", reason=str(error) or type(error).__name__)

    def on(self, command: str, handler: Handler) -> None:
        """Carry out a command of your own: `handler(args)` runs in every rank at the same step boundary.

        What rank 0's returns is in the acknowledgement; an exception answers `failed`.
        """
        self._handlers[command] = handler

    def close(self) -> None:
        """The run has ended: leave, answer what is pending, remove the endpoint file. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self._sigterm is not None:
            self._sigterm.leave()
        self._settle_unsaved()
        self._agreement.close()
        if self._listener is not None:
            self._listener.close("the training has ended")

    def _end_unclosed(self) -> None:
        """The interpreter ends and nobody called `close`: say why, if an exception was the reason."""
        error = getattr(sys, "last_value", None)
        if error is not None and self._unsaved:
            self.save_failed(f"the training ended with {type(error).__name__}: {error}")
        self.close()

    def knows(self, command: str) -> bool:
        """Whether this run can carry out `command`."""
        return command in COMMANDS or command in self._handlers

    def status(self) -> dict[str, Any]:
        """Where the run is, as ``status.json`` holds it."""
        return {
            "version": 1,
            "job_id": self.job_id,
            "status": "ended" if self._closed else "stopping" if self.should_stop else "training",
            "global_step": int(self.step) if self.step >= 0 else None,
            "max_steps": self.max_steps,
            "epoch": self.epoch,
            "metrics": in_json(self.metrics),
        }

    # -- the boundary -----------------------------------------------------------------------------------------------

    def _boundary(self, step: int) -> bool:
        self._settle_unsaved()
        if self._raised:
            stopping = self.should_stop, self.should_abort
            self._clear()
            self.should_stop, self.should_abort = stopping  # once stopped, stopped
            self._raised = any(stopping)
        if self._agreement.hold:
            for command in self._agreement.at(step):
                self._carry_out(command, step)
        return self._raised

    def _carry_out(self, command: dict[str, Any], step: int) -> None:
        name = command["command"]
        if self.world_size == 1 and _is_late(command):  # several ranks' clocks differ: rank 0 alone looks, earlier
            self._answer(command, "refused", step=step, reason="it came too late: its deadline passed during this step")
            return
        if name in self._handlers:
            self._handle(command, step)
            return
        meaning = COMMANDS.get(name)
        if meaning is None:
            warn_once(f"there is no command {name!r}")  # of `on_sigterm`; those of the mailbox are looked at there
            return
        saves = meaning.saves == "always" or (meaning.saves == "strategy" and self.save_on_stop)
        if name == "abort":
            self.should_abort = True
            self.should_save = self.should_evaluate = False
            self._answer_saves("refused", reason="the run was aborted")
        self.should_save = (self.should_save or saves) and not self.should_abort
        self.should_evaluate = (self.should_evaluate or meaning.evaluates) and not self.should_abort
        self.should_stop = self.should_stop or meaning.stops
        self._raised = self._raised or saves or meaning.stops
        if saves and self.should_save:
            self._unsaved.append(command)
        elif saves:
            self._answer(command, "refused", step=step, reason="the run was aborted")
        else:
            self._answer(command, "done", step=step, data=self.status() if name == "status" else None)

    def _handle(self, command: dict[str, Any], step: int) -> None:
        try:
            data = self._handlers[command["command"]](command["args"])
        except Exception as error:  # a user's handler must not end a user's run
            self._answer(command, "failed", step=step, reason=f"{type(error).__name__}: {error}")
        else:
            plain = data if data is None or isinstance(data, dict) else {"value": data}
            self._answer(command, "done", step=step, data=plain)

    def _settle_unsaved(self) -> None:
        """Asked to save, and the loop went on without a word: that is an answer too."""
        if self._unsaved:
            self._answer_saves("failed", reason="the training code did not say that it saved a checkpoint")

    def _answer_saves(self, outcome: str, *, checkpoint: str | None = None, reason: str | None = None) -> None:
        unsaved, self._unsaved = self._unsaved, []
        for command in unsaved:
            self._answer(command, outcome, step=self.step, checkpoint=checkpoint, reason=reason)

    def _answer(self, command: dict[str, Any], outcome: str, **facts: Any) -> None:
        if self._listener is not None and command.get("id"):
            self._listener.answer(command["id"], outcome, facts | {"step": int(facts.get("step", self.step))})

    def _clear(self) -> None:
        self.should_save = False
        self.should_stop = False
        self.should_abort = False
        self.should_evaluate = False

    # -- starting ---------------------------------------------------------------------------------------------------

    def _join_ranks(self) -> bool:
        if self.world_size <= 1:
            return True
        try:
            together = ranks.Together(ranks.connect(), self.rank, self.world_size, self._abandoned, ranks.run_prefix())
        except Exception as error:  # torch raises RuntimeErrors of its own from a store: train without
            warn_once(f"no trainer control: {self.world_size} ranks have no store to agree through ({error})")
            return False
        self._agreement = together
        self._passing = together.passing
        return True

    def _abandoned(self, commands: list[dict[str, Any]], reason: str) -> None:
        for command in commands:
            self._answer(command, "failed", reason=reason)

    def _listen(
        self,
        home: str | None,
        output_dir: str | None,
        logging_dir: str | None,
        http: tuple[bool | None, str, int | None],
    ) -> None:
        from forgather_spool.trainer.listener import Listener

        try:
            self._listener = Listener(self, self._agreement.propose, home, output_dir, logging_dir, http)
        except Exception as error:  # an unwritable home, a bad job id, no threads left: train without
            warn_once(f"no trainer control: {error}")

    def _on_sigterm(self, command: str) -> None:
        if self.rank == 0:  # every rank gets the signal; one proposes
            self._agreement.propose([{"id": "", "command": command, "args": {}}])


def _is_late(command: dict[str, Any]) -> bool:
    late_at_unix_s = command.get("late_at_unix_s")
    return late_at_unix_s is not None and late_at_unix_s < time.time()
