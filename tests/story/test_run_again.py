"""Jobs that are run again: after a failure, after they were lost, and never after somebody stopped them."""

from __future__ import annotations

import os
import signal

from forgather_spool.outcome import Cancelled, Exited, Lost
from forgather_spool.spool.follow import finish_ending
from forgather_spool.spool.place import locate
from forgather_spool.spool.stop import Stopped, stop
from tests import builders
from tests.story.world import HOST, World

THIRD_TIME_LUCKY = 'echo "try $FORGATHER_ATTEMPT"; echo x >> tries; [ $(wc -l < tries) = 3 ]'


def test_a_job_is_tried_again_until_it_succeeds(world: World) -> None:
    """Each attempt has its own number, log and result; the job has the last one's."""
    entry = world.submit(THIRD_TIME_LUCKY, retries=5, retry_delay_s=0)

    world.dispatch_all()

    assert world.wait_done(entry).outcome == Exited(0)
    assert [world.result(entry, n).outcome for n in (1, 2, 3)] == [Exited(1), Exited(1), Exited(0)]
    assert [world.output(entry, n) for n in (1, 2, 3)] == ["try 1\n", "try 2\n", "try 3\n"]
    assert [world.result(entry, n).attempt for n in (1, 2, 3)] == [1, 2, 3]


def test_when_the_retries_are_used_up_it_has_failed(world: World) -> None:
    entry = world.submit("echo x >> tries; exit 9", retries=2, retry_delay_s=0)

    world.dispatch_all()

    assert world.wait_done(entry).outcome == Exited(9)
    assert world.lines("tries") == ["x"] * 3


def test_a_failure_of_another_kind_is_not_tried_again(world: World) -> None:
    entry = world.submit("echo x >> tries; exit 9", retries=2, retry_on=["3", "oom"], retry_delay_s=0)

    world.dispatch_all()

    assert world.wait_done(entry).outcome == Exited(9)
    assert world.lines("tries") == ["x"]


def test_a_job_that_nobody_asked_to_be_tried_again_is_not(world: World) -> None:
    entry = world.submit("echo x >> tries; exit 9")

    world.dispatch_all()

    assert world.wait_done(entry).outcome == Exited(9)
    assert world.lines("tries") == ["x"]


def test_each_attempt_has_a_scope_of_its_own(world: World) -> None:
    entry = world.submit('echo "$FORGATHER_SCOPE" >> scopes; exit 1', retries=1, retry_delay_s=0)

    world.dispatch_all()

    assert world.lines("scopes") == [f"forgather-job-{entry[1]}-{n}.scope" for n in (1, 2)]


def test_a_job_that_is_stopped_is_not_tried_again(world: World) -> None:
    entry = world.submit("echo up > up; exec sleep 1000", retries=5, requeue=True, retry_delay_s=0)
    world.dispatch()
    world.wait_for("up")

    assert stop(world.spool, entry[1], "anna") is Stopped.ASKED

    assert world.wait_done(entry).outcome == Cancelled("anna")
    assert world.spool.attempt(entry[1]) == 1


def test_a_job_whose_runner_was_killed_runs_again_if_it_said_so(world: World) -> None:
    entry = world.submit(
        "echo $FORGATHER_ATTEMPT >> ran; echo up > up; [ $FORGATHER_ATTEMPT = 2 ] || exec sleep 1000", requeue=True
    )
    world.dispatch()
    world.wait_for("up")

    os.kill(world.claim(entry).runner_pid, signal.SIGKILL)

    assert world.wait_done(entry).outcome == Exited(0)
    assert isinstance(world.result(entry, 1).outcome, Lost)
    assert world.lines("ran") == ["1", "2"]


def test_after_a_restart_of_the_machine_a_job_runs_again_if_it_said_so(world: World) -> None:
    entry = world.submit("echo ran >> ran", requeue=True)
    builders.running(world.spool, entry, host=HOST)  # its claim is of another boot

    world.dispatch_all()

    assert world.wait_done(entry).outcome == Exited(0)
    assert world.result(entry, 1).outcome == Lost("the machine was restarted while it ran")
    assert world.lines("ran") == ["ran"]


def test_a_shutdown_that_ends_a_job_gently_loses_it_all_the_same(world: World) -> None:
    """The service manager sends TERM to every scope: a runner then says so, and is not the reason it ends for good."""
    entry = world.submit("echo up > up; [ $FORGATHER_ATTEMPT = 2 ] || exec sleep 1000", requeue=True)
    world.dispatch()
    world.wait_for("up")

    os.kill(world.claim(entry).runner_pid, signal.SIGTERM)

    assert world.wait_done(entry).outcome == Exited(0)
    assert isinstance(world.result(entry, 1).outcome, Cancelled)


def test_a_stop_between_two_attempts_is_heeded(world: World) -> None:
    """The first has failed and the dispatcher has not come round to it."""
    entry = world.submit("echo ran >> ran", retries=5, retry_delay_s=0)
    builders.running(world.spool, entry, host=HOST)
    world.spool.write_result(entry[1], builders.a_result({"kind": "exited", "exit_code": 1}))

    assert stop(world.spool, entry[1], "anna") is Stopped.ASKED
    world.dispatch_all()

    assert world.wait_done(entry).outcome == Exited(1)
    assert world.lines("ran") == []


def test_nobody_who_only_waits_for_it_puts_a_job_away_that_is_run_again(world: World) -> None:
    """A job left between its result and done/ is moved on by whoever sees it; this one has more to do."""
    entry = world.submit("echo ran >> ran", retries=1, retry_delay_s=0)
    builders.running(world.spool, entry, host=HOST)
    world.spool.write_result(entry[1], builders.a_result({"kind": "exited", "exit_code": 1}))

    finish_ending(world.spool, locate(world.spool, entry[1]))
    world.dispatch_all()

    assert world.wait_done(entry).outcome == Exited(0)
    assert world.lines("ran") == ["ran"]
