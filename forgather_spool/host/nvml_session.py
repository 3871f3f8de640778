"""The one NVML session of this process, and what NVML's errors mean.

NVML is initialised when first asked and stays so until closed. Meanwhile the
driver cannot be unloaded nor a card reset, so whoever waits long for work
closes. When the driver was reloaded under us (UNINITIALIZED) the question is
asked once more in a new session; when a card gets lost, the next question is.
A library replaced on disk by an update stays the old one until this process
ends: that is the version mismatch, and it is said.

Knows the errors and no reading; `host/nvml.py` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from forgather_spool.errors import Missing
from forgather_spool.gpu import Gpu

T = TypeVar("T")


class Code(IntEnum):
    """nvmlReturn_t of nvml.h, as far as we act on it."""

    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NO_PERMISSION = 4
    NOT_FOUND = 6
    DRIVER_NOT_LOADED = 9
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    OPERATING_SYSTEM = 17
    LIB_RM_VERSION_MISMATCH = 18
    GPU_NOT_FOUND = 28


_SESSION_PROBLEMS = {
    Code.UNINITIALIZED: "NVML does not stay initialised (is the driver being reloaded?)",
    Code.NO_PERMISSION: "no permission to ask the NVIDIA driver (see /dev/nvidiactl)",
    Code.DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
    Code.LIBRARY_NOT_FOUND: "NVML is not installed (no usable libnvidia-ml.so.1)",
    Code.FUNCTION_NOT_FOUND: "the installed NVML is too old for nvidia-ml-py",
    Code.LIB_RM_VERSION_MISMATCH: "NVML and the loaded NVIDIA driver differ in version (updated without a reboot?)",
}
_CARD_PROBLEMS = {
    Code.INVALID_ARGUMENT: "there is no such card (any more)",
    Code.NO_PERMISSION: "no permission to use it",
    Code.NOT_FOUND: "vanished",
    Code.GPU_IS_LOST: "fell off the bus",
    Code.RESET_REQUIRED: "needs a reset",
    Code.OPERATING_SYSTEM: "blocked by the operating system (a device cgroup?)",
    Code.GPU_NOT_FOUND: "vanished",
}


@dataclass(slots=True)
class Session:
    """Open or not, and what must be remembered between readings: the UUIDs of cards, which were lost."""

    is_open: bool = False
    lost: frozenset[int] = frozenset()
    uuids: dict[int, str] = field(default_factory=dict)

    def open(self) -> None:
        """Initialise NVML unless it is. Raises pynvml.NVMLError."""
        import pynvml

        if not self.is_open:
            pynvml.nvmlInit()
            self.is_open = True

    def close(self) -> None:
        """Let go of the driver; the next `open` initialises NVML again. Never fails."""
        if not self.is_open:
            return
        import pynvml

        self.is_open = False
        with suppress(pynvml.NVMLError):  # a driver that went away has closed it for us
            pynvml.nvmlShutdown()

    def remember(self, gpus: tuple[Gpu, ...]) -> None:
        """Keep the UUIDs, for cards that get lost; close if one just has been."""
        self.uuids = {gpu.index: gpu.uuid for gpu in gpus if gpu.uuid is not None}
        lost = frozenset(gpu.index for gpu in gpus if gpu.problem is not None)
        # Only when newly lost: initialising wakes every idle card, about a second each without persistence mode.
        if lost - self.lost:
            self.close()
        self.lost = lost


session = Session()


def ask(question: Callable[[], T]) -> T:
    """The answer to `question`, a function that calls pynvml and finds NVML initialised.

    It may be called twice. What it raises other than NVMLError passes through.

    Raises:
        Missing: NVML cannot answer at all; the message says why in words.
    """
    try:
        import pynvml
    except ImportError:
        raise Missing("the package nvidia-ml-py is not installed", hint="pip install nvidia-ml-py") from None
    try:
        session.open()
        try:
            return question()
        except pynvml.NVMLError_Uninitialized:
            session.close()
            session.open()
            return question()
    except pynvml.NVMLError as error:
        session.close()
        raise Missing(_in_words(error, _SESSION_PROBLEMS), hint="nvidia-smi") from None


def session_is_over(error: Any) -> bool:
    """Whether this NVMLError, said of one card, is true of all: the driver went away."""
    return error.value in (Code.UNINITIALIZED, Code.DRIVER_NOT_LOADED)


def card_is_gone(error: Any) -> bool:
    """Whether this NVMLError, said of one field, is true of the whole card."""
    return error.value in (Code.GPU_IS_LOST, Code.RESET_REQUIRED, Code.GPU_NOT_FOUND)


def card_problem(error: Any) -> str:
    """Why the card that raised this NVMLError cannot be used, in words for `Gpu.problem`."""
    return _in_words(error, _CARD_PROBLEMS)


def _in_words(error: Any, words: Mapping[Code, str]) -> str:
    return words.get(error.value) or f"NVML says {str(error)!r} (code {error.value})"
