"""The two signals a training run may take: SIGTERM as a command, SIGUSR1 for a look at its stacks.

Neither is taken from a program that uses it itself, and neither failing keeps
a run from training.
"""

from __future__ import annotations

import signal

from forgather_spool.trainer.warn import warn_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any


class Sigterm:
    """SIGTERM calls `act`, in the middle of whatever the main thread does, until `leave`."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._before_us: Any = None
        self._taken = False
        try:
            self._before_us = signal.signal(signal.SIGTERM, self._on_signal)
            self._taken = True
        except ValueError:
            warn_once("SIGTERM is not turned into a command: TrainerControl was not made in the main thread")

    def leave(self) -> None:
        """What comes after the training ends at a SIGTERM again."""
        try:
            if self._taken and signal.getsignal(signal.SIGTERM) == self._on_signal:
                signal.signal(signal.SIGTERM, self._before_us or signal.SIG_DFL)
        except ValueError:
            return  # not the main thread

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._act()


def dump_stacks_on_usr1() -> None:
    """SIGUSR1 prints every thread's stack, unless the program uses the signal itself."""
    import faulthandler

    try:
        if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
            faulthandler.register(signal.SIGUSR1, all_threads=True)
    except (ValueError, RuntimeError, AttributeError):
        return  # no stderr to print to
