"""The nursery: a tiny process the runners are forked from.

Forked and not started anew, a runner is there in a millisecond and shares its
memory with the others. Forked from here and not from the dispatcher, it is lean,
single-threaded and knows none of the dispatcher's descriptors.

A child is there before its job: it waits at its go-pipe, while the dispatcher
writes its claim; one that has time rehearses a start. Told what it may run, it
makes ready while its scope comes up; it runs it when it gets its go, which is once
it is in its scope. If the dispatcher dies before, the pipe ends and the child
exits: it must never run a command outside its scope. The nursery ends with its
socket; runners that have gone live on.

Of a runner whose job has no cards a dispatcher keeps its end of the pipe open.
When the job lies in done/ the runner waits there once more, and saves the next
job a fork: a third to a half of what a short job costs. systemd moves it from
the old scope to the new one. All write to one over-pipe of the dispatcher's as
soon as their command and all it has left are gone: the next job need not wait
until the result of the last is on disk. One whose job may be run again, or that found its
start taken, exits as ever.
"""

from __future__ import annotations

import _socket
import ctypes
import gc
import os
import resource  # noqa: F401  every wait4 needs it: loaded once, here
import select
import sys

from forgather_spool.document import Document, dump, parse
from forgather_spool.host import proc
from forgather_spool.host.journal import JournalSender
from forgather_spool.runner import signals
from forgather_spool.runner.ready import Ready, make_ready
from forgather_spool.runner.rehearsal import rehearse
from forgather_spool.runner.request import FD_BYTES, HATCH, NEXT_WITHIN_S, Request, size_of
from forgather_spool.runner.run import run_job
from forgather_spool.spool.watch import Watch

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_READ_BYTES = 65536
REHEARSE_AFTER_S = 0.002  # one that is wanted at once has heard of its job by then
_FIRST_FD = 3
_FD_LIMIT = 1 << 20

_prctl = ctypes.CDLL(None).prctl


def serve(socket_fd: int, home: str) -> None:
    """Answer requests until the dispatcher closes its end."""
    sock = _socket.socket(fileno=socket_fd)
    os.set_inheritable(socket_fd, False)
    os.closerange(socket_fd + 1, _FD_LIMIT)  # what whoever started the dispatcher had left open
    os.chdir("/")  # keeps no file system from being unmounted
    signals.as_the_kernel_made_them()
    signals.ignore(*signals.IGNORED)
    signals.reap_by_itself()
    parse(b"{}")  # loads what parsing needs: 7 ms that no child should spend
    gc.collect()
    gc.freeze()  # else the first collection in each child would copy every page
    while (fds := _receive(sock)) is not None:
        reply = _hatch(*fds, home)
        for fd in fds:
            os.close(fd)
        try:
            sock.send(dump(reply))
        except OSError:
            return


def _receive(sock: _socket.socket) -> tuple[int, int] | None:
    """The ends of the go-pipe and the over-pipe for a child to hatch; None when the dispatcher is gone."""
    room = _socket.CMSG_SPACE(2 * FD_BYTES)
    try:
        data, ancillary, _, _ = sock.recvmsg(len(HATCH), room, _socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not data or not ancillary:
        return None
    fds = ancillary[0][2]
    go_fd, over_fd = (int.from_bytes(fds[at : at + FD_BYTES], sys.byteorder) for at in (0, FD_BYTES))
    return go_fd, over_fd


def _hatch(go_fd: int, over_fd: int, home: str) -> Document:
    """Fork a child that waits for its go; what to answer the dispatcher."""
    try:
        pid = os.fork()
    except OSError as error:  # the nursery must go on; the dispatcher puts this job back
        return {"error": str(error)}
    if pid == 0:  # pragma: no cover - coverage follows a forked child from its next call on
        _live(go_fd, over_fd, home)
    ticks = proc.start_ticks(pid)
    if ticks is None:
        return {"error": f"the child {pid} ended at once"}
    return {"pid": pid, "start_ticks": ticks}


def _live(go_fd: int, over_fd: int, home: str) -> None:
    """The child's whole life; does not return."""
    ready = None
    try:
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _prctl(_PR_SET_NAME, b"forgather-run", 0, 0, 0)
        go_fd, over_fd = _keep_only(go_fd, over_fd)
        signals.heed(*signals.IGNORED, signals.SIGCHLD)
        watch = Watch()
        if not _comes_within(go_fd, REHEARSE_AFTER_S):
            rehearse(home)
        ready = _await_go(go_fd, home)
        while ready is not None and run_job(ready, watch, over_fd):
            # Who missed our end would else wait for us, and we for them.
            ready = _await_go(go_fd, home) if _comes_within(go_fd, NEXT_WITHIN_S) else None
    except BaseException as error:  # a forked child: SystemExit too must not run on as a second nursery
        _report("forgather-run" if ready is None else ready.request.job_id, error)
    finally:
        os._exit(0)


def _await_go(go_fd: int, home: str) -> Ready | None:
    """What to run, once we may. None: nothing, its dispatcher was killed before."""
    said = b""
    ready = None
    while chunk := os.read(go_fd, _READ_BYTES):
        said += chunk
        size = size_of(said)
        if ready is None and size is not None:
            ready = make_ready(Request.from_bytes(said), home, is_early=len(said) == size)
        if ready is not None and len(said) != size:
            return ready  # what follows is the go
    return None


def _comes_within(go_fd: int, limit_s: float) -> bool:
    """Whether we are told something, or the end, before `limit_s`."""
    poll = select.poll()
    poll.register(go_fd, select.POLLIN)
    return bool(poll.poll(limit_s * 1000))


def _keep_only(*fds: int) -> tuple[int, ...]:
    """Close every other descriptor from 3 on: the nursery's socket above all. The new numbers of `fds`, which rise."""
    for new, fd in enumerate(fds, _FIRST_FD):
        assert fd > new  # the nursery's socket has the first number, so none is overwritten that is still to be moved
        os.dup2(fd, new, inheritable=False)
    os.closerange(_FIRST_FD + len(fds), _FD_LIMIT)
    return tuple(range(_FIRST_FD, _FIRST_FD + len(fds)))


def _report(identifier: str, error: BaseException) -> None:
    """Our own bug: nobody is left to tell but the journal. The dispatcher will find the job lost."""
    import traceback

    lines = traceback.format_exception(error)
    JournalSender(identifier).send_lines("".join(["the runner failed: ", *lines]).encode().splitlines(), priority=3)
