"""When a waiting job's turn comes: its time, the jobs it comes after, its group, its array."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forgather_spool.job import format_at
from forgather_spool.outcome import Exited, Refused
from forgather_spool.spool import settings
from tests.story.world import World


def after(*job_ids: str, when: str = "ok") -> list[dict[str, str]]:
    return [{"job": job_id, "when": when} for job_id in job_ids]


def test_a_job_begins_at_its_time_and_not_before(world: World):
    """The dispatcher wakes for it; nothing else tells it."""
    begin_at = datetime.now(UTC) + timedelta(seconds=1)
    late = world.submit("true", begin_at=format_at(begin_at))
    world.dispatch()

    result = world.wait_done(late)

    assert result.started_at is not None and result.started_at >= begin_at


def test_a_job_whose_time_is_to_come_keeps_no_other_back(world: World):
    late = world.submit("true", begin_at=format_at(datetime.now(UTC) + timedelta(hours=1)), priority=9)
    world.dispatch()

    world.wait_done(world.submit("true"))

    assert world.spool.waiting() == [late]


def test_a_chain_runs_in_its_order_and_a_fan_in_waits_for_all(world: World):
    a, b = world.submit("echo a >> order"), world.submit("echo b >> order")
    chained = world.submit("echo c >> order", after=after(a[1], b[1]), priority=5)
    last = world.submit("echo d >> order", after=after(chained[1]), priority=9)

    world.dispatch_all()

    assert world.wait_done(last).outcome == Exited(0)
    lines = world.lines("order")
    assert (sorted(lines[:2]), lines[2:]) == (["a", "b"], ["c", "d"])


@pytest.mark.parametrize("on_hold", [True, False])
def test_a_cancel_of_what_waits_is_heard_by_who_comes_after_it(world: World, on_hold: bool):
    """Nothing told the dispatcher when a cancel was complete: it looked a minute later."""
    tomorrow = format_at(datetime.now(UTC) + timedelta(days=1))
    dependency = world.submit("true", **({"hold": True} if on_hold else {"begin_at": tomorrow}))
    last = world.submit("true", after=after(dependency[1], when="any"))
    world.dispatch()
    world.wait_done(world.submit("true"))  # all that waits has been looked at

    world.forgather("sched", "cancel", dependency[1])

    assert world.wait_done(last).outcome == Exited(0)


def test_a_job_whose_dependency_failed_is_refused_and_so_is_what_comes_after_it(world: World):
    failed = world.submit("exit 3")
    never = world.submit("touch ran", after=after(failed[1]))
    nor_this = world.submit("touch ran", after=after(never[1]))
    but_this = world.submit("true", after=after(never[1], when="notok"))
    and_this = world.submit("true", after=after(failed[1]), after_unmet="run")

    world.dispatch_all()

    reason = f"can never start: {failed[1]} ended: exited 3, and this job wanted it to end well"
    assert world.wait_done(never).outcome == Refused(reason)
    assert isinstance(world.wait_done(nor_this).outcome, Refused)
    assert world.wait_done(but_this).outcome == world.wait_done(and_this).outcome == Exited(0)
    assert not (world.folder / "ran").exists()


def test_a_job_may_ask_to_be_held_when_its_dependency_fails(world: World):
    failed = world.submit("false")
    held = world.submit("true", after=after(failed[1]), after_unmet="hold")

    world.dispatch_all()

    assert world.spool.held() == [held]


def test_a_job_held_for_its_dependency_says_so_and_starts_all_the_same_when_it_is_released_by_name(world: World):
    """Released as it was, it would be held again by the next pass, for ever."""
    failed = world.submit("exit 3")
    held = world.submit("true", after=after(failed[1]), after_unmet="hold", name="eval")
    world.dispatch_all()
    ended_otherwise = f"{failed[1]} ended: exited 3, and this job wanted it to end well"

    listed, why = world.forgather("sched", "list", "--state", "held"), world.forgather("sched", "why", "eval")
    of_all = world.forgather("sched", "release", "--all")
    assert world.spool.held() == [held]
    by_name = world.forgather("sched", "release", "eval")

    assert ended_otherwise in listed.stdout
    assert why.stdout.startswith(f"{held[1]}: is on hold: {ended_otherwise}; to start it all the same: ")
    assert (of_all.returncode, of_all.stdout) == (1, f"{held[1]}: stays on hold unless named: {ended_otherwise}\n")
    assert (by_name.returncode, by_name.stdout) == (0, f"{held[1]}: released, although {ended_otherwise}\n")
    assert world.wait_done(held).outcome == Exited(0)


def test_who_comes_after_a_removed_job_never_starts_unless_any_end_will_do(world: World):
    gone = "q_1738012412345_a1b2c3d4"
    never, may = world.submit("true", after=after(gone)), world.submit("true", after=after(gone, when="any"))

    world.dispatch_all()

    assert isinstance(world.wait_done(never).outcome, Refused)
    assert world.wait_done(may).outcome == Exited(0)


def test_no_more_of_a_group_run_than_may(world: World):
    """Each counts who runs with it; a limit of 2 means none counts more."""
    settings.change_dispatch(world.spool.paths, groups={"two": {"limit": 2}, "stopped": {"paused": True}})
    line = "touch in-$$; ls in-* | wc -l >> counts; sleep 0.1; rm in-$$"
    entries = [world.submit(line, group="two") for _ in range(6)]
    stopped = world.submit("true", group="stopped")
    world.dispatch()

    for entry in entries:
        assert world.wait_done(entry).outcome == Exited(0)

    assert max(int(count) for count in world.lines("counts")) <= 2
    assert world.spool.waiting() == [stopped]
