"""From a spec to a command that can be started, or a sentence that says why it cannot."""

from __future__ import annotations

import os

from forgather_spool.errors import Missing
from forgather_spool.spool.files import discard

SCRIPT_MODE = 0o700


class Command:
    """What to execute: `program` is a path, `argv[0]` as the user wrote it."""

    __slots__ = ("argv", "cwd", "env", "program", "tty")

    def __init__(self, program: str, argv: list[str], cwd: str, env: dict[str, str], tty: bool) -> None:
        self.program = program
        self.argv = argv
        self.cwd = cwd
        self.env = env
        self.tty = tty


def find_cwd(cwd: str | None, env: dict[str, str]) -> str:
    """The directory to run in; absent: the home directory.

    Raises:
        Missing: it is not there or cannot be entered.
    """
    path = cwd if cwd is not None else env.get("HOME", "/")
    if not os.path.isabs(path):
        raise Missing(f"its directory {path!r} is not an absolute path")
    if not os.path.isdir(path):
        raise Missing(f"its directory {path} is {'not a directory' if os.path.lexists(path) else 'not there'}")
    if not os.access(path, os.X_OK):
        raise Missing(f"its directory {path} may not be entered")
    return path


def write_script(path: str, text: str) -> None:
    """Put a spec's script where it can be executed. Raises Missing: the file system refuses."""
    try:
        discard(path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, SCRIPT_MODE)
        with open(fd, "wb", buffering=0) as file:
            os.fchmod(fd, SCRIPT_MODE)
            rest = memoryview(text.encode())
            while rest:
                rest = rest[file.write(rest) or 0 :]
    except OSError as error:
        raise Missing(f"its script {path} cannot be written: {error.strerror}") from None
