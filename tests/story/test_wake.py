"""Waking the dispatcher: by whom, with what, and never at the cost of a submit.

systemctl and systemd-run are scripts here that write down how they were called;
the real ones are met in tests/systemd.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

from forgather_spool.dispatcher.starting import LOG_LIMIT_BYTES, transient_unit
from forgather_spool.dispatcher.wake import is_awake, wake
from forgather_spool.errors import Missing, UsageError
from forgather_spool.spool.queue import Spool
from tests.waiting import wait_until


class Machine:
    """A home and a PATH of its own; `calls` are the command lines of its programs, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls"
        self.paths = Spool(str(folder / "user" / ".config" / "forgather")).create().paths
        (folder / "bin").mkdir()
        (folder / "run" / "systemd").mkdir(parents=True)

    def program(self, name: str, then: str = "exit 0") -> Path:
        """Install `name`: it notes its call, then runs a shell line."""
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {shlex.quote(str(self.log))}\n{then}\n')
        path.chmod(0o755)
        return path

    def has_user_manager(self) -> None:
        (self.folder / "run" / "systemd" / "private").touch()

    def has_units(self) -> None:
        folder = self.folder / "user" / ".config" / "systemd" / "user"
        folder.mkdir(parents=True)
        (folder / "forgather-dispatch.service").touch()

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    for name in ("FORGATHER_HOST_KIND", "FORGATHER_NO_WAKE", "FORGATHER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("FORGATHER_HOST", "box")
    monkeypatch.setattr(sys, "executable", str(machine.program("python")))
    machine.program("systemctl")
    machine.program("systemd-run")
    return machine


@pytest.fixture
def awake(machine: Machine):
    with open(machine.paths.host_lock("box"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_a_dispatcher_that_is_awake_is_left_alone(machine, awake):
    machine.has_user_manager()

    wake(machine.paths)

    assert is_awake(machine.paths)
    assert machine.calls == []


def test_where_the_units_are_installed_theirs_is_started(machine):
    machine.has_user_manager()
    machine.has_units()

    wake(machine.paths)

    assert machine.calls == ["systemctl --user start --no-block forgather-dispatch.service"]


@pytest.mark.parametrize("elsewhere", [True, False], ids=["another home", "no units"])
def test_else_it_is_a_transient_unit_of_the_home_with_the_same_settings(machine, tmp_path, elsewhere):
    machine.has_user_manager()
    if elsewhere:
        machine.has_units()
    paths = Spool(str(tmp_path / "other")).create().paths if elsewhere else machine.paths

    wake(paths)

    [call] = machine.calls
    unit = transient_unit(paths.home)
    assert call.startswith(f"systemd-run --user --no-block --collect --quiet --unit={unit} --service-type=notify")
    for setting in ("StartLimitIntervalSec=0", "Restart=on-failure", "WatchdogSec=60", "UMask=0077"):
        assert f"--property={setting}" in call
    assert f"--setenv=FORGATHER_HOME={paths.home}" in call
    assert call.endswith(f"-- {sys.executable} -P -m forgather_spool.dispatcher")


def test_two_homes_have_two_units():
    assert transient_unit("/a") != transient_unit("/b")
    assert transient_unit("/a") == transient_unit("/a")


def test_a_transient_unit_that_exists_is_started_once_it_has_left(machine):
    machine.has_user_manager()
    machine.program("systemd-run", "echo 'Failed to start: Unit x.service already exists.' >&2; exit 1")

    wake(machine.paths)

    unit = transient_unit(machine.paths.home)
    assert machine.calls[1:] == [f"systemctl --user start --no-block {unit}"]


def test_where_no_manager_is_the_dispatcher_is_a_process_away_from_the_terminal(machine, monkeypatch):
    machine.program("python", 'echo "$PWD $FORGATHER_HOME [$FORGATHER_SCOPE] $(ps -o sid= -p $$)"; echo said >&2')
    monkeypatch.setenv("FORGATHER_SCOPE", "a job's")
    log = Path(machine.paths.dispatcher_log)

    wake(machine.paths)

    wait_until(lambda: log.exists() and "said" in log.read_text(), what="the dispatcher's log")
    folder, home, scope, session = log.read_text().splitlines()[0].split()
    assert machine.calls == ["python -P -m forgather_spool.dispatcher"]
    assert (folder, home, scope) == ("/", machine.paths.home, "[]")
    assert int(session) != os.getsid(0)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_its_log_begins_anew_before_it_fills_a_disk(machine):
    machine.program("python", "echo fresh")
    log = Path(machine.paths.dispatcher_log)
    log.write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))

    wake(machine.paths)

    wait_until(lambda: log.read_text() == "fresh\n", what="a log that was begun anew")


def test_a_manager_that_does_not_answer_is_gone_round(machine):
    """A socket may outlive its manager."""
    machine.has_user_manager()
    machine.program("systemd-run", "echo 'Failed to connect to bus' >&2; exit 1")

    wake(machine.paths)

    wait_until(lambda: "python -P -m forgather_spool.dispatcher" in machine.calls, what="a dispatcher of our own")


def test_forced_to_systemd_it_says_what_systemd_said(machine, monkeypatch):
    monkeypatch.setenv("FORGATHER_HOST_KIND", "systemd")
    machine.program("systemd-run", "echo 'Failed to connect to bus: No medium found' >&2; exit 1")

    with pytest.raises(Missing, match="Failed to connect to bus: No medium found"):
        wake(machine.paths)


@pytest.mark.parametrize(("name", "expected"), [("process", "python"), ("systemd", "systemd-run")])
def test_the_kind_of_host_can_be_chosen(machine, monkeypatch, name, expected):
    monkeypatch.setenv("FORGATHER_HOST_KIND", name)
    if name == "process":
        machine.has_user_manager()

    wake(machine.paths)

    wait_until(lambda: machine.calls, what="a call")
    assert machine.calls[0].startswith(f"{expected} ")


def test_an_unknown_kind_of_host_is_refused(machine, monkeypatch):
    monkeypatch.setenv("FORGATHER_HOST_KIND", "slurm")

    with pytest.raises(UsageError, match="no such kind of host"):
        wake(machine.paths)


def test_it_can_be_left_asleep(machine, monkeypatch):
    monkeypatch.setenv("FORGATHER_NO_WAKE", "1")

    wake(machine.paths)

    assert machine.calls == []


def test_an_interpreter_that_is_gone_is_said(machine, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(Missing, match="cannot run /nowhere/python"):
        wake(machine.paths)


def test_a_submit_is_acknowledged_though_nobody_could_be_woken(machine, monkeypatch, capsys):
    from forgather_spool.cli.submit.run import run

    monkeypatch.setenv("FORGATHER_HOME", machine.paths.home)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    assert run({}, ["true"]) == 0

    said = capsys.readouterr()
    assert said.out.startswith("queued: ")
    assert "warning: the job is queued, but no dispatcher could be woken" in said.err
    assert len(Spool(machine.paths.home).waiting()) == 1


def test_looking_does_not_make_a_lock(machine):
    assert not is_awake(machine.paths)
    assert not os.path.exists(machine.paths.host_lock("box"))
