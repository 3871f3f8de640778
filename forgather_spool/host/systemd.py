"""Jobs as transient scopes of this user's systemd.

A scope is asked for and comes later: the reply to StartTransientUnit says that
it is queued, and only the JobRemoved signal says that the process is inside and
its limits hold (3 to 25 ms later). Many are under way at once, and the signal may
overtake the reply.

Whether a scope is empty is read from its control group, not asked of systemd:
the kernel's answer survives a restart of the user manager, and costs one small
file. Exit statuses are the runner's to record; a scope keeps none.
"""

from __future__ import annotations

import _thread
import os
import signal as signals
import time
from collections.abc import Mapping
from typing import Any, Literal

from forgather_spool.errors import Missing
from forgather_spool.host import proc
from forgather_spool.host.base import SCOPE_PREFIX, HostEvent, Limits, ScopeRefused, ScopeStarted
from forgather_spool.host.manager import (
    CALL_TIMEOUT_S,
    MANAGER,
    ConnectionLost,
    ManagerConnection,
    error_text,
    unreachable,
)
from forgather_spool.host.process import send_signal
from forgather_spool.host.scope import SLICE, scope_properties

SCOPE_UP_TIMEOUT_S = 30.0  # from the reply to the signal; a loaded machine took seconds for 300 at once
MOVE_AGAIN_S = 0.005  # readiness lasts longer; a thread beside a launch would cost it a third of a millisecond
READY_S = 0.03  # the connection after an `expect`: a submit is there by then
KEPT_S = 0.25  # the connection after a launch: to make one costs as much as a launch, and often more follow
EMPTY_PATIENCE_S = 1.0  # for a process on its way into a scope; it takes milliseconds
OOM_POLICY_SINCE = 252  # before, scopes know no such property and refuse the whole unit


class _Launch:
    """One scope under way: asked for, then queued as `job_path`. Or refused, once an empty one is out of the way."""

    __slots__ = ("deadline", "job_path", "refusal", "scope")

    def __init__(self, scope: str, deadline: float, refusal: ScopeRefused | None = None) -> None:
        self.scope = scope
        self.deadline = deadline
        self.job_path: str | None = None
        self.refusal = refusal


class SystemdHost:
    """Scopes in ``forgather.slice`` of the user manager.

    Raises:
        Missing: no user manager, no jeepney, or its control groups are out of sight.
    """

    kind: Literal["systemd", "process"] = "systemd"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._launches: dict[int, _Launch] = {}  # by the serial of the call
        self._removed: dict[str, str] = {}  # job path to result: signals that overtook their reply
        self._events: list[HostEvent] = []
        self._found_empty: dict[str, float] = {}  # scopes in our way to when (monotonic) they were first seen empty
        self._connection: ManagerConnection | None = None
        self._is_moving = False
        self._move_again_at = 0.0
        self._open_until = 0.0
        manager = self._open()
        try:
            self._version = int("".join(c for c in manager.property("Version")[:3] if c.isdigit()) or 0)
            self._slice = _slice_directory(manager.property("ControlGroup"))
        except ConnectionLost as error:
            raise unreachable(str(error)) from None
        finally:
            self.close()

    def expect(self) -> None:
        """Connect, and have the kernel ready to move a process into another control group.

        The first move after a quiet moment waits for an RCU grace period under
        cgroup_threadgroup_rwsem and cgroup_mutex, 4 to 12 ms on a machine with
        HZ=250; those of about the next grace period take 0.07 ms, and lengthen
        it (Linux 6.18; kernel/cgroup/cgroup.c and kernel/rcu/sync.c). Moving
        ourselves to where we are is such a move: so the earlier a submit is heard
        of, and the oftener, the less it waits. One that comes too late costs
        nothing either: the scope would wait as long.
        """
        if self._launches:
            return
        now = time.monotonic()
        self._open_until = max(self._open_until, now + READY_S)
        if not self._is_moving and now >= self._move_again_at:
            self._is_moving = True
            self._move_again_at = now + MOVE_AGAIN_S
            _thread.start_new_thread(self._move_to_where_we_are, ())
        try:
            self._open()
        except Missing:
            pass  # `begin` will say so

    def begin(self, scope: str, pid: int, limits: Limits, description: str) -> None:
        properties = scope_properties(pid, limits, description, with_oom_policy=self._version >= OOM_POLICY_SINCE)
        try:
            serial = self._open().call("StartTransientUnit", "ssa(sv)a(sa(sv))", (scope, "fail", properties, []))
        except ConnectionLost as error:
            self._lose(str(error))
            raise unreachable(str(error)) from None
        self._launches[serial] = _Launch(scope, time.monotonic() + CALL_TIMEOUT_S)

    def fileno(self) -> int | None:
        return None if self._connection is None else self._connection.fileno()

    def events(self) -> list[HostEvent]:
        if self._connection is not None:
            try:
                for message in self._connection.receive():
                    self._take(message)
            except ConnectionLost as error:
                self._lose(str(error))
        self._give_up_waiting(time.monotonic())
        if self._launches:
            self._open_until = time.monotonic() + KEPT_S
        elif time.monotonic() >= self._open_until:
            self._hang_up()
        events, self._events = self._events, []
        return events

    def adopt(self, scope: str, pid: int, start_ticks: int) -> None:
        """Nothing to note: the kernel knows who is inside."""

    def live_scopes(self) -> frozenset[str]:
        try:
            names = os.listdir(self._slice)
        except FileNotFoundError:
            return frozenset()
        ours = (name for name in names if name.startswith(SCOPE_PREFIX) and name.endswith(".scope"))
        return frozenset(name for name in ours if proc.is_populated(f"{self._slice}/{name}"))

    def members(self, scope: str) -> list[int]:
        return proc.cgroup_pids(f"{self._slice}/{scope}")

    def signal(self, scope: str, signum: int) -> int:
        pids = self.members(scope)
        if signum == signals.SIGKILL and _kill_cgroup(f"{self._slice}/{scope}"):
            return len(pids)
        return sum(send_signal(pid, signum) for pid in pids)

    def close(self) -> None:
        self._hang_up()
        self._launches.clear()

    def _open(self) -> ManagerConnection:
        if self._connection is None:
            self._connection = ManagerConnection(self._environ)
        return self._connection

    def _move_to_where_we_are(self) -> None:
        """In a thread of its own: a write that waits."""
        try:
            with open(f"{proc.cgroup_of()}/cgroup.procs", "w") as file:
                file.write("0")
        except OSError:
            pass  # not ours to write to, as in a login's scope: then the move takes its time
        finally:
            self._is_moving = False

    def _hang_up(self) -> None:
        """Kept open, the manager's socket would wake us for every change of every unit."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._removed.clear()

    def _take(self, message: Any) -> None:
        from jeepney import HeaderFields, MessageType

        fields = message.header.fields
        if message.header.message_type is MessageType.signal:
            _, job_path, unit, result = message.body
            if unit.startswith(SCOPE_PREFIX):
                self._removed[job_path] = result
                self._settle()
            return
        serial = fields.get(HeaderFields.reply_serial)
        launch = self._launches.get(serial)
        if launch is None:
            return
        if launch.refusal is not None:
            del self._launches[serial]
            self._found_empty.pop(launch.scope, None)
            self._events.append(launch.refusal)
        elif message.header.message_type is MessageType.error:
            del self._launches[serial]
            exists = fields.get(HeaderFields.error_name) == f"{MANAGER}.UnitExists"
            self._refuse(ScopeRefused(launch.scope, error_text(message), exists))
        else:
            launch.job_path = message.body[0]
            launch.deadline = time.monotonic() + SCOPE_UP_TIMEOUT_S
            self._settle()

    def _refuse(self, refusal: ScopeRefused) -> None:
        """Tell of it; if it is for a scope that holds nobody and still did a while ago, once that has been stopped.

        A process that dies while it is put into its scope may leave the scope
        running and empty for ever (systemd 252, one in ten): its job could not
        start again until the user manager does. Empty for a moment is no sign:
        so is one whose process is on its way in.
        """
        if not refusal.exists or not self._stays_empty(refusal.scope):
            self._events.append(refusal)
            return
        try:
            serial = self._open().call("StopUnit", "ss", (refusal.scope, "replace"))
        except ConnectionLost:
            self._events.append(refusal)
            return
        self._launches[serial] = _Launch(refusal.scope, time.monotonic() + CALL_TIMEOUT_S, refusal=refusal)

    def _stays_empty(self, scope: str) -> bool:
        now = time.monotonic()
        if proc.is_populated(f"{self._slice}/{scope}"):
            self._found_empty.pop(scope, None)
            return False
        return now - self._found_empty.setdefault(scope, now) >= EMPTY_PATIENCE_S

    def _settle(self) -> None:
        """Pair queued launches with results, whichever came first."""
        for serial, launch in list(self._launches.items()):
            result = self._removed.pop(launch.job_path, None) if launch.job_path else None
            if result is None:
                continue
            del self._launches[serial]
            if result == "done":
                self._events.append(ScopeStarted(launch.scope))
            else:
                self._events.append(ScopeRefused(launch.scope, f"systemd could not start the scope: {result}"))

    def _give_up_waiting(self, now: float) -> None:
        for serial, launch in list(self._launches.items()):
            if now > launch.deadline:
                del self._launches[serial]
                self._events.append(ScopeRefused(launch.scope, "systemd did not start the scope in time"))

    def _lose(self, why: str) -> None:
        self._hang_up()
        self._events.extend(ScopeRefused(launch.scope, why) for launch in self._launches.values())
        self._launches.clear()


def _slice_directory(control_group: str) -> str:
    root = proc.cgroup_root()
    if root is None:
        raise Missing("no systemd scopes: version 2 control groups are not mounted", hint="boot with cgroup v2")
    directory = root + control_group.rstrip("/")
    if not os.path.isdir(directory):
        raise Missing(f"no systemd scopes: {directory} cannot be seen from here", hint="run on the host itself")
    return f"{directory}/{SLICE}"


def _kill_cgroup(directory: str) -> bool:
    """KILL to all at once, so that nobody forks away (Linux 5.14). False: not offered here."""
    try:
        with open(f"{directory}/cgroup.kill", "w") as file:
            file.write("1")
    except OSError:
        return False
    return True
