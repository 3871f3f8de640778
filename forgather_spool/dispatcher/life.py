"""A dispatcher's life: one per host and spool, awake while there is work, gone ten seconds after.

The lock on hosts/<host>.lock tells `submit` that somebody is awake. Nothing
rests on it for correctness: claims are renames. Before leaving, the lock is
given up *first* and the queue looked at once more, so a job submitted while we
leave is seen either by us or by a submit that finds the lock free.

It begins in `entry.py`, which loads this.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

from forgather_spool import schema
from forgather_spool.dispatcher.deciding import BELT_S
from forgather_spool.dispatcher.host_lock import HostLock
from forgather_spool.dispatcher.loop import Dispatcher
from forgather_spool.dispatcher.notify import ServiceManager
from forgather_spool.dispatcher.wake import wake
from forgather_spool.dispatcher.worktrees import Worktrees
from forgather_spool.errors import ForgatherError, Missing, StorageFailed, UnreadableFile
from forgather_spool.gpu import Gpu
from forgather_spool.host import proc
from forgather_spool.host.detect import detect
from forgather_spool.runner.client import Nursery
from forgather_spool.spool import admit, files
from forgather_spool.spool.queue import Spool, utc_now

IDLE_S = 10.0  # stay this long with nothing to do, so that the next submit need not start us; FORGATHER_IDLE_S
REASONS_SHOWN = 10
PAUSE_AFTER_FAILURE_S = 5.0  # a full disk, a manager that restarts: look again, do not spin


class Life:
    """From the lock, which is taken, to the end. `nursery` may be on its way already.

    `explain` also says why waiting jobs wait, each time that changes.
    """

    def __init__(self, spool: Spool, lock: HostLock, nursery: Nursery, *, explain: bool) -> None:
        self.spool = spool
        self.host_name = lock.host_name
        self.explain = explain
        self.manager = ServiceManager(dict(os.environ))
        self.asked_to_leave = False
        self._idle_s = _idle_s(os.environ)
        self._worktrees = Worktrees(spool)
        self._lock = lock
        self._nursery = nursery
        self._idle_since: float | None = None
        self._published: object = None
        self._reasons: dict[str, str] = {}

    def run(self) -> int:
        """Until there is nothing left to do, or TERM. Raises StorageFailed, Missing: it cannot work at all here."""
        wakeup_fd = _on_signals(self._leave)
        host = detect(os.environ)
        dispatcher = Dispatcher(self.spool, host, self.host_name, _say, self._nursery)
        _say(f"awake on {self.host_name}, jobs run {_HOW[host.kind]}")
        try:
            self._begin(dispatcher)
            self.manager.ready(self._status(dispatcher))
            while not self.asked_to_leave:
                if self._pass(dispatcher) and self._may_leave(dispatcher):
                    break
                self._wait(dispatcher, wakeup_fd)
        finally:
            self.manager.stopping()
            dispatcher.close()
        return 0

    def _begin(self, dispatcher: Dispatcher) -> None:
        """Raises StorageFailed: not even the first look is possible. Whoever started us may try again."""
        try:
            dispatcher.begin()
        except OSError as error:
            raise StorageFailed(f"cannot look after the spool: {error}", hint="forgather doctor") from None

    def _pass(self, dispatcher: Dispatcher) -> bool:
        """False: it was broken off, and what was seen is not to be relied on."""
        whole = False
        try:
            dispatcher.step()
            self._publish(dispatcher)
            whole = True
        except (StorageFailed, UnreadableFile, Missing, OSError) as error:
            _look_again_later(dispatcher, error)
        if self.explain:
            self._say_reasons(dispatcher)
        self.manager.alive(self._status(dispatcher))
        if whole:
            self._worktrees.look(is_idle=False)
        return whole

    def _wait(self, dispatcher: Dispatcher, wakeup_fd: int) -> None:
        try:
            dispatcher.wait(self._patience_s(), (wakeup_fd,))
        except (StorageFailed, UnreadableFile, OSError) as error:
            _look_again_later(dispatcher, error)
        _drain(wakeup_fd)

    def _may_leave(self, dispatcher: Dispatcher) -> bool:
        if not _is_sure(dispatcher, lambda: dispatcher.is_idle):
            self._idle_since = None
            return False
        now = time.monotonic()
        if self._idle_since is None:
            self._worktrees.look(is_idle=True)
            from forgather_spool.dispatcher.retention import remove_outdated

            remove_outdated(self.spool, lambda: not dispatcher.has_news(), _say)
            if dispatcher.has_news():
                return False  # what it gave way to is heard first, and then it goes on with the rest
            self._idle_since = now
        if now - self._idle_since < self._idle_s:
            return False
        # Said before the lock is free: systemd ignores a start of a unit it believes to be running, and does that of
        # one that is stopping once it has stopped.
        self.manager.stopping()
        self._lock.release()
        if _is_sure(dispatcher, lambda: self._nothing_came(dispatcher)):
            _say("nothing left to do")
            return True
        if self.manager.is_listening:
            return self._start_successor()
        return not self._lock.take()  # somebody else is awake now, or we go on

    def _nothing_came(self, dispatcher: Dispatcher) -> bool:
        """What a submit or a cancel left while we still held the lock."""
        dispatcher.telling.look()
        return not self.spool.waiting() and not admit.pending(self.spool) and dispatcher.telling.is_idle

    def _start_successor(self) -> bool:
        """A job came while we were leaving, and systemd lets no unit stay that has said it stops."""
        try:
            wake(self.spool.paths)
        except ForgatherError as error:
            _say(f"nobody looks after what came while we were leaving: {error}")
        return True

    def _patience_s(self) -> float:
        limits = [BELT_S]
        if self.manager.watchdog_s is not None:
            limits.append(self.manager.watchdog_s / 2)
        if self._idle_since is not None:
            limits.append(self._idle_since + self._idle_s - time.monotonic())
        return max(0.0, min(limits))

    def _leave(self) -> None:
        self.asked_to_leave = True

    def _status(self, dispatcher: Dispatcher) -> str:
        return f"{len(dispatcher.deciding.waitlist)} waiting, {len(dispatcher.running)} running"

    def _publish(self, dispatcher: Dispatcher) -> None:
        """hosts/<host>.json: what others may know of this host; written when it changes and with the belt."""
        facts = ([_card(gpu) for gpu in dispatcher.deciding.gpus], int(time.monotonic() // BELT_S))
        if facts == self._published:
            return
        self._published = facts
        document: dict[str, object] = {
            "version": schema.VERSION,
            "host": self.host_name,
            "kind": dispatcher.host.kind,
            "boot_id": proc.boot_id(),
            "gpus": facts[0],
            "last_seen_at": utc_now(),
            "dispatcher_pid": os.getpid(),
        }
        files.note(self.spool.paths.host(self.host_name), document, self.spool.paths.tmp)

    def _say_reasons(self, dispatcher: Dispatcher) -> None:
        reasons = dispatcher.deciding.reasons(REASONS_SHOWN)
        for job_id, text in reasons.items():
            if self._reasons.get(job_id) != text:
                _say(f"{job_id}: {text}")
        self._reasons = reasons


_HOW = {"systemd": "in systemd scopes", "process": "as plain process groups (no user manager here)"}


def _idle_s(environ: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(environ.get("FORGATHER_IDLE_S", IDLE_S)))
    except ValueError:
        return IDLE_S


def _is_sure(dispatcher: Dispatcher, look: Callable[[], bool]) -> bool:
    """What `look` says; False where it cannot look: who cannot look does not leave."""
    try:
        return look()
    except (StorageFailed, UnreadableFile) as error:
        _look_again_later(dispatcher, error)
        return False


def _look_again_later(dispatcher: Dispatcher, error: Exception) -> None:
    """A full disk, no descriptor left, a manager that restarts: nothing is lost by looking again a little later."""
    _say(f"cannot go on for now: {error}")
    dispatcher.look_again()
    time.sleep(PAUSE_AFTER_FAILURE_S)


def _card(gpu: Gpu) -> dict[str, object]:
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_total_bytes": gpu.memory_total_bytes,
        "excluded": gpu.excluded,
        "problem": gpu.problem,
    }


def _say(line: str) -> None:
    """A line to stderr; on a full disk nobody reads it, and the work goes on."""
    try:
        sys.stderr.write(f"{line}\n".encode("utf-8", "backslashreplace").decode())
        sys.stderr.flush()
    except OSError:
        return


def _on_signals(leave: Callable[[], None]) -> int:
    """TERM and INT make us leave; the returned descriptor becomes readable then."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: leave())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return reader


def _drain(fd: int) -> None:
    try:
        os.read(fd, 4096)
    except BlockingIOError:
        return
