"""What `test_scopes.py` runs inside a host: launches waiting children into scopes, prints what came of it.

The children wait for one byte and exit on EOF, as the real ones do.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from forgather_spool.errors import Missing
from forgather_spool.host.base import HostEvent, Limits, ScopeRefused, ScopeStarted, scope_name
from forgather_spool.host.systemd import SystemdHost

LIMITS = Limits(memory_bytes=1 << 30, cpus=1.0, time_limit_s=60, grace_s=1)


class Child:
    """A process that waits at its pipe: a byte sends it to `then`, EOF ends it."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        reading, self._pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            if os.read(reading, 1):
                then()
            os._exit(0)
        os.close(reading)

    def go(self) -> None:
        os.write(self._pipe, b"g")

    def release(self) -> None:
        os.close(self._pipe)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def be_stubborn() -> None:
    """Ignore TERM, leave a daemon that does too, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
    signal.pause()


def name(number: int = 0) -> str:
    return scope_name(f"q_{os.getpid()}_{number}", 1)


def collect(host: SystemdHost, wanted: int, timeout_s: float = 60) -> list[HostEvent]:
    events: list[HostEvent] = []
    deadline = time.monotonic() + timeout_s
    while len(events) < wanted and time.monotonic() < deadline:
        fd = host.fileno()
        select.select([] if fd is None else [fd], [], [], 0.05)
        events.extend(host.events())
    return events


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def show(unit: str, *properties: str) -> dict[str, str]:
    words = ["systemctl", "--user", "show", unit, *(f"--property={p}" for p in properties)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def many(environ: Mapping[str, str], count: int) -> dict[str, object]:
    host = SystemdHost(environ)
    children = {name(i): Child() for i in range(count)}
    inside: list[bool] = []
    for scope, child in children.items():
        host.begin(scope, child.pid, LIMITS, "many")
    while len(inside) < count:
        for event in collect(host, 1):
            assert isinstance(event, ScopeStarted), event
            inside.append(host.members(event.scope) == [children[event.scope].pid])
    live = host.live_scopes()
    for child in children.values():
        child.release()
    return {
        "inside_when_told": sum(inside),
        "live": len(live & children.keys()),
        "connection_kept": not wait_until(lambda: host.events() == [] and host.fileno() is None),
        "emptied": wait_until(lambda: not host.live_scopes()),
    }


def burst() -> dict[str, object]:
    return many(os.environ, 300)


def bus_only() -> dict[str, object]:
    return many({**os.environ, "XDG_RUNTIME_DIR": "/nonexistent"}, 20)


def expected() -> dict[str, object]:
    """Told that a launch may come; once it comes, and once it does not."""
    host, child = SystemdHost(os.environ), Child()
    host.expect()
    connected = host.fileno() is not None
    host.begin(name(1), child.pid, LIMITS, "")
    started = isinstance(collect(host, 1)[0], ScopeStarted)
    host.expect()
    dropped = wait_until(lambda: host.events() == [] and host.fileno() is None)
    return {"connected": connected, "started": started, "dropped": dropped}


def properties() -> dict[str, object]:
    host, child = SystemdHost(os.environ), Child()
    host.begin(name(), child.pid, LIMITS, "two\nlines %h \ud800")
    assert isinstance(collect(host, 1)[0], ScopeStarted)
    return dict(
        show(
            name(), "Description", "KillMode", "OOMPolicy", "MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec",
            "RuntimeMaxUSec", "TimeoutStopUSec", "Slice", "CollectMode",
        )
    )  # fmt: skip


def refused() -> dict[str, object]:
    """A name that is taken, and a process that is dead."""
    host, first, second, dead = SystemdHost(os.environ), Child(), Child(), Child()
    dead.release()
    dead.wait()
    host.begin(name(1), first.pid, LIMITS, "")
    host.begin(name(1), second.pid, LIMITS, "")
    host.begin(name(2), dead.pid, LIMITS, "")
    events = collect(host, 3)
    return {
        "started": [event.scope == name(1) for event in events if isinstance(event, ScopeStarted)],
        "refused": [[event.scope == name(1), event.exists] for event in events if isinstance(event, ScopeRefused)],
        "members": host.members(name(1)) == [first.pid],
    }


def left_empty() -> dict[str, object]:
    """Scopes whose process died while it was put inside: the manager keeps some for ever. One of them, used again."""
    host = SystemdHost(os.environ)
    names = [name(n) for n in range(300)]
    for n, scope in enumerate(names):
        child = Child()
        host.begin(scope, child.pid, LIMITS, "")
        time.sleep(n % 16 / 4000)
        child.release()
        child.wait()
    collect(host, len(names))
    kept = [scope for scope in names if is_kept_empty(host, scope)]
    if not kept:
        return {"kept": 0}
    child = Child()
    host.begin(kept[0], child.pid, LIMITS, "")
    [first] = collect(host, 1)
    again = begin_until_started(host, kept[0], child.pid)
    return {"kept": len(kept), "refused": isinstance(first, ScopeRefused) and first.exists, "again": again}


def is_kept_empty(host: SystemdHost, scope: str) -> bool:
    """Empty, and active also a moment later: what is about to go has gone by then."""
    if host.members(scope) or show(scope, "ActiveState")["ActiveState"] != "active":
        return False
    return not wait_until(lambda: show(scope, "ActiveState")["ActiveState"] != "active", timeout_s=0.5)


def begin_until_started(host: SystemdHost, scope: str, pid: int) -> bool:
    def started() -> bool:
        host.begin(scope, pid, LIMITS, "")
        return isinstance(collect(host, 1)[0], ScopeStarted)

    return wait_until(started)


def kill() -> dict[str, object]:
    """A family that ignores TERM, with a daemon that left it."""
    host, stubborn = SystemdHost(os.environ), Child(be_stubborn)
    host.begin(name(), stubborn.pid, LIMITS, "")
    assert isinstance(collect(host, 1)[0], ScopeStarted)
    stubborn.go()
    assert wait_until(lambda: len(host.members(name())) == 2)
    told = host.signal(name(), signal.SIGTERM)
    alive = len(host.members(name()))
    killed = host.signal(name(), signal.SIGKILL)
    status = stubborn.wait()
    empty = wait_until(lambda: name() not in host.live_scopes())
    return {"told": told, "alive_after_term": alive, "killed": killed, "status": status, "empty": empty}


def reexec() -> dict[str, object]:
    """The manager replaces itself while launches are under way, and another begins after it."""
    host = SystemdHost(os.environ)
    children = [Child() for _ in range(100)]
    for i, child in enumerate(children):
        host.begin(name(i), child.pid, LIMITS, "")
        if i == 50:
            manager = subprocess.Popen(["systemctl", "--user", "daemon-reexec"], stderr=subprocess.DEVNULL)
    events = collect(host, len(children))
    manager.wait()
    started = {event.scope for event in events if isinstance(event, ScopeStarted)}
    kept = started <= host.live_scopes()
    late = Child()
    again = begin_when_back(host, name(999), late.pid)
    return {
        "events": len(events),
        "scopes": len({event.scope for event in events}),
        "kept": kept,
        "again": isinstance(again, ScopeStarted),
    }


def begin_when_back(host: SystemdHost, scope: str, pid: int) -> HostEvent:
    deadline = time.monotonic() + 20
    while True:
        try:
            host.begin(scope, pid, LIMITS, "")
            return collect(host, 1)[0]
        except Missing:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def restart() -> dict[str, object]:
    """Prints when a scope lives, waits for a line (the manager was restarted), then looks and begins again."""
    host, child = SystemdHost(os.environ), Child()
    host.begin(name(1), child.pid, LIMITS, "")
    assert isinstance(collect(host, 1)[0], ScopeStarted)
    print(json.dumps({"live": name(1) in host.live_scopes()}), flush=True)
    sys.stdin.readline()
    gone = wait_until(lambda: name(1) not in host.live_scopes())
    return {"gone": gone, "again": isinstance(begin_when_back(host, name(2), Child().pid), ScopeStarted)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()), flush=True)
