"""Settling by what the files and the machine say, without a dispatcher around it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from forgather_spool.dispatcher.settle import REMAINS_GRACE_S, Settler
from forgather_spool.errors import StorageFailed
from forgather_spool.host import proc
from forgather_spool.job import Result, State
from forgather_spool.outcome import Cancelled, Lost
from forgather_spool.spool import attempts, files
from forgather_spool.spool.look import look
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool, utc_now
from tests import builders

HOST = "box"


class EmptyMachine:
    """A host whose scopes are all empty."""

    def members(self, scope):
        return []


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host(HOST)
    return spool


@pytest.fixture
def settler(spool: Spool) -> Settler:
    return Settler(spool, EmptyMachine(), HOST, "this-boot", lambda line: None)


def started_by_us(spool: Spool, boot_id: str, entry: Entry | None = None) -> Entry:
    """A running job whose runner, by its pid, is this very process."""
    entry = entry or (0, spool.submit({"argv": ["true"]}))
    spool.claim(entry, HOST)
    me = {"pid": os.getpid(), "start_ticks": proc.start_ticks(os.getpid())}
    claim = {
        "version": 1, "attempt": 1, "host": HOST, "host_kind": "process", "boot_id": boot_id, "priority": 0, "gpus": [],
        "scope": f"forgather-job-{entry[1]}-1.scope", "runner": me, "claimed_at": utc_now(),
    }  # fmt: skip
    spool.write_claim(entry[1], claim)
    spool.start(entry[1])
    return entry


def test_a_runner_of_another_boot_is_gone_whoever_has_its_pid_now(spool: Spool, settler: Settler) -> None:
    entry = started_by_us(spool, boot_id="an-earlier-boot")

    assert settler.settle(entry) is None

    result = Result.from_document(files.read_document(spool.paths.result(entry[1], 1)))
    assert result.outcome == Lost("the machine was restarted while it ran")


def test_a_runner_of_this_boot_is_left_alone(spool: Spool, settler: Settler) -> None:
    entry = started_by_us(spool, boot_id="this-boot")

    claim = settler.settle(entry)

    assert claim is not None and claim.runner_pid == os.getpid()
    assert not spool.has_result(entry[1])


def test_what_has_left_this_host_is_nobodys_to_settle(spool: Spool, settler: Settler) -> None:
    """Put back and claimed by another host, whose boot is another: its claim and its job are not ours to end."""
    entry = started_by_us(spool, boot_id="the-other-hosts-boot")
    spool.open_host("other")
    os.rename(spool.paths.taken(HOST, entry[1], 0), spool.paths.taken("other", entry[1], 0))

    assert settler.settle(entry) is None

    assert not spool.has_result(entry[1])
    assert spool.taken("other") == [entry]


def failed_once(spool: Spool, **spec: object) -> Entry:
    """A job whose runner has left it to the dispatcher after exit code 7."""
    entry = (0, spool.submit({"argv": ["false"], **spec}))
    spool.claim(entry, HOST)
    ended = {"version": 1, "outcome": {"kind": "exited", "exit_code": 7}, "ended_at": "2026-01-31T23:59:50.000000Z"}
    spool.write_result(entry[1], ended)
    return entry


def test_a_job_that_is_run_again_waits_its_pause_from_the_end_of_the_attempt_before(spool: Spool, settler: Settler):
    entry = failed_once(spool, retries=1, retry_delay_s=20)

    assert settler.settle(entry) is None

    assert spool.waiting() == [entry]
    assert spool.not_before_at(entry[1]) == "2026-02-01T00:00:10.000000Z"


def test_two_who_settle_at_once_make_one_attempt(spool: Spool, settler: Settler, monkeypatch: pytest.MonkeyPatch):
    """The slower one decided on what it saw before: it must not take a job that runs out of running/."""
    entry = failed_once(spool, retries=5, retry_delay_s=0)
    real = attempts.make

    def then_another_was_faster(paths, job_id, attempt, again):
        monkeypatch.setattr(attempts, "make", real)
        assert settler.settle(entry) is None
        started_by_us(spool, "this-boot", entry)
        return real(paths, job_id, attempt, again)

    monkeypatch.setattr(attempts, "make", then_another_was_faster)

    assert settler.settle(entry) is not None

    assert spool.taken(HOST) == [entry]
    assert spool.attempt(entry[1]) == 2 and spool.has_started(entry[1])


def test_a_damaged_word_of_why_it_runs_again_ends_it_and_says_so(spool: Spool):
    said: list[str] = []
    entry = failed_once(spool, retries=5, retry_delay_s=0)
    settler = Settler(spool, EmptyMachine(), HOST, "this-boot", said.append)
    settler.settle(entry)
    spool.claim(entry, HOST)
    builders.damage(spool.paths.again(entry[1], 2))
    spool.write_result(entry[1], builders.a_result({"kind": "exited", "exit_code": 7}))

    settler.settle(entry)

    assert spool.taken(HOST) == [] == spool.waiting()
    assert spool.paths.again(entry[1], 2) in "".join(said)


def test_a_stop_asked_for_while_the_next_attempt_is_made_counts(
    spool: Spool, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was decided to run it again, somebody asks the ended attempt to stop, and only then the next one is there."""
    entry = started_by_us(spool, "an-earlier-boot", (0, spool.submit({"argv": ["false"], "retries": 3})))
    spool.write_result(entry[1], builders.a_result({"kind": "exited", "exit_code": 1}))
    make = attempts.make

    def make_late(*args: object) -> bool:
        spool.ask_to_stop(entry[1], by="anna", attempt=1)
        return make(*args)

    monkeypatch.setattr(attempts, "make", make_late)
    settler.settle(entry)

    assert spool.waiting() == []
    assert Result.from_document(files.read_document(spool.paths.result(entry[1], 2))).outcome == Cancelled("anna")


@pytest.mark.parametrize("ended_at", ["20261121T034012Z", "2026-W47-6T03:40:12+00:00", "20261121/034012Z"])
def test_a_result_in_another_spelling_of_time_ends_the_job_on_its_day(
    spool: Spool, settler: Settler, ended_at: str
) -> None:
    """Whoever wrote it: the day is a folder's name."""
    entry = started_by_us(spool, "an-earlier-boot")
    spool.write_result(entry[1], builders.a_result() | {"ended_at": ended_at})

    settler.settle(entry)

    assert files.names(spool.paths.done_on("2026-11-21")) == [f"{entry[1]}.json"]


def test_a_result_that_comes_between_two_looks_is_decided_on(
    spool: Spool, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a job that is to run again would be put away as ended."""
    entry = builders.running(spool, retries=1)
    looks, look = [], Spool.has_result

    def then_it_ends(spool: Spool, job_id: str, attempt: int = 1) -> bool:
        looks.append(look(spool, job_id, attempt))
        if len(looks) == 1:
            spool.write_result(job_id, builders.a_result({"kind": "exited", "exit_code": 3}))
        return looks[-1]

    monkeypatch.setattr(Spool, "has_result", then_it_ends)

    assert settler.settle(entry) is None

    assert looks[0] is False and looks[-1] is True
    assert spool.waiting() == [entry] and spool.attempt(entry[1]) == 2


class Remains:
    """A host in whose scopes one process is left; the signals it got."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def members(self, scope: str) -> list[int]:
        return [1]

    def signal(self, scope: str, number: int) -> int:
        self.signals.append(number)
        return 1


def test_what_a_dead_runner_left_gets_term_and_after_its_grace_kill(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    remains, said = Remains(), []
    settler = Settler(spool, remains, HOST, builders.BOOT_ID, said.append)
    entry = builders.running(spool, preemptible=True)
    now = [100.0]
    monkeypatch.setattr("forgather_spool.dispatcher.settle.time.monotonic", lambda: now[0])

    for seconds in (0, REMAINS_GRACE_S / 2, REMAINS_GRACE_S):
        now[0] = 100.0 + seconds
        assert settler.settle(entry) is not None, "the job has not ended while something of it runs"

    assert remains.signals == [signal.SIGTERM, signal.SIGKILL]
    assert said == [f"{entry[1]}: its runner is gone; TERM to the 1 left"]


def test_a_start_that_is_taken_in_the_moment_of_putting_back_is_left_to_its_runner(
    spool: Spool, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = builders.claimed(spool)
    withdraw = Spool.withdraw_claim

    def runner_is_first(spool: Spool, job_id: str, *attempt: int) -> bool:
        monkeypatch.setattr(Spool, "withdraw_claim", withdraw)
        spool.start(job_id)
        spool.write_result(job_id, builders.a_result())
        return spool.withdraw_claim(job_id, *attempt)

    monkeypatch.setattr(Spool, "withdraw_claim", runner_is_first)

    assert settler.settle(entry) is None

    assert look(spool, entry[1]).state is State.DONE


def test_a_lost_job_whose_result_somebody_else_wrote_is_not_said_to_be_lost(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    settler = Settler(spool, EmptyMachine(), HOST, "this-boot", said.append)
    entry = started_by_us(spool, boot_id="an-earlier-boot")
    write = Spool.write_result

    def another_is_first(spool: Spool, job_id: str, result: dict, attempt: int) -> bool:
        write(spool, job_id, builders.a_result({"kind": "cancelled", "by": "anna"}), attempt)
        return write(spool, job_id, result, attempt)

    monkeypatch.setattr(Spool, "write_result", another_is_first)

    assert settler.settle(entry) is None

    assert (look(spool, entry[1]).result.outcome, said) == (Cancelled("anna"), [])


def test_a_job_that_is_put_away_while_its_next_attempt_is_thought_of_has_none(
    spool: Spool, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = builders.ending(spool)

    def put_away(*args: object) -> None:
        spool.finish(entry, HOST, utc_now())
        raise FileNotFoundError

    monkeypatch.setattr("forgather_spool.dispatcher.settle.next_attempt", put_away)

    assert settler.settle(entry) is None

    assert look(spool, entry[1]).state is State.DONE


def test_a_spec_nobody_can_read_is_set_aside_unless_its_job_has_started(spool: Spool) -> None:
    said: list[str] = []
    settler = Settler(spool, EmptyMachine(), HOST, "this-boot", said.append)
    damaged, started, fine = builders.taken(spool), builders.running(spool), builders.taken(spool)
    for entry in (damaged, started):
        builders.damage(spool.paths.taken(HOST, entry[1], 0))

    settler.set_aside_bad_specs()

    assert look(spool, damaged[1]).state is State.REJECTED
    assert spool.taken(HOST) == sorted([started, fine])
    assert [line.partition(":")[0] for line in said] == [damaged[1]]


def test_a_spec_that_cannot_be_read_now_is_not_set_aside(spool: Spool, settler: Settler) -> None:
    entry = builders.taken(spool)
    builders.damage(spool.paths.taken(HOST, entry[1], 0))

    def refuse(*args: object) -> None:
        raise StorageFailed("a bad moment")

    with pytest.MonkeyPatch.context() as bad_moment:
        bad_moment.setattr(Spool, "taken_spec", refuse)
        settler.set_aside_bad_specs()

    assert spool.taken(HOST) == [entry]
