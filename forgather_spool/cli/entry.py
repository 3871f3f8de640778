"""Where the `forgather` command begins.

`submit` is what scripts call a thousand times, and `control status` each second,
so each takes a path of its own that imports next to nothing; every other word goes to `app.py` and click.
"""

from __future__ import annotations

import os
import sys

from forgather_spool.cli import reported


def main(argv: list[str] | None = None) -> int:
    """Run the words of a command line (without the program's name); the exit code."""
    words = sys.argv[1:] if argv is None else argv
    return reported(lambda: _run(words))


def _run(words: list[str]) -> int:
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name may hold what the terminal's encoding cannot say
            stream.reconfigure(errors="backslashreplace")
    if words[:1] == ["submit"]:
        _announce()
        from forgather_spool.cli.submit.options import split

        given = split(words[1:])
        if given is not None:
            from forgather_spool.cli.submit import run

            return run.run(*given)
    if words[:2] == ["control", "status"]:
        from forgather_spool.cli.control import status

        code = status.run(words[2:])
        if code is not None:
            return code
    from forgather_spool.cli import app

    return app.run(words)


def _announce() -> None:
    from forgather_spool.dispatcher import wake
    from forgather_spool.spool.paths import Paths, default_home

    wake.announce(Paths(default_home()))


def _open_what_is_closed() -> None:
    """After ``>&-`` what is said goes nowhere, and no file of ours gets the number of stdout."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            os.set_inheritable(fd, True)
            setattr(sys, name, os.fdopen(fd, "w"))
