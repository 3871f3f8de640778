"""The command line. Here, and nowhere else, errors become text and an exit code.

    error: <what happened, on one line>
      fix: <what to do next>

Results go to stdout, everything else to stderr. Exit codes are those of
`errors.py`, and as shells count: 130 after Ctrl-C, 141 when the reader of our
output went away (`forgather sched list | head`), which is not worth a word.
Anything that is not a ForgatherError is our bug: exit 70, the traceback in a
file, shown as well with ``FORGATHER_DEBUG=1``.

Light: `forgather submit` comes through here.
"""

from __future__ import annotations

import os
import sys

from forgather_spool.errors import ForgatherError, StorageFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEBUG_VARIABLE = "FORGATHER_DEBUG"
OUR_BUG = 70
INTERRUPTED = 130
READER_GONE = 141  # 128 + SIGPIPE

closed_at_start: set[int] = set()  # of stdin, stdout and stderr: `entry.py` put the null device there


def reported(action: Callable[[], int]) -> int:
    """What `action` returns, as the exit code; whatever it raises is told on stderr and has a code of its own."""
    try:
        code = action()
        sys.stdout.flush()
        return code
    except ForgatherError as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            complain("")  # after the terminal's ^C, so that the prompt has a line of its own
        return INTERRUPTED
    except BrokenPipeError as error:
        if not _output_is_closed():
            return _our_bug(error)
        _close_output()
        return READER_GONE
    except OSError as error:
        if error.filename is not None or error.errno not in _CANNOT_WRITE:
            return _our_bug(error)
        _close_output()
        hint = "what was asked for may have been done: look before you try again"
        tell(StorageFailed(f"cannot write the answer: {error.strerror}", hint=hint))
        return StorageFailed.exit_code
    except Exception as error:  # the last place there is: a traceback is asked for, not thrown at a user
        return _our_bug(error)


_CANNOT_WRITE = {5, 28, 30, 122}  # EIO, ENOSPC, EROFS, EDQUOT: stdout or stderr is a file on a disk that takes no more


def tell(error: ForgatherError) -> None:
    """The one form of an error on stderr. For loops that go on after one; others raise."""
    complain(f"error: {shown(str(error))}")
    if error.hint:
        complain(f"  fix: {shown(error.hint)}")


def warn(message: str) -> None:
    """One line on stderr about something that does not stop us."""
    complain(f"warning: {shown(message)}")


def shown(text: str) -> str:
    """As `show.shown`, which is imported when there is something to say."""
    from forgather_spool.cli import show

    return show.shown(text)


def complain(line: str) -> None:
    """A line to stderr; nothing where stderr is closed or gone."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        pass


def _close_output() -> None:
    """Python flushes stdout once more when it leaves; it would complain, and return 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _output_is_closed() -> bool:
    """Whether nobody reads our stdout or stderr any more: else the broken pipe was another."""
    import select

    poll = select.poll()
    for fd in (1, 2):
        poll.register(fd, 0)
    return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def _our_bug(error: Exception) -> int:
    import traceback

    text = "".join(traceback.format_exception(error))
    kind = type(error).__name__
    where = _write_down(text, f"{shown(' '.join(sys.argv))}\nPython {sys.version}\n\n{text}")
    complain(
        f"error: this is a bug in forgather ({kind}: {shown(str(error))[:200]}); the traceback is in {shown(where)}"
    )
    complain(f"  fix: please report it with that file; {DEBUG_VARIABLE}=1 shows the traceback here")
    if os.environ.get(DEBUG_VARIABLE):
        complain(text)
    return OUR_BUG


def _write_down(text: str, report: str) -> str:
    """Where the report lies: under the home where that can be written, else with the temporary files, else nowhere.

    The same traceback has the same file: a unit that is restarted each second must not fill the disk.
    """
    import tempfile
    import zlib

    data = report.encode("utf-8", "backslashreplace")
    try:
        path = f"{_server_folder()}/crash-{zlib.crc32(text.encode('utf-8', 'replace')):08x}.txt"
        return _write(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), path, data)
    except (OSError, ForgatherError):
        pass
    try:
        return _write(*tempfile.mkstemp(prefix="forgather-crash-", suffix=".txt"), data)
    except OSError:
        return "no file (nowhere to write)"


def _write(fd: int, path: str, data: bytes) -> str:
    with open(fd, "wb") as file:
        file.write(data)
    return path


def _server_folder() -> str:
    from forgather_spool.spool.paths import Paths, default_home

    return Paths(default_home()).server
