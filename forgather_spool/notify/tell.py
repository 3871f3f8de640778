"""Telling everything that is owed, each target in a process of its own, killed with its children at its deadline.

Holds ``hosts/<host>.notify.lock`` while it lives, and so does each child while
it tells: a teller that is killed has no successor before its last child is
done. How it went stands in ``notified-<n>.json``, which the child writes, or
its parent for one that came to its deadline. What has none stays owed: the
next teller tells it.

What becomes owed meanwhile is told meanwhile, and one target that hangs takes
its own places only: others go past it, as long as fewer than four hang at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError, NoSuchJob, StorageFailed, UnreadableFile, UsageError
from forgather_spool.notify import message
from forgather_spool.notify.send import NotTold, Told, send
from forgather_spool.notify.target import parse
from forgather_spool.spool import files, notices, settings
from forgather_spool.spool.follow import Follower
from forgather_spool.spool.look import Job, look
from forgather_spool.spool.notices import Notice
from forgather_spool.spool.output import Output
from forgather_spool.spool.queue import Spool, utc_now

LIMIT_S = 60.0  # for one target; FORGATHER_NOTIFY_LIMIT_S
AT_ONCE = 32
OF_ONE_TARGET = 8  # at once: a hook of each of a thousand jobs that end together, or one that hangs
LOOK_AGAIN_S = 0.5  # for what is owed by now, while somebody is being told
DONE_PATIENCE_S = 5.0  # for a job whose result stands, until it lies in done/

Describe = Callable[[Job], tuple[Document, str]]  # the job's JSON, and how it ended in one phrase


@dataclass(frozen=True, slots=True)
class _Call:
    """One target of one job, not told yet."""

    notice: Notice
    number: int
    of: int  # how many targets the job has
    target: str


@dataclass(frozen=True, slots=True)
class _Child:
    """One telling under way."""

    call: _Call
    pidfd: int
    pid: int
    deadline: float


class Teller:
    """Tells what one host owes. `describe` gives a job's JSON."""

    def __init__(self, spool: Spool, host_name: str, describe: Describe, *, limit_s: float = LIMIT_S) -> None:
        self._spool = spool
        self._host_name = host_name
        self._describe = describe
        self._limit_s = limit_s
        self._children: list[_Child] = []
        self._waiting: dict[str, deque[_Call]] = {}  # by target, none of them empty
        self._seen: set[Notice] = set()

    def run(self) -> bool:
        """Tell all there is, also what comes meanwhile. False: another teller is at it, nothing was done."""
        lock_fd = _lock(self._spool.paths.notify_lock(self._host_name))
        if lock_fd is None:
            return False
        try:
            while True:
                for notice in notices.pending(self._spool.paths, self._host_name):
                    if notice not in self._seen:
                        self._seen.add(notice)
                        self._or_it_stays_owed(notice, partial(self._take_in, notice))
                        self._go_on(0.0)
                if not self._children and not self._waiting:
                    return True
                look_again = time.monotonic() + LOOK_AGAIN_S
                while (self._children or self._waiting) and (left_s := look_again - time.monotonic()) > 0:
                    self._go_on(left_s)
        finally:
            os.close(lock_fd)

    def _or_it_stays_owed(self, notice: Notice, step: Callable[[], None]) -> None:
        """`step`, unless the disk is full or the settings are damaged: the next teller tries again."""
        try:
            step()
        except ForgatherError as error:
            print(f"{notice[0]}: not told yet: {error}", file=sys.stderr)

    def _take_in(self, notice: Notice) -> None:
        """Whom it is to be told, behind what waits for the same targets."""
        job = self._job(notice)
        if job is None:
            notices.settle(self._spool.paths, notice)
            return
        dispatch = settings.dispatch(self._spool.paths)
        targets, _ = notices.whom_to_tell(job.spec.document if job.spec else {}, dispatch)
        if self._settle(notice, len(targets)):
            return
        for number, target in enumerate(targets):
            if not files.exists(self._spool.paths.told(job.job_id, number)):
                self._waiting.setdefault(target, deque()).append(_Call(notice, number, len(targets), target))

    def _go_on(self, patience_s: float) -> None:
        """Start what may start, and see how the others are: for so long at most, less once one has ended."""
        busy = Counter(child.call.target for child in self._children)
        for target in list(self._waiting):
            if len(self._children) >= AT_ONCE:
                break
            while target in self._waiting and busy[target] < OF_ONE_TARGET and len(self._children) < AT_ONCE:
                call = self._waiting[target].popleft()
                if not self._waiting[target]:
                    del self._waiting[target]
                self._or_it_stays_owed(call.notice, partial(self._start, call))
                busy[target] = sum(child.call.target == target for child in self._children)
        self._reap(patience_s)

    def _settle(self, notice: Notice, of: int) -> bool:
        """Remove the mark, if all `of` its targets have been told."""
        told = all(files.exists(self._spool.paths.told(notice[0], number)) for number in range(of))
        if told:
            notices.settle(self._spool.paths, notice)
        return told

    def _job(self, notice: Notice) -> Job | None:
        """None: it was removed. Raises WaitedLongEnough: it does not come to its end; whoever sees it finishes it."""
        try:
            with Follower(self._spool, notice[0]) as follower:
                follower.wait_until_ended(time.monotonic() + DONE_PATIENCE_S)
            return look(self._spool, notice[0])
        except NoSuchJob:
            return None

    def _what(self, job: Job) -> Told:
        document, ending = self._describe(job)
        spec_env = dict(job.spec.env) if job.spec else {}
        cwd = job.spec.cwd if job.spec else None
        return Told(
            json=json.dumps(document).encode() + b"\n",
            subject=message.subject(document, ending),
            body=message.body(document, ending, self._last_output(job)),
            env=message.environment(document, dict(os.environ), spec_env, self._spool.paths.home),
            cwd=cwd if cwd and os.path.isdir(cwd) else os.path.expanduser("~"),
        )

    def _last_output(self, job: Job) -> str:
        output = Output(self._spool.paths.output(job.job_id, job.attempt))
        try:
            output.go_to_last_lines(message.LAST_LINES)
            return output.read().decode("utf-8", "replace")
        except (UnreadableFile, OSError):
            return ""
        finally:
            output.close()

    def _start(self, call: _Call) -> None:
        job = self._job(call.notice)
        if job is None:
            notices.settle(self._spool.paths, call.notice)
            return
        what = self._what(job)
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            try:
                _tell(self._spool, call, what)
            except BaseException as error:  # a forked child: nothing may return into the parent's loop
                print(f"{job.job_id}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(0)
        try:
            os.setpgid(pid, pid)  # both do it: whoever is first, the group is there
        except (PermissionError, ProcessLookupError):
            pass
        self._children.append(_Child(call, os.pidfd_open(pid), pid, time.monotonic() + self._limit_s))

    def _reap(self, patience_s: float) -> None:
        """Take off who has ended, waiting so long for the first; who is late is killed with what it started."""
        now = time.monotonic()
        left_s = min([patience_s, *(max(0.0, child.deadline - now) for child in self._children)])
        ended, _, _ = select.select([child.pidfd for child in self._children], [], [], left_s)
        for child in list(self._children):
            late = time.monotonic() >= child.deadline
            if child.pidfd in ended or late:
                self._take_off(child, late=child.pidfd not in ended)

    def _take_off(self, child: _Child, *, late: bool) -> None:
        call = child.call
        try:
            os.killpg(child.pid, signal.SIGKILL)  # also what a command left behind
        except (ProcessLookupError, PermissionError):
            pass
        os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        self._children.remove(child)
        try:
            if late:
                record = _record(_shown(call.target), f"no end within {self._limit_s:g} s", 1)
                notices.note_told(self._spool.paths, call.notice[0], call.number, record)
            self._settle(call.notice, call.of)
        except StorageFailed as error:
            print(f"{call.notice[0]}: {error}", file=sys.stderr)


def _tell(spool: Spool, call: _Call, what: Told) -> None:
    """In the child: tell it and write down how it went."""
    problem, tries = None, 0
    try:
        target = parse(call.target)
        tries = send(target, what) if target is not None else 0
    except UsageError as error:
        problem = f"{error} ({error.hint})"
    except NotTold as error:
        problem, tries = str(error), error.tries
    notices.note_told(spool.paths, call.notice[0], call.number, _record(_shown(call.target), problem, tries))


def _record(shown: str, problem: str | None, tries: int) -> Document:
    return {"version": 1, "target": shown, "problem": problem, "tries": tries, "ended_at": utc_now()}


def _shown(text: str) -> str:
    try:
        return str(parse(text))
    except UsageError:
        return text.partition(":")[0][:40]


def _lock(path: str) -> int | None:
    """Inherited by our children, and closed in what they run."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, files.FILE_MODE)
    except OSError as error:
        raise files.failed("open", path, error) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        return fd  # a file system without locks: told twice at worst
    return fd
