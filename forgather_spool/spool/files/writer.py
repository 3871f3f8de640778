"""A second process that creates files while this one prepares the next: creating one costs more than checking a job.

It is forked, gets the files through a pipe, and its exit status says how it
went. It writes what `together.write_new` writes and knows nothing else: it
syncs, renames and acknowledges nothing, so it matters to nobody but its parent.

    ended                          what the other does
    the parent, anywhere           the child looks before each file whether it has that parent still, and ends if not
    the child, refused a file      the pipe breaks: the next `write`, or `finish`, raises what the kernel said
    the child, killed              the same, with that for a reason

Imported by its own name, by whoever writes hundreds of files. Light: no
multiprocessing, which costs more than it could save.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself costs an enum
import marshal
import os

from forgather_spool.errors import StorageFailed
from forgather_spool.spool.files import together
from forgather_spool.spool.files.reading import failed
from forgather_spool.spool.files.writing import close_quietly

CHUNK_BYTES = 32_768  # half of what a pipe holds: the child has work while the next half is gathered
LENGTH_BYTES = 8
BROKEN = 255  # the exit status for whatever has no errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, NoReturn


class Writer:
    """Creates files below `folder`, in the order of `write`. It is to be ended by `finish` or by `stop`."""

    def __init__(self, folder: str) -> None:
        """Raises OSError: no second process can be had."""
        self._folder = folder
        self._gathered: list[tuple[str, bytes]] = []
        self._gathered_bytes = 0
        parent = os.getpid()
        reading, self._pipe = os.pipe()
        try:
            self._pid = os.fork()
            if self._pid == 0:
                os.close(self._pipe)
                _live(reading, parent)
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            if os.getpid() != parent:  # a signal's exception came before the child was in its own hands
                os._exit(BROKEN)
            os.close(reading)

    def write(self, path: str, data: bytes) -> None:
        """As `together.write_new`, some time before `finish` returns. Raises StorageFailed: one before it was not."""
        self._gathered.append((path, data))
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= CHUNK_BYTES:
            self._send()

    def finish(self) -> None:
        """All files are there, and the child is gone. Raises StorageFailed: some are not."""
        self._send()
        status = self._end()
        if status != 0:
            raise self._failed(status)

    def stop(self) -> None:
        """Now, whatever is written by then: on return nobody writes any more. Again is fine."""
        if self._pid:
            os.kill(self._pid, _signal.SIGKILL)
            self._end()

    def _send(self) -> None:
        chunk = marshal.dumps(self._gathered)
        rest = memoryview(len(chunk).to_bytes(LENGTH_BYTES, "little") + chunk)
        self._gathered, self._gathered_bytes = [], 0
        try:
            while rest:
                rest = rest[os.write(self._pipe, rest) :]
        except BrokenPipeError:
            raise self._failed(self._end()) from None

    def _end(self) -> int:
        """Its exit status, or minus the signal it died of, once it has seen the end of the pipe."""
        close_quietly(self._pipe)
        self._pipe = -1
        status = os.waitpid(self._pid, 0)[1]
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def _failed(self, status: int) -> StorageFailed:
        if 0 < status < BROKEN:
            return failed("write to", self._folder, OSError(status, os.strerror(status)))
        how = f"was killed by signal {-status}" if status < 0 else "failed"
        return StorageFailed(f"cannot write to {self._folder}: the process that does {how}", hint="try again")


def start(folder: str) -> Writer | None:
    """None: no second process can be had, or nobody would learn how it ended; one goes on alone."""
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:  # as we were started: the kernel keeps no exit status
        return None
    try:
        return Writer(folder)
    except OSError:
        return None


# -- the child --------------------------------------------------------------------------------------------------------


def _live(reading: int, parent: int) -> NoReturn:  # pragma: no cover - coverage follows no forked child to its _exit
    """The child's whole life. Silent: its parent says what there is to say, of a Ctrl-C too, and stops it then."""
    status = BROKEN
    try:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        os.umask(0)  # each file has just the mode it is created with
        with open(reading, "rb") as pipe:
            status = _write_all(pipe, parent)
    finally:
        os._exit(status)


def _write_all(pipe: BinaryIO, parent: int) -> int:
    """0, or the errno of the file that could not be written."""
    try:
        while length := pipe.read(LENGTH_BYTES):
            for path, data in marshal.loads(pipe.read(int.from_bytes(length, "little"))):
                if os.getppid() != parent:
                    return BROKEN
                together.write_new_unmasked(path, data)
    except OSError as error:
        return error.errno or BROKEN
    return 0
