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
