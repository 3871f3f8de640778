"""The file that is a job's command: where it is found, and why it was not started."""

from __future__ import annotations

import errno
import os

from forgather_spool.errors import Missing


def find_program(name: str, cwd: str, env: dict[str, str]) -> str:
    """The file `name` means in the job's own PATH and directory, as execvp(3) would look for it.

    Raises:
        Missing: there is none, or it may not be executed.
    """
    if "/" in name:
        path = os.path.join(cwd, name)
        _check_program(path)
        return path
    not_executable = ""
    for folder in env.get("PATH", os.defpath).split(":"):
        path = os.path.join(cwd, folder, name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            not_executable = not_executable or path
    if not_executable:
        _check_program(not_executable)
    raise Missing(f"the command {name!r} is not in the job's PATH ({env.get('PATH', os.defpath)})")


def not_started(program: str, error: OSError) -> Missing:
    """What to raise when execve(2) or posix_spawn(3) has refused `program`."""
    says = _EXEC_SAYS.get(error.errno or 0, "cannot be executed")
    return Missing(f"the command {program} {says}: {error.strerror}")


def _check_program(path: str) -> None:
    if os.path.isdir(path):
        raise Missing(f"the command {path} is a directory")
    if not os.path.exists(path):
        raise Missing(f"the command {path} is not there")
    if not os.access(path, os.X_OK):
        raise Missing(f"the command {path} is not executable; try: chmod +x {path}")


_EXEC_SAYS = {
    errno.ENOEXEC: "is neither a program nor a script with a first line such as #!/bin/sh",
    errno.ENOENT: "cannot be executed because the interpreter its first line names is not there",
    errno.EACCES: "may not be executed (its mode, its folder, or a file system mounted noexec)",
    errno.E2BIG: "has too many arguments or too large an environment",
}
