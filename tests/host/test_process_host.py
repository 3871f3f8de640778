"""Jobs without systemd: scopes known by their runner, then by what it left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from forgather_spool.errors import Missing, UsageError
from forgather_spool.host import proc
from forgather_spool.host.base import Limits, ScopeRefused, ScopeStarted, scope_name
from forgather_spool.host.detect import detect, why_not_systemd
from forgather_spool.host.process import ProcessHost, send_signal
from tests.waiting import wait_until

SCOPE = scope_name(f"q_{os.getpid()}_test", 1)
NO_MANAGER = {"XDG_RUNTIME_DIR": "/nonexistent", "DBUS_SESSION_BUS_ADDRESS": ""}
Runner = subprocess.Popen[str]


@pytest.fixture
def host() -> ProcessHost:
    return ProcessHost()


@pytest.fixture
def runner() -> Iterator[Callable[[str], Runner]]:
    """Starts a shell with FORGATHER_SCOPE set, as a runner; whatever carries the variable is killed at the end."""
    started: list[Runner] = []

    def start(script: str) -> Runner:
        environ = {**os.environ, "FORGATHER_SCOPE": SCOPE}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(["sh", "-c", script], env=environ, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield start
    for pid in proc.pids_with_env("FORGATHER_SCOPE", SCOPE):
        os.kill(pid, signal.SIGKILL)
    for process in started:
        process.communicate()


def begin(host: ProcessHost, pid: int) -> list[object]:
    host.begin(SCOPE, pid, Limits(), "a test")
    return list(host.events())


def test_a_scope_starts_at_once_and_ends_with_its_runner(host: ProcessHost, runner: Callable[[str], Runner]) -> None:
    process = runner("read line")

    assert begin(host, process.pid) == [ScopeStarted(SCOPE)]
    assert host.events() == []
    assert host.live_scopes() == {SCOPE}

    process.communicate("\n")

    assert host.live_scopes() == frozenset()
    assert host.members(SCOPE) == []


def test_a_dead_child_gets_no_scope(host: ProcessHost, runner: Callable[[str], Runner]) -> None:
    process = runner("exit 0")
    process.wait()

    (event,) = begin(host, process.pid)

    assert isinstance(event, ScopeRefused)
    assert not event.exists


def test_a_name_is_taken_once(host: ProcessHost, runner: Callable[[str], Runner]) -> None:
    first, second = runner("read line"), runner("read line")
    begin(host, first.pid)

    (event,) = begin(host, second.pid)

    assert isinstance(event, ScopeRefused)
    assert event.exists


def test_a_scope_lives_while_a_dead_runners_orphan_does(host: ProcessHost, runner: Callable[[str], Runner]) -> None:
    """Known to a later dispatcher as well, and ended by a signal to the scope."""
    process = runner("setsid sh -c 'echo $$; trap \"\" TERM; while :; do read x </dev/zero; done' & read line")
    assert process.stdout is not None
    orphan = int(process.stdout.readline())
    begin(host, process.pid)
    start_ticks = proc.start_ticks(process.pid)
    assert start_ticks is not None
    assert {process.pid, orphan} <= set(host.members(SCOPE))

    process.kill()
    process.wait()
    later = ProcessHost()
    later.adopt(SCOPE, process.pid, start_ticks)

    assert host.live_scopes() == later.live_scopes() == {SCOPE}
    assert orphan in later.members(SCOPE)

    assert later.signal(SCOPE, signal.SIGKILL) >= 1
    wait_until(lambda: not later.live_scopes())


def test_a_signal_reaches_everybody_once(host: ProcessHost, runner: Callable[[str], Runner]) -> None:
    process = runner("sleep 999 & sleep 999 & wait")
    begin(host, process.pid)
    wait_until(lambda: len(host.members(SCOPE)) == 3)

    assert host.signal(SCOPE, signal.SIGTERM) == 3

    assert process.wait() == -signal.SIGTERM
    wait_until(lambda: not host.live_scopes())
    assert host.signal(SCOPE, signal.SIGTERM) == 0


def test_a_process_that_cannot_be_seen_from_here_gets_no_signal() -> None:
    """Its pid reads as 0, and a signal to 0 would be one to ourselves."""
    assert not send_signal(0, signal.SIGCONT)


def test_the_host_is_what_the_machine_offers_unless_one_is_named() -> None:
    assert detect(NO_MANAGER).kind == "process"
    assert why_not_systemd(NO_MANAGER) == "no systemd user manager: /nonexistent has no sockets of one"

    with pytest.raises(Missing) as caught:
        detect({**NO_MANAGER, "FORGATHER_HOST_KIND": "systemd"})
    assert "enable-linger" in caught.value.hint

    with pytest.raises(UsageError):
        detect({"FORGATHER_HOST_KIND": "docker"})
    assert "asks for plain processes" in (why_not_systemd({"FORGATHER_HOST_KIND": "process"}) or "")


def test_a_scope_whose_runner_died_before_its_job_began_is_no_longer_there() -> None:
    """Else a launch that failed once would be refused for as long as this dispatcher lives."""
    host = ProcessHost()
    dead = subprocess.Popen(["true"])
    host.adopt("forgather-job-q_1-1.scope", dead.pid, proc.start_ticks(dead.pid) or 0)
    dead.wait()
    child = subprocess.Popen(["sleep", "1000"])
    try:
        host.begin("forgather-job-q_1-1.scope", child.pid, Limits(), "again")

        assert host.events() == [ScopeStarted("forgather-job-q_1-1.scope")]
    finally:
        child.kill()
        child.wait()
