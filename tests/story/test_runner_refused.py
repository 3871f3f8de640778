"""What the runner's modules make of a refusal: each called here by itself, since no job can bring these about."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.errors import Missing, StorageFailed
from forgather_spool.host import proc
from forgather_spool.host.program import find_program
from forgather_spool.runner import client, nursery, run, spawn
from forgather_spool.runner.client import Nursery
from forgather_spool.runner.command import Command, find_cwd, write_script
from forgather_spool.runner.family import Family
from forgather_spool.runner.output import OutputLog
from forgather_spool.runner.ready import Ready, make_ready
from forgather_spool.runner.request import Request
from forgather_spool.runner.requests import StopRequests
from forgather_spool.runner.stopping import Stopping
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.watch import Watch
from tests import builders
from tests.spool.crashing import refused_after
from tests.waiting import wait_until

REQUEST = {"attempt": 1, "scope": "s", "env": {}, "gpus": [], "cuda_visible_devices": None, "host": builders.HOST}


def refusing(number: int) -> Any:
    def refuse(*args: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


# -- the nursery and its client ---------------------------------------------------------------------------------------


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(str(tmp_path))
    yield nursery
    nursery.let_go()
    nursery.close()


def test_an_environment_that_is_too_large_to_pass_on_is_refused(children: Nursery) -> None:
    with pytest.raises(Missing, match="too large to pass on"):
        children.hatch({"env": {"X": "x" * (client.MAX_REQUEST_BYTES + 1)}})


def test_a_nursery_that_does_not_answer_is_given_up_after_a_second_try(
    children: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    children.abandon(children.hatch({}))
    os.kill(children.pid or 0, signal.SIGSTOP)
    monkeypatch.setattr(client, "REPLY_PATIENCE_S", 0.0)

    with pytest.raises(Missing, match="the nursery does not answer: no reply within 0 s"):
        children.hatch({})


def test_before_its_first_child_there_is_nothing_to_hear_of(children: Nursery) -> None:
    assert (children.fileno(), children.over()) == (None, [])


def test_a_fork_that_is_refused_is_told_by_the_nursery(children: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", refusing(errno.EAGAIN))
    answer = nursery._hatch(0, 0, "/nowhere")
    monkeypatch.setattr(client, "_reply", lambda sock: answer)

    with pytest.raises(Missing, match=r"could not fork a runner: .*Resource temporarily unavailable"):
        children.hatch({})


def test_a_child_that_ends_at_once_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", lambda: 4_000_000_000)  # a pid that no kernel gives

    assert nursery._hatch(0, 0, "/nowhere") == {"error": "the child 4000000000 ended at once"}


def test_a_nursery_that_cannot_be_asked_is_started_anew_by_the_next_hatch(
    children: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = children.hatch({})
    with monkeypatch.context() as bad_moment:
        bad_moment.setattr(client, "_send_with", refusing(errno.EMFILE))
        children.prepare()
        assert children.pid is None

    second = children.hatch({})

    assert second.pid != first.pid
    for child in (first, second):
        children.abandon(child)


def test_an_interpreter_that_cannot_be_started_is_told(children: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    with pytest.raises(Missing, match="No such file or directory"):
        children.hatch({})


def test_a_child_that_died_before_it_was_told_is_not_kept_for_another_job(children: Nursery) -> None:
    child = children.hatch({})
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: not proc.is_alive(child.pid, child.start_ticks))

    children.tell(child)
    children.go(child, keep=True)
    children.take_back(child.pid, child.start_ticks)

    other = children.hatch({})
    assert other.pid != child.pid
    children.abandon(other)


def test_a_nursery_that_somebody_else_waited_for_is_closed_all_the_same(children: Nursery) -> None:
    children.abandon(children.hatch({}))
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        children.close()
    finally:
        signal.signal(signal.SIGCHLD, before)

    assert children.pid is None


# -- the start --------------------------------------------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def request_for(entry: Entry) -> Request:
    return Request({**REQUEST, "job_id": entry[1], "priority": -entry[0]})


def ours(spool: Spool) -> Entry:
    """A taken job whose claim names this very process as its runner."""
    entry = builders.taken(spool)
    claim = builders.a_claim(entry).as_document()
    claim["runner"] = {"pid": os.getpid(), "start_ticks": proc.start_ticks(os.getpid())}
    spool.write_claim(entry[1], claim)
    return entry


def ready_for(spool: Spool, entry: Entry, *, is_early: bool = True) -> Ready:
    return make_ready(request_for(entry), spool.paths.home, is_early=is_early)


def test_a_claim_that_cannot_be_made_durable_starts_nothing(spool: Spool) -> None:
    entry = ours(spool)

    with refused_after(0, errno.EIO):
        ready = ready_for(spool, entry)
    assert "Input/output error" in (ready.take_start() or "")

    assert ready_for(spool, entry).take_start() is None


@pytest.mark.parametrize("is_early", [True, False])
def test_a_claim_that_cannot_be_read_starts_nothing(spool: Spool, is_early: bool) -> None:
    entry = ours(spool)
    ready = ready_for(spool, entry, is_early=is_early)

    with refused_after(0, errno.EIO):
        refusal = ready.take_start()
    assert "Input/output error" in (refusal or "")

    assert ready.take_start() is None


@pytest.mark.parametrize("is_early", [True, False])
def test_a_claim_that_was_withdrawn_starts_nothing(spool: Spool, is_early: bool) -> None:
    assert ready_for(spool, builders.taken(spool), is_early=is_early).take_start() == "its claim was withdrawn"

    entry = ours(spool)
    ready = ready_for(spool, entry, is_early=is_early)
    spool.withdraw_claim(entry[1])
    assert ready.take_start() == "its claim was withdrawn"


def test_a_claim_of_another_runner_starts_nothing(spool: Spool) -> None:
    assert ready_for(spool, builders.claimed(spool)).take_start() == "its claim names another runner"

    entry = ours(spool)
    ready = ready_for(spool, entry)
    spool.withdraw_claim(entry[1])
    spool.write_claim(entry[1], builders.a_claim(entry).as_document())
    assert ready.take_start() == "its claim names another runner"


def test_a_damaged_claim_starts_nothing(spool: Spool) -> None:
    entry = ours(spool)
    builders.damage(spool.paths.claim(entry[1], 1))

    assert "its claim cannot be read" in (ready_for(spool, entry).take_start() or "")


def test_a_job_that_was_taken_away_is_not_started(spool: Spool) -> None:
    entry = ours(spool)
    ready = ready_for(spool, entry)
    spool.put_back(entry, builders.HOST)

    assert ready.take_start() == f"it is not in running/{builders.HOST}/"


def test_a_start_that_is_not_durable_starts_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Perhaps the rename was made: a power cut may undo it, and then another would start the job again."""
    ready = ready_for(spool, ours(spool))

    def refuse(*args: object, **how: object) -> bool:
        raise StorageFailed("cannot sync")

    monkeypatch.setattr(Spool, "start", refuse)

    assert ready.take_start() == "cannot sync"


class Silent:
    """A journal nobody reads; what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str, **more: object) -> None:
        self.said.append(text)


def attempt_at(spool: Spool, journal: Silent) -> run.Attempt:
    ready = Ready(request_for(builders.running(spool, preemptible=True)), spool)
    ready.journal = journal  # type: ignore[assignment]
    return run.Attempt(ready, None, None)  # type: ignore[arg-type]


def test_whether_it_is_the_last_attempt_is_not_guessed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, result = attempt_at(spool, Silent()), builders.a_result()
    assert attempt.is_last(result), "a spec that could not be read asks for no other"
    attempt._spec = {"retries": 0, "requeue": False, "preemptible": True}

    def refuse(*args: object) -> bool:
        raise StorageFailed("cannot look")

    monkeypatch.setattr(Spool, "is_asked_to_give_way", refuse)

    assert not attempt.is_last(result)


def test_a_process_that_cannot_be_noted_is_watched_over_all_the_same(spool: Spool) -> None:
    journal = Silent()
    attempt = attempt_at(spool, journal)

    with refused_after(0, errno.ENOSPC):
        attempt._note_process(spawn.Spawned(os.getpid(), -1, 0))

    assert len(journal.said) == 1
    assert "No space left" in journal.said[0]


# -- the command ------------------------------------------------------------------------------------------------------


def a_command(cwd: str) -> Command:
    return Command("/bin/true", ["true"], cwd, {}, tty=False)


def run_it(command: Command) -> int:
    """Its exit status."""
    spawned = spawn.spawn(command)
    os.close(spawned.output_fd)
    return os.waitpid(spawned.pid, 0)[1]


def test_a_directory_that_went_away_in_the_last_moment_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=f"its directory {tmp_path}/gone cannot be entered"):
        spawn.spawn(a_command(f"{tmp_path}/gone"))


@pytest.mark.parametrize("path", ["/nowhere", "read-only"])
def test_without_oom_scores_a_job_runs(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc at all, or one where nothing can be written."""
    score = tmp_path / "read-only"
    score.write_text("0")
    monkeypatch.setattr(spawn, "OOM_SCORE", path if path[0] == "/" else str(score))
    monkeypatch.setattr(os, "pwrite", refusing(errno.EACCES))
    monkeypatch.chdir(tmp_path)

    assert run_it(a_command("/")) == 0


def test_a_user_who_has_had_his_share_of_large_pipes_gets_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.fcntl

    def fcntl_(fd: int, command: int, *argument: int) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, "pipe-user-pages-soft")
        return real(fd, command, *argument)

    monkeypatch.setattr(fcntl, "fcntl", fcntl_)

    spawned = spawn.spawn(a_command("/"))
    os.waitpid(spawned.pid, 0)
    os.close(spawned.output_fd)
    assert spawned.capacity_bytes == 64 * 1024


def test_what_may_not_be_entered_or_executed_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # to root the kernel refuses less

    with pytest.raises(Missing, match="may not be entered"):
        find_cwd(str(tmp_path), {})
    with pytest.raises(Missing, match="is not executable; try: chmod"):
        find_program("tool", "/", {"PATH": str(tmp_path)})


def test_a_script_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=f"its script {tmp_path}/gone/script cannot be written"):
        write_script(f"{tmp_path}/gone/script", "#!/bin/sh\n")


# -- its end ----------------------------------------------------------------------------------------------------------


class Folk:
    """A family of so many, of which nobody ends; the signals it got."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.signals: list[int] = []

    def signal(self, number: int) -> int:
        self.signals.append(number)
        return self.number


def test_what_does_not_end_is_killed_again_less_and_less_often() -> None:
    """A process deep in the kernel, on a disk that is gone, ends when it comes back from there."""
    folk = Folk(2)
    stopping = Stopping(folk)  # type: ignore[arg-type]
    stopping.stop({"kind": "cancelled", "by": "anna"}, "asked", 1.0, now=0.0)
    waits, now = [], 0.0
    for _ in range(20):
        assert stopping.deadline is not None
        waits.append(round(stopping.deadline - now, 6))
        now = stopping.deadline
        stopping.act(now - 0.001)
        stopping.act(now)

    assert folk.signals == [signal.SIGTERM] + [signal.SIGKILL] * 20
    assert waits[1:] == sorted(waits[1:])
    assert waits[-1] == waits[-2] > waits[1]
    assert [step["did"].partition(":")[0] for step in stopping.steps] == ["TERM to 2 processes", "KILL to 2 processes"]


def test_killed_twice_is_killed_once_and_of_nobody_nothing_is_said() -> None:
    folk = Folk(0)
    stopping = Stopping(folk)  # type: ignore[arg-type]

    stopping.kill({"kind": "cancelled", "by": "anna"}, "asked", 0.0)
    stopping.hasten("asked again", 0.0)

    assert (folk.signals, stopping.steps) == ([signal.SIGKILL], [])


def test_one_that_may_not_be_signalled_keeps_the_others_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of another user, by its set-user-ID bit."""
    family = Family("no.scope")
    monkeypatch.setattr(Family, "pids", lambda family: [1, 2])
    told = []

    def kill(pid: int, number: int) -> None:
        if pid == 1:
            raise PermissionError
        told.append((pid, number))

    monkeypatch.setattr(os, "kill", kill)

    assert family.signal(signal.SIGKILL) == 1
    assert told == [(2, signal.SIGKILL)]


def test_a_request_to_stop_that_cannot_be_read_is_one(spool: Spool) -> None:
    entry = builders.running(spool)
    builders.damage(spool.paths.stop_request(entry[1], 1, force=True))

    [(force, request)] = StopRequests(spool, entry[1], 1, Watch()).look()

    assert force
    assert "a request that cannot be read" in str(request["by"])


# -- its output -------------------------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_opened_loses_and_counts(tmp_path: Path) -> None:
    log = OutputLog(f"{tmp_path}/gone/output.log")

    log.write(b"12345")
    log.close()

    assert (log.bytes_seen, log.bytes_lost, log.trouble) == (5, 5, "No such file or directory")


def test_a_write_that_is_refused_loses_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = OutputLog(f"{tmp_path}/output.log")
    with monkeypatch.context() as full:
        full.setattr(os, "write", refusing(errno.ENOSPC))
        log.write(b"12345")

    assert (log.bytes_lost, log.trouble) == (5, "No space left on device")
    log.close()


def test_output_that_cannot_be_made_durable_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = OutputLog(f"{tmp_path}/output.log")
    log.write(b"12345")
    monkeypatch.setattr("forgather_spool.runner.output.files.sync", refusing(errno.EIO))

    log.close()

    assert (log.bytes_lost, log.trouble) == (0, "Input/output error")


def test_a_part_that_is_gone_when_it_is_made_durable_is_said(tmp_path: Path) -> None:
    log = OutputLog(f"{tmp_path}/output.log", limit_bytes=4096)
    log.write(b"x" * 4096)
    (tmp_path / "output.log").unlink()

    log.close()

    assert log.trouble == "No such file or directory"
