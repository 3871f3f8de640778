"""Where the `forgather` command begins.

`submit` is what scripts call a thousand times, and `control status` each second,
so each takes a path of its own that imports next to nothing; every other word goes to `app.py` and click.
"""

from __future__ import annotations

import gc
import os
import sys

from forgather_spool.cli import closed_at_start, reported
from forgather_spool.importing import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# What a submit needs, in the order in which it is needed; another import would find it as well, but later.
_TO_ANNOUNCE = ("dispatcher", "host", "host.name", "spool", "spool.names", "spool.paths", "dispatcher.wake")
_TO_SUBMIT = (
    "cli.submit", "cli.quantities", "cli.submit.options", "document", "fields", "schema", "cli.submit.environment",
    "cli.submit.git_commit", "host.user_manager", "spool.files", "spool.entrance", "cli.submit.one", "spool.submit",
    "cli.submit.run",
)  # fmt: skip
_GARBAGE_LIMIT = 50_000  # objects; what is imported is none, and a short command makes little


def program() -> NoReturn:
    """`main`, and the end of the process.

    To take an interpreter down costs 2 to 5 ms of a core, which a dispatcher that
    was just told of a job needs for it. So where nobody asked to be told of the
    end, and all that was said could be said, it is left as it stands.
    """
    gc.set_threshold(_GARBAGE_LIMIT)
    code = main()
    if _is_end_awaited():
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # it was told, or nobody is there to be told
    os._exit(code)


def _is_end_awaited() -> bool:
    """Whether threads are to be joined, or something is to be called at exit (click's imports see to both)."""
    import atexit

    return "threading" in sys.modules or atexit._ncallbacks() > 0


def main(argv: list[str] | None = None) -> int:
    """Run the words of a command line (without the program's name); the exit code."""
    words = sys.argv[1:] if argv is None else argv
    return reported(lambda: _run(words))


def _run(words: list[str]) -> int:
    _open_what_is_closed(("stdout", 1), ("stderr", 2))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name may hold what the terminal's encoding cannot say
            stream.reconfigure(errors="backslashreplace")
    if words[:1] == ["submit"]:
        load(*_TO_ANNOUNCE)
        _announce()
        load(*_TO_SUBMIT)
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
    if words[:1] != ["submit"]:  # which says so where it was to read its jobs from there
        _open_what_is_closed(("stdin", 0))
    from forgather_spool.cli import packages

    packages.make_findable()
    from forgather_spool.cli import app

    return app.run(words)


def _announce() -> None:
    from forgather_spool.dispatcher import wake
    from forgather_spool.spool.paths import Paths, default_home

    wake.announce(Paths(default_home()))


def _open_what_is_closed(*streams: tuple[str, int]) -> None:
    """After ``>&-`` what is said goes nowhere, after ``<&-`` nothing comes; no file of ours gets their numbers."""
    for name, fd in streams:
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY if fd else os.O_RDONLY)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            os.set_inheritable(fd, True)
            closed_at_start.add(fd)
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r"))
