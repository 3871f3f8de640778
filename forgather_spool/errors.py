"""Errors a user can cause or meet, each with its exit code and a hint.

An error says what happened in its first line and what to do next in `hint`.
Errors become text and an exit code in one place, `cli/__init__.py`. The codes
answer the one question a script asks: will trying again help?

    1    the job (or the command asked of it) failed
    2    usage: the words on the command line
    65   an unreadable file
    69   something needed is missing
    70   our bug
    75   busy: try again
    124  waited long enough
"""

from __future__ import annotations


class ForgatherError(Exception):
    """What every error of ours is. `str(error)` is one line; `hint` says what to do, below a script's traceback too."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"try: {hint}")


class JobFailed(ForgatherError):
    """The job, or what was asked of it, did not succeed."""


class BadArgument(ForgatherError):
    """A dynamic argument of a config is missing, unknown, of the wrong type or out of its bounds."""


class UsageError(ForgatherError):
    """The request cannot be what was meant: a bad value, an unknown id."""

    exit_code = 2


class NoSuchJob(UsageError):
    """No job has this id, prefix or name."""


class BadDocument(ForgatherError):
    """A JSON document is not what it should be. `where` is a field path such as ``$.env.PATH``."""

    exit_code = 65

    def __init__(self, where: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: {problem}", hint=hint)
        self.where = where
        self.problem = problem


class UnreadableFile(ForgatherError):
    """A file that must be read cannot be: not regular, another's, too large, damaged."""

    exit_code = 65


class Missing(ForgatherError):
    """Something needed is not there: a program, a library, a user manager, access."""

    exit_code = 69


class SpoolUnsafe(Missing):
    """The spool may be written to by others, or lies where files cannot be trusted."""


class StorageFailed(ForgatherError):
    """The file system refused: full, read-only, over quota, an I/O error. Nothing was acknowledged."""

    exit_code = 75


class Busy(ForgatherError):
    """Somebody else is doing this right now."""

    exit_code = 75


class AlreadyClaimed(Busy):
    """Another took this step first. The loser leaves everything as it is."""


class WaitedLongEnough(ForgatherError):
    """A time limit given by the user ran out; the job itself is untouched."""

    exit_code = 124
