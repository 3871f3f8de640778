"""Where the `forgather` command begins.

`submit` is what scripts call a thousand times, and `control status` each second,
so each takes a path of its own that imports next to nothing; every other word goes to `app.py` and click.
"""

from __future__ import annotations

import sys

from forgather_spool.cli import reported


def main(argv: list[str] | None = None) -> int:
    """Run the words of a command line (without the program's name); the exit code."""
    words = sys.argv[1:] if argv is None else argv
    return reported(lambda: _run(words))


def _run(words: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name may hold what the terminal's encoding cannot say
            stream.reconfigure(errors="backslashreplace")
    if words[:1] == ["submit"]:
        from forgather_spool.cli import submit_options

        split = submit_options.split(words[1:])
        if split is not None:
            from forgather_spool.cli import submit

            return submit.run(*split)
    if words[:2] == ["control", "status"]:
        from forgather_spool.cli import control_status

        code = control_status.run(words[2:])
        if code is not None:
            return code
    from forgather_spool.cli import app

    return app.run(words)
