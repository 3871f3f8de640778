"""The nursery: a tiny process the runners are forked from.

Forked and not started anew, a runner is there in a millisecond and shares its
memory with the others. Forked from here and not from the dispatcher, it is lean,
single-threaded and knows none of the dispatcher's descriptors.

A child waits at its go-pipe while the dispatcher writes its claim and puts it
into its scope. If the dispatcher dies, the pipe ends and the child exits: it
must never run a command outside its scope. The nursery ends with its socket;
runners that have gone live on.
"""

from __future__ import annotations

import _socket
import ctypes
import gc
import os
import sys

from forgather_spool.document import Document, dump
from forgather_spool.host import proc
from forgather_spool.host.journal import JournalSender
from forgather_spool.runner import signals
from forgather_spool.runner.request import GO, MAX_REQUEST_BYTES, Request
from forgather_spool.runner.run import run_job

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_FD_BYTES = 4
_FIRST_FD = 3
_FD_LIMIT = 1 << 20

_prctl = ctypes.CDLL(None).prctl


def serve(socket_fd: int, home: str) -> None:
    """Answer requests until the dispatcher closes its end."""
    sock = _socket.socket(fileno=socket_fd)
    os.set_inheritable(socket_fd, False)
    os.chdir("/")  # keeps no file system from being unmounted
    signals.as_the_kernel_made_them()
    signals.ignore(signals.SIGINT, signals.SIGHUP, signals.SIGPIPE, signals.SIGXFSZ)
    signals.reap_by_itself()
    gc.collect()
    gc.freeze()  # else the first collection in each child would copy every page
    while (received := _receive(sock)) is not None:
        data, go_fd = received
        reply = _hatch(data, go_fd, home)
        os.close(go_fd)
        try:
            sock.send(dump(reply))
        except OSError:
            return


def _receive(sock: _socket.socket) -> tuple[bytes, int] | None:
    """A request and the read end of its go-pipe; None when the dispatcher is gone."""
    room = _socket.CMSG_SPACE(_FD_BYTES)
    try:
        data, ancillary, _, _ = sock.recvmsg(MAX_REQUEST_BYTES, room, _socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not data or not ancillary:
        return None
    return data, int.from_bytes(ancillary[0][2][:_FD_BYTES], sys.byteorder)


def _hatch(data: bytes, go_fd: int, home: str) -> Document:
    """Fork a child that waits for its go; what to answer the dispatcher."""
    try:
        request = Request.from_bytes(data)
        pid = os.fork()
    except Exception as error:  # the nursery must go on; the dispatcher puts this job back
        return {"error": f"{type(error).__name__}: {error}"}
    if pid == 0:
        _live(request, go_fd, home)
    ticks = proc.start_ticks(pid)
    if ticks is None:
        return {"error": f"the child {pid} for {request.job_id} ended at once"}
    return {"job_id": request.job_id, "pid": pid, "start_ticks": ticks}


def _live(request: Request, go_fd: int, home: str) -> None:
    """The child's whole life; does not return."""
    try:
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _prctl(_PR_SET_NAME, b"forgather-run", 0, 0, 0)
        go_fd = _keep_only(go_fd)
        signals.as_the_kernel_made_them()
        if os.read(go_fd, 1) == GO:
            os.close(go_fd)
            run_job(request, home)
    except BaseException as error:
        _report(request, error)
    finally:
        os._exit(0)


def _keep_only(fd: int) -> int:
    """Close every other descriptor from 3 on: the nursery's socket above all. The new number of `fd`."""
    if fd != _FIRST_FD:
        os.dup2(fd, _FIRST_FD, inheritable=False)
    os.closerange(_FIRST_FD + 1, _FD_LIMIT)
    return _FIRST_FD


def _report(request: Request, error: BaseException) -> None:
    """Our own bug: nobody is left to tell but the journal. The dispatcher will find the job lost."""
    import traceback

    lines = traceback.format_exception(error)
    JournalSender(request.job_id).send_lines("".join(["the runner failed: ", *lines]).encode().splitlines(), priority=3)
