"""Preemptible jobs give their cards to a job of higher priority, and come back."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from forgather_spool.dispatcher.giving_way import SAVE_PATIENCE_S, GivingWay
from forgather_spool.dispatcher.loop import Dispatcher
from forgather_spool.errors import StorageFailed
from forgather_spool.host import nvml, proc
from forgather_spool.host.nvml import GpuReading
from forgather_spool.host.process import ProcessHost
from forgather_spool.job import Claim, parse_at
from forgather_spool.outcome import Cancelled, Exited
from forgather_spool.spool import attempts, files, preempt
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.stop import stop
from tests import builders
from tests.fakes.nvml import FakeCards
from tests.story.world import World
from tests.values.policy_cases import card
from tests.waiting import wait_until

SLEEPS_ONCE = "echo $FORGATHER_ATTEMPT >> ran; echo up > up; [ $FORGATHER_ATTEMPT -gt 1 ] || exec sleep 1000"
HIGH = "echo $FORGATHER_JOB_ID > high"

TRAINER = """
import os, time
from forgather_spool.trainer import TrainerControl

first = int(open("checkpoint").read()) if os.path.exists("checkpoint") else 0
with TrainerControl(enable_http=False) as control:
    for step in range(first + 1, 1_000_000):
        with open("steps", "a") as steps:
            print(os.environ["FORGATHER_ATTEMPT"], step, file=steps)
        if control.poll(step):
            if control.should_save:
                open("checkpoint", "w").write(str(step))
                control.saved("checkpoint")
            if control.should_stop:
                break
        if os.environ["FORGATHER_ATTEMPT"] == "2" and step > first + 3:
            break
        time.sleep(0.01)
"""


@pytest.fixture
def one_card(cards: FakeCards) -> dict[str, str]:
    """A machine with a single card: the environment of its dispatcher."""
    cards.add()
    return cards.env()


def test_a_job_gives_its_card_away_and_gets_it_back(world: World, one_card: dict[str, str]) -> None:
    low = world.submit(SLEEPS_ONCE, gpus=1, preemptible=True)
    world.dispatch(**one_card)
    world.wait_for("up")

    high = world.submit(HIGH, gpus=1, priority=5)

    assert world.wait_done(high).outcome == Exited(0)
    assert world.wait_done(low).outcome == Exited(0)
    assert world.result(low, 1).outcome == Cancelled(f"preemption for {high[1]}")
    assert world.lines("ran") == ["1", "2"]
    assert attempts.again(world.spool.paths, low[1], 2)["gave_way_to"] == high[1]


def test_a_job_that_did_not_offer_its_card_keeps_it(world: World, one_card: dict[str, str]) -> None:
    low = world.submit("echo up > up; while [ ! -e go ]; do sleep 0.05; done", gpus=1)
    world.dispatch(**one_card)
    world.wait_for("up")

    high = world.submit(HIGH, gpus=1, priority=5)
    wait_until(lambda: world.spool.waiting() == [high])
    (world.folder / "go").touch()

    assert world.wait_done(low).outcome == Exited(0)
    assert world.wait_done(high).outcome == Exited(0)
    assert world.spool.attempt(low[1]) == 1


def test_giving_way_uses_up_no_retry(world: World, one_card: dict[str, str]) -> None:
    low = world.submit(SLEEPS_ONCE + "; exit 9", gpus=1, preemptible=True, retries=2, retry_delay_s=0)
    world.dispatch(**one_card)
    world.wait_for("up")

    world.submit(HIGH, gpus=1, priority=5)

    assert world.wait_done(low).outcome == Exited(9)
    assert world.lines("ran") == ["1", "2", "3", "4"]  # once for nothing, once more, and twice again


def test_a_trainer_saves_first_and_goes_on_at_the_step_it_saved(world: World, one_card: dict[str, str]) -> None:
    (world.folder / "train.py").write_text(TRAINER)
    here = {"PYTHONPATH": world.env["PYTHONPATH"]}
    low = world.submit(f"exec {sys.executable} train.py", gpus=1, preemptible=True, env=here)
    world.dispatch(**one_card)
    wait_until(lambda: world.lines("steps"), 30, world.said())

    high = world.submit(HIGH, gpus=1, priority=5)

    assert world.wait_done(low).outcome == Exited(0)
    assert world.wait_done(high).outcome == Exited(0)
    assert world.result(low, 1).outcome == Exited(0)
    steps = [tuple(map(int, line.split())) for line in world.lines("steps")]
    assert [step for _, step in steps] == list(range(1, len(steps) + 1))
    assert {attempt for attempt, _ in steps} == {1, 2}


def test_a_dispatcher_that_dies_after_asking_is_followed_by_one_that_goes_on(
    world: World, one_card: dict[str, str]
) -> None:
    low = world.submit(SLEEPS_ONCE, gpus=1, preemptible=True)
    dispatcher = world.dispatch(**one_card)
    world.wait_for("up")
    dispatcher.send_signal(signal.SIGKILL)
    dispatcher.wait()
    high = world.submit(HIGH, gpus=1, priority=5)
    preempt.want(world.spool.paths, low[1], 1, high[1])

    world.dispatch(**one_card)

    assert world.wait_done(high).outcome == Exited(0)
    assert world.wait_done(low).outcome == Exited(0)
    assert world.lines("ran") == ["1", "2"]


# -- what counts as giving way, by files alone --------------------------------------------------------------------


@pytest.fixture
def spool(world: World) -> Spool:
    return world.spool


def wanted(spool: Spool) -> tuple[Entry, str]:
    """A running job whose card is wanted, and by whom the requests that follow say they are."""
    entry = builders.running(spool, preemptible=True, gpus=1, cards=(0,))
    assert preempt.want(spool.paths, entry[1], 1, "q_1738012412345_a1b2c3d4")
    return entry, preempt.wanted_by(spool.paths, entry[1], 1)["by"]


def test_a_job_that_ended_by_itself_in_that_moment_is_done(spool: Spool) -> None:
    entry, _ = wanted(spool)

    assert preempt.gave_way(spool.paths, entry[1], 1, {"kind": "exited", "exit_code": 0}) is None
    assert preempt.gave_way(spool.paths, entry[1], 1, {"kind": "cancelled", "by": "anna"}) is None


def test_cards_are_wanted_once(spool: Spool) -> None:
    """The first who wanted them gets them; nobody is asked twice."""
    entry, by = wanted(spool)

    assert not preempt.want(spool.paths, entry[1], 1, "q_1738012412345_ffffffff")
    assert preempt.gave_way(spool.paths, entry[1], 1, {"kind": "cancelled", "by": by}) == "q_1738012412345_a1b2c3d4"


def a_trainer_of(spool: Spool, entry: Entry) -> Mailbox:
    """This very process as the job's trainer."""
    mailbox = Mailbox(spool.paths, entry[1])
    mailbox.create()
    endpoint = {
        "version": 1, "job_id": entry[1], "host": "127.0.0.1", "port": None, "pid": os.getpid(),
        "start_ticks": proc.start_ticks(os.getpid()), "boot_id": proc.boot_id(), "hostname": proc.host_name(),
        "started_at": "2026-01-01T00:00:00Z", "output_dir": None, "logging_dir": None,
    }  # fmt: skip
    builders.spool_file(spool.paths.endpoint(entry[1], 1), endpoint)
    return mailbox


def claims_of(spool: Spool, entry: Entry) -> dict[str, Claim]:
    return {entry[1]: builders.a_claim(entry, cards=(0,))}


def test_a_trainer_is_asked_once_however_often_its_dispatcher_is_replaced(spool: Spool) -> None:
    entry, _ = wanted(spool)
    mailbox = a_trainer_of(spool, entry)

    for _ in range(3):
        giving = GivingWay(spool, lambda line: None)
        giving.resume(claims_of(spool, entry))
        giving.go_on(claims_of(spool, entry))

    (command_id,) = mailbox.pending()
    assert mailbox.read(command_id)["command"] == "save_and_stop"
    assert not preempt.is_told_to_end(spool.paths, entry[1], 1)

    mailbox.acknowledge(command_id, "done", by="trainer")
    assert preempt.gave_way(spool.paths, entry[1], 1, {"kind": "exited", "exit_code": 0}) is not None


def test_a_training_that_was_asked_at_its_last_step_has_done_its_work(spool: Spool) -> None:
    """It saved and ended, as it would have without being asked."""
    entry, by = wanted(spool)
    mailbox = a_trainer_of(spool, entry)
    status = {"version": 1, "job_id": entry[1], "status": "ended", "global_step": 12, "max_steps": 12, "epoch": None}
    builders.spool_file(spool.paths.status(entry[1], 1), status | {"metrics": {}, "updated_at": "2026-01-01T00:00:00Z"})
    command_id = mailbox.post("save_and_stop", by=by)

    mailbox.acknowledge(command_id, "done", by="trainer", step=12)

    assert preempt.gave_way(spool.paths, entry[1], 1, {"kind": "exited", "exit_code": 0}) is None


@pytest.mark.parametrize("answer", ["refused", "failed"])
def test_a_trainer_that_cannot_save_is_stopped_as_any_other_job(spool: Spool, answer: str) -> None:
    entry, by = wanted(spool)
    mailbox = a_trainer_of(spool, entry)
    giving = GivingWay(spool, lambda line: None)
    giving.resume(claims_of(spool, entry))
    giving.go_on(claims_of(spool, entry))

    mailbox.acknowledge(mailbox.pending()[0], answer, by="trainer")
    giving.go_on(claims_of(spool, entry))

    assert files.read_document(spool.paths.give_way(entry[1], 1))["by"] == by


def test_a_trainer_gets_no_more_time_from_a_clock_that_was_set_back(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, _ = wanted(spool)
    a_trainer_of(spool, entry)
    giving = GivingWay(spool, lambda line: None)
    giving.resume(claims_of(spool, entry))
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    giving.go_on(claims_of(spool, entry), an_hour_ago)
    assert not preempt.is_told_to_end(spool.paths, entry[1], 1)

    then = time.monotonic() + SAVE_PATIENCE_S
    monkeypatch.setattr("forgather_spool.dispatcher.giving_way.time.monotonic", lambda: then)
    giving.go_on(claims_of(spool, entry), an_hour_ago)

    assert preempt.is_told_to_end(spool.paths, entry[1], 1)


def test_a_trainer_that_does_not_end_in_time_is_stopped(spool: Spool) -> None:
    entry, _ = wanted(spool)
    a_trainer_of(spool, entry)
    giving = GivingWay(spool, lambda line: None)
    giving.resume(claims_of(spool, entry))
    asked_at = parse_at(preempt.wanted_by(spool.paths, entry[1], 1)["at"])

    giving.go_on(claims_of(spool, entry), asked_at + timedelta(seconds=SAVE_PATIENCE_S - 1))
    assert not preempt.is_told_to_end(spool.paths, entry[1], 1)

    giving.go_on(claims_of(spool, entry), asked_at + timedelta(seconds=SAVE_PATIENCE_S))
    assert preempt.is_told_to_end(spool.paths, entry[1], 1)


def test_who_stops_a_job_that_is_giving_way_stops_it_for_good(world: World, one_card: dict[str, str]) -> None:
    """The dispatcher's request and a person's are two files: the person is not told that somebody was first."""
    line = "trap 'echo heard > heard' TERM; echo up > up; while [ ! -e go ]; do sleep 0.05; done"
    low = world.submit(line, gpus=1, preemptible=True, grace_s=600)
    world.dispatch(**one_card)
    world.wait_for("up")
    high = world.submit(HIGH, gpus=1, priority=5)
    world.wait_for("heard")

    stop(world.spool, low[1], "anna")
    (world.folder / "go").touch()

    world.wait_done(low)
    assert world.wait_done(high).outcome == Exited(0)
    assert world.spool.attempt(low[1]) == 1


def test_no_card_is_given_away_while_it_is_not_known_who_has_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher that begins and cannot look at a running job: the card is that job's, seen or not."""
    has_it = builders.running(world.spool, gpus=1)
    wants_it, wants_none = world.submit(gpus=1, priority=5), world.submit()
    monkeypatch.setattr(nvml, "read_gpus", lambda visible: GpuReading(gpus=(card(0),), problem=None))
    dispatcher = Dispatcher(world.spool, ProcessHost(), builders.HOST, lambda line: None)
    can_look = Spool.has_result

    def cannot_look(spool: Spool, job_id: str, attempt: int = 1) -> bool:
        if job_id == has_it[1]:
            raise StorageFailed("an I/O error")
        return can_look(spool, job_id, attempt)

    monkeypatch.setattr(Spool, "has_result", cannot_look)
    try:
        dispatcher.begin()
        dispatcher.step()
        dispatcher.step()
    finally:
        dispatcher.close()

    assert world.spool.waiting() == [wants_it]
    assert wants_none[1] not in {entry[1] for entry in world.spool.waiting()}
