"""What can go wrong with data, beside the errors every program has."""

from __future__ import annotations

from forgather_spool.errors import ForgatherError, UnreadableFile


class BadDataset(UnreadableFile):
    """Files that hold no data set, or a damaged one."""


class ContentChanged(ForgatherError):
    """The data are not those that were meant: another content hash, or files changed while in use."""

    exit_code = 65


class StateMismatch(ForgatherError):
    """A saved position that does not belong to this data set, or to this way of reading it."""

    exit_code = 2


class BrokenStream(ForgatherError):
    """A stream was cut or damaged on its way. What came before is good: ask again from there."""

    exit_code = 75


class StreamRefused(ForgatherError):
    """The server cannot go on with a stream; `code` is a word for programs, such as ``content-changed``."""

    exit_code = 75

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ServerUnreachable(ForgatherError):
    """A server does not answer, or cannot now. `retry_after_s`: how long it asks to be left alone."""

    exit_code = 75

    def __init__(self, message: str, *, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ServerRefused(ForgatherError):
    """A server answers, and says no. It will say so again."""

    exit_code = 69
